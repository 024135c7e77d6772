//! The installation itself: its ids, its first accounts.

use std::sync::Arc;

use domain::audit::{By, Entry, Who};
use domain::authz::{Permit, ReadMasterConfig};
use domain::id::UserId;
use domain::time::Timestamp;
use domain::user::{Password, Status, User};
use store::{Store, meta};
use uuid::Uuid;

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
}

impl Cluster {
    /// Reads the facts, or makes a new installation with its two accounts (P1).
    ///
    /// # Errors
    /// When the database can't be used.
    pub async fn open(
        store: &Store,
        config: &Config,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        let mut tx = store.write().await?;
        let known = meta::get(&mut tx, "cluster_id").await?;
        let is_new = known.is_none();
        let cluster_id = match known {
            Some(id) => id,
            None => found(&mut tx, config, clock.now(), entropy).await?,
        };
        let default_user = meta::get(&mut tx, "default_user_id").await?;
        let default_user = default_user.and_then(|id| id.parse().ok());
        let default_user = default_user
            .ok_or_else(|| store::StoreError::Corrupt("meta: default_user_id is missing".to_owned()))?;
        if is_new {
            let by = By::System { reason: "a new installation" };
            let entry = Entry::done(&by, "installation.create", Who::named("installation", &cluster_id, ""));
            tx.commit(&entry, clock.now()).await?;
            tracing::info!("new installation");
        }
        let facts = Facts { cluster_id, cluster_name: config.cluster_name.clone(), default_user };
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

/// Makes the installation: ids, `admin` and the default user with blank passwords (P1), the shared workspace.
async fn found(
    tx: &mut store::Tx,
    config: &Config,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<String, Error> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(entropy.bytes().get(..16).unwrap_or(&[0; 16]));
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let id = Uuid::hyphenated(id).to_string();
    meta::set(tx, "cluster_id", &id).await?;
    let blank = |username: &str, admin| User {
        id: UserId(0),
        username: username.to_owned(),
        display_name: String::new(),
        admin,
        status: Status::Active,
        remote: false,
        password: Password::Blank,
        identity: None,
        email: None,
        service: false,
        modified_at: now,
        last_login_at: None,
        deleted_at: None,
    };
    let admin = store::user::insert(tx, &blank("admin", true), now).await?;
    let default = if config.default_user == "admin" {
        admin.clone()
    } else {
        store::user::insert(tx, &blank(&config.default_user, false), now).await?
    };
    meta::set(tx, "default_user_id", &default.id.to_string()).await?;
    store::workspace::insert_uncategorized(tx, admin.id, now).await?;
    Ok(id)
}
