//! The installation itself: its ids, and which of its accounts are special. How it is made is in `bootstrap`.

use std::path::Path;
use std::sync::Arc;

use domain::audit::{Entry, Who};
use domain::authz::{Permit, ReadMasterConfig, System};
use domain::id::UserId;
use domain::user::{Password, User};
use store::{Conn, Store, meta};

use crate::bootstrap::{self, InitialPassword};
use crate::password::Hasher;
use crate::system::{Clock, Entropy};
use crate::{Config, Error};

/// Facts about the installation that never change while the master runs.
#[derive(Debug, Clone)]
pub struct Cluster {
    facts: Arc<Facts>,
    store: Store,
}

#[derive(Debug)]
struct Facts {
    cluster_id: String,
    cluster_name: String,
    default_user: UserId,
    admin: Option<UserId>,
    initial_password: InitialPassword,
}

impl Cluster {
    /// Reads the facts, or makes a new installation with its two accounts (P1).
    ///
    /// # Errors
    /// When the database can't be used.
    pub async fn open(
        store: &Store,
        config: &Config,
        data_dir: &Path,
        hasher: &Hasher,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
        system: &System,
    ) -> Result<Self, Error> {
        let mut tx = store.write().await?;
        let known = meta::get(&mut tx, "cluster_id").await?;
        let is_new = known.is_none();
        let cluster_id = match known {
            Some(id) => id,
            None => bootstrap::found(&mut tx, config, data_dir, hasher, clock.now(), entropy).await?,
        };
        let default_user = meta::get(&mut tx, bootstrap::DEFAULT_USER).await?;
        let default_user = default_user.and_then(|id| id.parse().ok());
        let default_user = default_user
            .ok_or_else(|| store::StoreError::Corrupt("meta: default_user_id is missing".to_owned()))?;
        let admin = first_admin(&mut tx).await?;
        if is_new {
            let by = system.by("a new installation");
            let entry = Entry::done(&by, "installation.create", Who::named("installation", &cluster_id, ""));
            tx.commit(&entry, clock.now()).await?;
            tracing::info!("new installation");
        }
        let initial_password = InitialPassword::new(data_dir, admin.as_ref().map(|admin| admin.id));
        initial_password.tidy(admin.as_ref(), hasher).await?;
        let cluster_name = config.cluster_name.clone();
        let admin = admin.map(|admin| admin.id);
        let facts = Facts { cluster_id, cluster_name, default_user, admin, initial_password };
        Ok(Self { facts: Arc::new(facts), store: store.clone() })
    }

    /// The installation's id; also the master's.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.facts.cluster_id
    }

    /// The installation's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.facts.cluster_name
    }

    /// The account that needs no login on the machine itself (P2).
    #[must_use]
    pub fn default_user(&self) -> UserId {
        self.facts.default_user
    }

    /// The first administrator's password, while it can still be read (X3).
    #[must_use]
    pub fn initial_password(&self) -> &InitialPassword {
        &self.facts.initial_password
    }

    /// The first administrator's name, while its password is blank: whoever can set one is urged to (P4).
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn unprotected_admin(&self) -> Result<Option<String>, Error> {
        let Some(admin) = self.facts.admin else { return Ok(None) };
        let mut conn = self.store.read().await?;
        let admin = store::user::by_id(&mut conn, admin).await?;
        let open = admin.filter(|user| user.is_active() && user.password == Password::Blank);
        Ok(open.map(|user| user.username))
    }

    /// The configuration for an administrator's eyes.
    #[must_use]
    pub fn shown_config(&self, _permit: Permit<ReadMasterConfig>, config: &Config) -> serde_json::Value {
        config.for_display()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn check(&self) -> Result<(), Error> {
        let mut conn = self.store.read().await?;
        meta::get(&mut conn, "cluster_id").await?;
        Ok(())
    }
}

/// Installations that were made before it was noted have `admin`.
async fn first_admin(conn: &mut Conn) -> Result<Option<User>, Error> {
    let noted = meta::get(conn, bootstrap::ADMIN).await?.and_then(|id| id.parse().ok());
    Ok(match noted {
        Some(id) => store::user::by_id(conn, id).await?,
        None => store::user::by_username(conn, "admin").await?,
    })
}
