//! The agent's directory: its lock, its places, files written completely or not at all. What the files hold is
//! elsewhere.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use tokio::time::Instant;

use crate::AgentError;

/// Tells an agent's directory.
pub const LOCK_FILE: &str = "agent.lock";

/// The agent's own key.
pub(crate) const KEY_FILE: &str = "link.key";

/// Whose agent it is.
pub(crate) const ENROLMENT_FILE: &str = "agent.json";

/// How long an agent that is being replaced may take to let go of the directory.
const HANDOVER: Duration = Duration::from_secs(3);

/// The agent's directory, in use by this agent alone.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// The lock goes with the descriptor.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be and takes it.
    pub(crate) async fn open(path: &Path) -> Result<Self, AgentError> {
        let cannot = || AgentError::io(format!("cannot use the data directory {}", path.display()));
        let root = std::path::absolute(path).map_err(cannot())?;
        may_be_ours(&root, &[LOCK_FILE, ENROLMENT_FILE, KEY_FILE]).map_err(cannot())?;
        make_private(&root).map_err(cannot())?;
        let root = root.canonicalize().map_err(cannot())?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(root.join(LOCK_FILE))
            .map_err(cannot())?;
        let deadline = Instant::now() + HANDOVER;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(AgentError::InUse(root)),
                Err(e) => return Err(cannot()(e.into())),
            }
        }
        // This tells `muster down` who we are.
        let _ = fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive);
        let dir = Self { root, _lock: lock };
        for part in [dir.tasks(), dir.incoming()] {
            make_private(&part).map_err(cannot())?;
        }
        Ok(dir)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// One directory for each run.
    pub(crate) fn tasks(&self) -> PathBuf {
        self.root.join("tasks")
    }

    /// Context directories until they are complete and their run has a directory.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// What the master has no record of; it may not be there yet.
    pub(crate) fn lost(&self) -> PathBuf {
        self.root.join("lost")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.root.join(KEY_FILE)
    }

    pub(crate) fn enrolment_file(&self) -> PathBuf {
        self.root.join(ENROLMENT_FILE)
    }
}

/// Looks at a directory that is there already, before Muster keeps anything in it: one that others use isn't taken from
/// them, and one that others can write to is none to keep keys in. `ours` are files that tell Muster's own.
///
/// # Errors
/// Why not, and what to do; or what the machine says.
pub fn may_be_ours(path: &Path, ours: &[&str]) -> io::Result<()> {
    let meta = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let refused = |why: &str| {
        Err(io::Error::other(format!(
            "{why}: name a directory of its own with --data-dir, such as {}/muster",
            path.display()
        )))
    };
    if !meta.is_dir() {
        return refused("it is no directory");
    }
    let mode = meta.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if mode & 0o002 != 0 {
        return refused("everybody can write to it");
    }
    if ours.iter().any(|file| path.join(file).exists()) {
        return Ok(());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return refused("it is somebody else's");
    }
    // What a file system of its own begins with.
    let other = |entry: &fs::DirEntry| entry.file_name() != "lost+found";
    if fs::read_dir(path)?.flatten().any(|entry| other(&entry)) {
        return refused("it holds other things, which others can get at");
    }
    Ok(())
}

pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a private file completely or not at all, also when the machine loses power.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = parent.join(name);
    let write = || -> io::Result<()> {
        // Whatever a crash left behind may have other rights.
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_dir(parent)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Makes names that were given or taken in a directory last.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kf13_a_directory_that_others_use_stays_theirs() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = temp.path().join("d");
        let with = |mode: u32, file: Option<&str>| {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).expect("made");
            if let Some(file) = file {
                fs::write(dir.join(file), "").expect("written");
            }
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).expect("ours");
            may_be_ours(&dir, &["muster.lock"]).map_err(|e| e.to_string())
        };
        assert_eq!(with(0o700, Some("digits.csv")), Ok(()));
        assert_eq!(with(0o755, None), Ok(()));
        assert_eq!(with(0o755, Some("muster.lock")), Ok(()));
        for (mode, file) in [(0o1777, None), (0o777, Some("muster.lock")), (0o755, Some("digits.csv"))] {
            let why = with(mode, file).expect_err("others use it");
            assert!(why.contains("--data-dir"), "{why}");
        }
        assert!(may_be_ours(&temp.path().join("none"), &[]).is_ok());
    }
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_directory_has_one_agent_and_lets_nobody_in() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("a/b");
        let first = DataDir::open(&path).await.expect("free");
        let mode = fs::metadata(first.tasks()).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        tokio::time::pause();
        let second = DataDir::open(&path).await.expect_err("taken");
        assert!(matches!(second, AgentError::InUse(_)), "{second}");
        drop(first);
        DataDir::open(&path).await.expect("free again");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("x");
        write_file(&path, b"one").expect("written");
        write_file(&path, b"two").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(fs::read_dir(temp.path()).expect("there").count(), 1);
    }
}
