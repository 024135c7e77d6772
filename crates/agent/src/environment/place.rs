//! The directory in which managed environments are kept: names, the lock, what is finished and what is in use.
//!
//! ```text
//! DIR/ 0700    lock            held by who makes or removes anything here                (flock(2), one process)
//!              KEY/            an environment: finished, for it has its name
//!              KEY.lock        locked by each task that has it; no task sees it
//!              KEY/environment.json
//!              .new-KEY/       one that is being made
//!              jobs/           what makes it
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Python;
use crate::launcher::sandbox::{job, share};

/// What tells that an environment is one.
const FACTS: &str = "environment.json";
const LOCK: &str = "lock";
/// Behind an environment's name.
const ITS_LOCK: &str = "lock";
const JOBS: &str = "jobs";
const NEW: &str = ".new-";

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

/// An environment that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is called here.
    pub key: String,
    /// Its directory.
    pub path: PathBuf,
    /// Whether a task has it.
    pub in_use: bool,
    /// What it has of the disk, in bytes.
    pub bytes: u64,
    /// Its interpreter.
    pub python: Python,
}

/// Why an environment stays.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    /// A task has it.
    #[error("a running task has it")]
    InUse,
    /// Something is being made.
    #[error("an environment is being made, by an agent or by `muster environment build`")]
    Busy,
    /// The file system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Place {
    pub(super) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub(super) fn jobs(&self) -> PathBuf {
        self.0.join(JOBS)
    }

    pub(super) fn of(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    /// What each task that has an environment has locked.
    pub(super) fn lock_of(&self, key: &str) -> PathBuf {
        self.0.join(format!("{key}.{ITS_LOCK}"))
    }

    /// Takes the directory for this process, or `None` when another one has it.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let own = rustix::process::geteuid().as_raw();
        let meta = fs::metadata(&self.0)?;
        if meta.uid() != own || meta.mode() & 0o022 != 0 {
            return Err(io::Error::other("others can change what is in it: name a directory of its own"));
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.0.join(LOCK))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A finished environment, with a lock by which it stays; `None` when there is none.
    pub(super) fn find(&self, key: &str) -> io::Result<Option<(Python, File)>> {
        let facts = || -> io::Result<Option<Python>> {
            match fs::read(self.of(key).join(FACTS)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                other => Ok(Some(serde_json::from_slice(&other?)?)),
            }
        };
        if facts()?.is_none() {
            return Ok(None);
        }
        drop(self.lock_file(key)?);
        let held = match share(&self.lock_of(key)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(facts()?.map(|python| (python, held)))
    }

    /// An environment's lock; those of earlier versions have none yet.
    fn lock_file(&self, key: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).open(self.lock_of(key))
    }

    /// An environment's lock, for who removes it; `None` when a task has it. Tasks of before that there was a lock beside it
    /// have locked the directory itself; whoever else does so keeps it from being removed, and nothing more.
    fn unused(&self, key: &str) -> io::Result<Option<File>> {
        let lock = self.lock_file(key)?;
        for file in [&lock, &File::open(self.of(key))?] {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(lock))
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.is_dir()
    }

    /// Clears away what a crash has left. The lock is held.
    pub(super) fn clear(&self) -> io::Result<()> {
        job::end_all(&self.jobs())?;
        for entry in fs::read_dir(&self.0)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(NEW) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes an empty directory for a new environment. The lock is held.
    pub(super) fn begin(&self, key: &str) -> io::Result<PathBuf> {
        self.clear()?;
        let new = self.0.join(format!("{NEW}{key}"));
        DirBuilder::new().mode(0o755).create(&new)?;
        Ok(new)
    }

    /// Gives a new environment its name, once it is whole and nobody's: what made it can't write to it any more. The lock is
    /// held.
    pub(super) fn finish(&self, key: &str, python: &Python) -> io::Result<()> {
        let new = self.0.join(format!("{NEW}{key}"));
        take_over(&new)?;
        let file = File::create(new.join(FACTS))?;
        serde_json::to_writer(&file, python)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        // The name mustn't be there before what it is the name of, when the machine loses power.
        rustix::fs::syncfs(&file)?;
        fs::rename(&new, self.of(key))?;
        crate::data_dir::sync_dir(&self.0)
    }

    /// Throws away what was begun. The lock is held.
    pub(super) fn give_up(&self, key: &str) {
        let _ = fs::remove_dir_all(self.0.join(format!("{NEW}{key}")));
    }

    /// All finished environments.
    pub(super) fn list(&self) -> io::Result<Vec<Kept>> {
        let entries = match fs::read_dir(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other?,
        };
        let mut kept = vec![];
        for path in entries.flatten().map(|entry| entry.path()) {
            let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(facts) = fs::read(path.join(FACTS)) else { continue };
            let Ok(python) = serde_json::from_slice(&facts) else { continue };
            let in_use = self.unused(&key)?.is_none();
            kept.push(Kept { key, in_use, bytes: size(&path), path, python });
        }
        kept.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(kept)
    }

    /// Removes an environment that no task has. The lock is held.
    pub(super) fn remove(&self, key: &str) -> Result<(), NotRemoved> {
        let _lock = self.unused(key)?.ok_or(NotRemoved::InUse)?;
        let gone = self.0.join(format!("{NEW}gone-{key}"));
        fs::rename(self.of(key), &gone)?;
        fs::remove_file(self.lock_of(key))?;
        Ok(fs::remove_dir_all(gone)?)
    }

    /// Removes what no task has but the one with this key.
    pub(super) fn tidy(&self, key: &str) {
        for other in
            self.list().unwrap_or_default().into_iter().filter(|kept| kept.key != key && !kept.in_use)
        {
            match self.remove(&other.key) {
                Ok(()) => tracing::info!("{} is of an earlier version: removed", other.path.display()),
                Err(e) => tracing::warn!("{} can't be removed: {e}", other.path.display()),
            }
        }
    }
}

/// Makes a tree this process's own, which nobody else can write to. Whoever made it has ended.
fn take_over(path: &Path) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let meta = fs::symlink_metadata(path)?;
    if (meta.uid(), meta.gid()) != (uid, gid) {
        lchown(path, Some(uid), Some(gid))?;
    }
    if meta.is_symlink() {
        return Ok(());
    }
    let wanted = meta.mode() & 0o755 | 0o444 | if meta.is_dir() { 0o111 } else { 0 };
    if meta.mode() & 0o7777 != wanted {
        fs::set_permissions(path, Permissions::from_mode(wanted))?;
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            take_over(&entry?.path())?;
        }
    }
    Ok(())
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let own = meta.blocks().saturating_mul(512);
    if !meta.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.fold(own, |sum, entry| sum.saturating_add(size(&entry.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(place: &Place, key: &str) {
        place.begin(key).expect("begun");
        place.finish(key, &Python::default()).expect("finished");
    }

    #[test]
    fn b21_what_is_half_made_is_no_environment_and_goes() {
        let temp = tempfile::tempdir().expect("temp dir");
        let place = Place::new(&temp.path().join("e"));
        let lock = place.lock().expect("made").expect("free");
        assert!(place.lock().expect("there").is_none(), "one at a time");
        let half = place.begin("a").expect("begun");
        fs::write(half.join("x"), "").expect("written");
        assert!(place.find("a").expect("readable").is_none() && place.list().expect("readable").is_empty());
        made(&place, "a");
        assert!(place.find("a").expect("readable").is_some() && !place.of("a").join("x").exists());
        drop(lock);
        assert!(place.lock().expect("there").is_some());
    }

    #[test]
    fn b21_what_a_task_has_stays() {
        let temp = tempfile::tempdir().expect("temp dir");
        let place = Place::new(&temp.path().join("e"));
        let _lock = place.lock().expect("made").expect("free");
        made(&place, "a");
        made(&place, "b");
        let (_, held) = place.find("a").expect("readable").expect("there");
        assert!(matches!(place.remove("a"), Err(NotRemoved::InUse)));
        place.tidy("c");
        let left: Vec<_> = place.list().expect("readable").into_iter().map(|kept| kept.key).collect();
        assert_eq!(left, ["a"]);
        drop(held);
        place.remove("a").expect("nobody has it");
        assert!(place.list().expect("readable").is_empty());
    }

    #[test]
    fn b21_what_is_made_can_be_written_to_by_nobody_else() {
        let temp = tempfile::tempdir().expect("temp dir");
        let place = Place::new(&temp.path().join("e"));
        let _lock = place.lock().expect("made").expect("free");
        let new = place.begin("a").expect("begun");
        fs::write(new.join("tool"), "").expect("written");
        fs::set_permissions(new.join("tool"), Permissions::from_mode(0o6777)).expect("ours");
        std::os::unix::fs::symlink("/etc/passwd", new.join("link")).expect("made");
        if rustix::process::geteuid().is_root() {
            lchown(new.join("link"), Some(5001), Some(5001)).expect("root's right");
            lchown(new.join("tool"), Some(5001), Some(5001)).expect("root's right");
        }
        place.finish("a", &Python::default()).expect("finished");
        for name in ["tool", "link", "environment.json", "."] {
            let meta = fs::symlink_metadata(place.of("a").join(name)).expect("there");
            assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "{name}");
            assert!(meta.is_symlink() || meta.mode() & 0o7022 == 0, "{name}: {:o}", meta.mode());
        }
        fs::set_permissions(temp.path().join("e"), Permissions::from_mode(0o777)).expect("ours");
        assert!(place.lock().is_err(), "anybody could put something else there");
    }
}
