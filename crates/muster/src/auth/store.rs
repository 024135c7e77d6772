//! Tokens between two runs: `auth.json`, readable by its owner alone.
//!
//! Every change reads the file again under a lock and replaces it in one step, so that command lines that run at the
//! same time lose nothing of each other's.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::client::Address;
use serde::{Deserialize, Serialize};

use crate::output;

/// The form that this program writes.
const VERSION: u32 = 1;

/// The tokens of one master.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: Option<PathBuf>,
    master: String,
}

/// What is kept for one master.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Kept {
    /// Who `user login` made the user of this master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_user: Option<String>,
    /// A token for each user that one acted as.
    pub(crate) tokens: BTreeMap<String, String>,
    /// What the master gave to this program for each user's next login, by which it knows it among others (A8).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) devices: BTreeMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    masters: BTreeMap<String, Kept>,
}

impl Store {
    /// The tokens of the master at `address`, kept in `dir`. Without a directory nothing is kept.
    pub(crate) fn new(dir: Option<PathBuf>, address: &Address) -> Self {
        Self { dir, master: address.to_string() }
    }

    /// What is kept now.
    pub(crate) fn read(&self) -> Result<Kept> {
        let Some(dir) = &self.dir else {
            return Ok(Kept::default());
        };
        // Replacing is one step, so reading needs no lock, and works where nothing can be written.
        Ok(load(dir)?.masters.remove(&self.master).unwrap_or_default())
    }

    /// Changes what is kept.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Kept)) -> Result<()> {
        let Some(dir) = &self.dir else {
            bail!("there is no place to keep the login: set HOME or MUSTER_CONFIG_DIR");
        };
        let problem = || format!("can't keep the login in {}", dir.display());
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(problem)?;
        let lock = private(&dir.join("auth.lock")).with_context(problem)?;
        lock.lock().with_context(problem)?;
        let mut contents = load(dir)?;
        let before = contents.masters.get(&self.master).cloned().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        if after == Kept::default() {
            contents.masters.remove(&self.master);
        } else {
            contents.masters.insert(self.master.clone(), after);
        }
        replace(dir, &contents).with_context(problem)
    }

    /// Follows an account that got another name: what is kept goes by name.
    pub(crate) fn rename(&self, old: &str, new: &str) -> Result<()> {
        if self.dir.is_none() {
            return Ok(());
        }
        self.update(|kept| {
            if let Some(token) = kept.tokens.remove(old) {
                kept.tokens.insert(new.to_owned(), token);
            }
            if kept.active_user.as_deref() == Some(old) {
                kept.active_user = Some(new.to_owned());
            }
        })
    }
}

fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn load(dir: &Path) -> Result<Contents> {
    let path = dir.join("auth.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Contents::default());
        }
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    close_to_others(&path);
    match serde_json::from_slice::<Contents>(&bytes) {
        Ok(contents) if contents.version > VERSION => bail!(
            "{} was written by a newer muster (form {}, this one knows {VERSION}): use that one, or move the file away",
            path.display(),
            contents.version
        ),
        Ok(contents) => Ok(contents),
        Err(error) => {
            move_aside(&path, &error)?;
            Ok(Contents::default())
        }
    }
}

/// A copied or restored file may be readable by everybody.
fn close_to_others(path: &Path) {
    let open = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    if open && fs::set_permissions(path, Permissions::from_mode(0o600)).is_ok() {
        output::note(&format!("{} was readable by others; it is no longer", path.display()));
    }
}

/// The tokens in a broken file may still be wanted, so it is kept beside the new one.
fn move_aside(path: &Path, error: &serde_json::Error) -> Result<()> {
    let mut aside = path.with_extension("json.broken");
    let mut number = 1;
    while aside.exists() {
        number += 1;
        aside = path.with_extension(format!("json.broken-{number}"));
    }
    match fs::rename(path, &aside) {
        // Another run was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        moved => moved.with_context(|| format!("{} is broken and can't be moved away", path.display()))?,
    }
    output::note(&format!(
        "{} can't be understood ({error}); it is now {}, and you are logged out",
        path.display(),
        aside.display()
    ));
    Ok(())
}

fn replace(dir: &Path, contents: &Contents) -> Result<()> {
    let contents = Contents { version: VERSION, masters: contents.masters.clone() };
    let temporary = dir.join("auth.json.new");
    // Left over from a run that was killed; its mode may be anything.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    serde_json::to_writer_pretty(&mut file, &contents)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join("auth.json"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path) -> Store {
        Store::new(Some(dir.join("muster")), &"localhost".parse().expect("valid"))
    }

    fn add(store: &Store, user: &str) {
        store.update(|kept| drop(kept.tokens.insert(user.into(), "t".into()))).expect("kept");
    }

    #[test]
    fn tokens_are_kept_for_each_master_and_for_the_owner_alone() {
        let home = tempfile::tempdir().expect("made");
        let here = store(home.path());
        add(&here, "alice");
        let mode =
            |name: &str| fs::metadata(home.path().join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode("muster"), 0o700);
        assert_eq!(mode("muster/auth.json"), 0o600);
        assert!(here.read().expect("read").tokens.contains_key("alice"));
        let elsewhere = Store::new(Some(home.path().join("muster")), &"localhost:9".parse().expect("valid"));
        assert!(elsewhere.read().expect("read").tokens.is_empty());
        here.update(|kept| *kept = Kept::default()).expect("kept");
        assert!(
            !fs::read_to_string(home.path().join("muster/auth.json")).expect("there").contains("localhost")
        );
    }

    #[test]
    fn command_lines_at_the_same_time_lose_nothing() {
        let home = tempfile::tempdir().expect("made");
        std::thread::scope(|scope| {
            for n in 0..16 {
                let store = store(home.path());
                scope.spawn(move || add(&store, &format!("user{n}")));
            }
        });
        assert_eq!(store(home.path()).read().expect("read").tokens.len(), 16);
    }

    #[test]
    fn a_broken_file_is_moved_aside() {
        let home = tempfile::tempdir().expect("made");
        add(&store(home.path()), "alice");
        let path = home.path().join("muster/auth.json");
        for aside in ["auth.json.broken", "auth.json.broken-2"] {
            fs::write(&path, "{\"version\":1,").expect("written");
            assert!(store(home.path()).read().expect("read").tokens.is_empty());
            assert!(home.path().join("muster").join(aside).exists());
        }
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let home = tempfile::tempdir().expect("made");
        add(&store(home.path()), "alice");
        let path = home.path().join("muster/auth.json");
        fs::write(&path, r#"{"version":9,"masters":{}}"#).expect("written");
        assert!(store(home.path()).read().is_err());
        assert!(store(home.path()).update(|kept| kept.active_user = Some("a".into())).is_err());
        assert!(path.exists());
    }
}
