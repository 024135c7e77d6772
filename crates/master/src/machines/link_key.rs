//! The master's key for the link to its agents: made once, kept in the data directory. Its public half stands in the
//! database too, so that a lost or exchanged file is noticed: with another key every agent would turn away.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use domain::audit::{Entry, Who};
use domain::authz::System;
use link::Secret;
use store::{Store, meta};

use crate::Error;
use crate::system::{Clock, Entropy};

/// The fact that names the key's public half.
const FACT: &str = "link_key";

/// Reads the key, or makes one where there never was one.
///
/// # Errors
/// When the file can't be used, or isn't the one that agents know.
pub(crate) async fn open(
    store: &Store,
    data_dir: &Path,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    system: &System,
) -> Result<Secret, Error> {
    let file = data_dir.join("link.key");
    let found = read(&file)?;
    let mut tx = store.write().await?;
    let known = meta::get(&mut tx, FACT).await?;
    let key = match (found, &known) {
        (Found::Key(key), Some(known)) if key.public().to_string() != *known => {
            return Err(Error::Precondition(format!(
                "{} is not the key that this installation's agents know: restore the one with fingerprint {}",
                file.display(),
                known.parse::<link::Public>().map(|key| key.fingerprint()).unwrap_or_default()
            )));
        }
        (Found::Key(key), _) => key,
        (Found::Nothing, Some(_)) => {
            return Err(Error::Precondition(format!(
                "the master's key {0} is gone, and agents obey nobody without it: restore the file from a back-up. If it is \
                 lost for good, run `touch {0}` and start again: a new key is made then, and every agent has to be \
                 enrolled again",
                file.display()
            )));
        }
        (Found::Nothing | Found::Empty, _) => {
            let key = Secret::from_random(entropy.bytes());
            write(&file, &key.to_text()).map_err(Error::io("writing the master's key link.key"))?;
            key
        }
    };
    let public = key.public().to_string();
    if known.as_ref() == Some(&public) {
        return Ok(key);
    }
    meta::set(&mut tx, FACT, &public).await?;
    if known.is_some() {
        tracing::error!("the master has a new key: every agent has to be enrolled again");
        let by = system.by("the old key was lost");
        let entry = Entry::done(&by, "installation.replace_link_key", Who::named("installation", &"", ""));
        tx.commit(&entry, clock.now()).await?;
    } else {
        tx.commit_unaudited("the first key of an installation").await?;
    }
    Ok(key)
}

enum Found {
    Key(Secret),
    /// An administrator's way to say that the key is lost.
    Empty,
    Nothing,
}

fn read(file: &Path) -> Result<Found, Error> {
    let reading = || Error::io("reading the master's key link.key");
    let mode = match std::fs::metadata(file) {
        Ok(meta) => meta.permissions().mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(reading()(error)),
    };
    let text = std::fs::read_to_string(file).map_err(reading())?;
    if text.is_empty() {
        return Ok(Found::Empty);
    }
    if mode & 0o077 != 0 {
        let file = file.display();
        return Err(Error::Precondition(format!("{file} can be read by others: run `chmod 600 {file}`")));
    }
    let bad = |_| Error::Precondition(format!("{} is damaged: restore it from a back-up", file.display()));
    Secret::from_text(&text).map(Found::Key).map_err(bad)
}

/// Completely or not at all, also when the machine loses power.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let temporary = PathBuf::from(format!("{}.new", file.display()));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&temporary, file)?;
    std::fs::File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}
