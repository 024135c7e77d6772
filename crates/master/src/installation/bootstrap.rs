//! A new installation: its id, its first accounts (P1, X2), and the first password that is made up for one (X3).

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::UserId;
use domain::time::Timestamp;
use domain::user::{Password, Status, User};
use store::meta;
use uuid::Uuid;

use crate::config::{BlankPasswords, Bootstrap, FirstPassword};
use crate::password::{Hasher, Lane, Presented};
use crate::system::Entropy;
use crate::{Config, Error};

/// The fact that names the first administrator.
pub(crate) const ADMIN: &str = "admin_user_id";
/// The fact that names the default user (P1).
pub(crate) const DEFAULT_USER: &str = "default_user_id";

/// The administrator's first password, when it was made up: in a file of the data directory until it is used (X3).
#[derive(Debug, Clone)]
pub struct InitialPassword {
    file: PathBuf,
    admin: Option<UserId>,
}

impl InitialPassword {
    pub(crate) fn new(data_dir: &Path, admin: Option<UserId>) -> Self {
        Self { file: path(data_dir), admin }
    }

    /// Where it can still be read.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.exists().then_some(&self.file)
    }

    /// The account has logged in, or has another password now.
    pub(crate) async fn over(&self, user: UserId) {
        if self.admin != Some(user) {
            return;
        }
        match tokio::fs::remove_file(&self.file).await {
            Ok(()) => {
                tracing::info!(file = %self.file.display(), "the first password was used: its file is gone")
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, file = %self.file.display(), "remove this file: it is over"),
        }
    }

    /// After a start: whatever came between a login and the file's end is made up for.
    pub(crate) async fn tidy(&self, admin: Option<&User>, hasher: &Hasher) -> Result<(), Error> {
        let Ok(text) = std::fs::read_to_string(&self.file) else {
            return Ok(());
        };
        let Some(admin) = admin else { return Ok(()) };
        let presented = Presented::new(Some(text.trim().to_owned()), false);
        let good = hasher.check(Some(admin.password.clone()), presented, Lane::ours()).await?;
        if !good || admin.last_login_at.is_some() {
            self.over(admin.id).await;
        }
        Ok(())
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("initial-admin-password")
}

/// Makes the installation: ids, the administrator and the default user, the shared workspace.
pub(crate) async fn found(
    tx: &mut store::Tx,
    config: &Config,
    data_dir: &Path,
    hasher: &Hasher,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<String, Error> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(entropy.bytes().get(..16).unwrap_or(&[0; 16]));
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let id = Uuid::hyphenated(id).to_string();
    meta::set(tx, "cluster_id", &id).await?;
    let Bootstrap { admin: first, default_user } = &config.bootstrap;
    // Where blank ones are good nowhere, nobody could ever come in.
    let locked_out =
        config.security.blank_passwords == BlankPasswords::Deny && first.password == FirstPassword::Blank;
    let wanted = if locked_out { &FirstPassword::Random } else { &first.password };
    let password = first_password(wanted, data_dir, hasher, entropy).await?;
    if *default_user == first.username {
        tracing::warn!(
            "bootstrap.default_user is the administrator: everybody on this machine is one until {default_user} has a \
             password"
        );
    }
    let admin = User { admin: true, email: first.email.clone(), ..account(&first.username, password, now) };
    let admin = store::user::insert(tx, &admin, now).await?;
    let default = if *default_user == first.username {
        admin.clone()
    } else {
        store::user::insert(tx, &account(default_user, Password::Blank, now), now).await?
    };
    meta::set(tx, ADMIN, &admin.id.to_string()).await?;
    meta::set(tx, DEFAULT_USER, &default.id.to_string()).await?;
    store::workspace::insert_uncategorized(tx, admin.id, now).await?;
    Ok(id)
}

fn account(username: &str, password: Password, now: Timestamp) -> User {
    User {
        id: UserId(0),
        username: username.to_owned(),
        display_name: String::new(),
        admin: false,
        status: Status::Active,
        remote: false,
        password,
        identity: None,
        email: None,
        service: false,
        modified_at: now,
        last_login_at: None,
        deleted_at: None,
    }
}

async fn first_password(
    wanted: &FirstPassword,
    data_dir: &Path,
    hasher: &Hasher,
    entropy: &dyn Entropy,
) -> Result<Password, Error> {
    let text = match wanted {
        FirstPassword::Blank => return Ok(Password::Blank),
        FirstPassword::Given(text) => {
            if let Err(weak) = domain::password::check_new(text) {
                tracing::warn!(
                    "bootstrap.admin.password is used as it is, though it is weak ({weak}): change it with `muster user \
                     change-password`"
                );
            }
            text.clone()
        }
        FirstPassword::Random => {
            let text = URL_SAFE_NO_PAD.encode(entropy.bytes().get(..18).unwrap_or_default());
            // Before the account is: a password that nobody can read would lock everybody out.
            let file = path(data_dir);
            write_for_owner(&file, &text).map_err(Error::io("writing the administrator's first password"))?;
            tracing::info!(file = %file.display(), "made up the administrator's first password");
            text
        }
    };
    hasher.store(Presented::new(Some(text), false), Lane::ours(), entropy).await
}

fn write_for_owner(file: &Path, text: &str) -> std::io::Result<()> {
    // One from an attempt that was cut short.
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(made, "{text}")?;
    made.sync_all()?;
    file.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}
