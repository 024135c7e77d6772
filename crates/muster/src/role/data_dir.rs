//! The data directory of a master: where it is, that it is ours alone, and that only one process uses it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// How long a lock may outlive its holder: what a process was starting when it was killed shares the lock until it
/// has become another program.
const LINGER: Duration = Duration::from_secs(3);

/// A data directory.
#[derive(Debug, Clone)]
pub(super) struct DataDir {
    path: PathBuf,
}

/// Held while a process uses a data directory; holds that process's id.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// `/var/lib/NAME` as root, else `NAME` in `$XDG_DATA_HOME`.
pub(super) fn usual_place(name: &str) -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(Path::new("/var/lib").join(name));
    }
    let set =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(".local/share"));
    let place = set("XDG_DATA_HOME").or_else(home);
    let place = place.context("neither XDG_DATA_HOME nor HOME is set: name a place with --data-dir")?;
    Ok(place.join(name))
}

impl DataDir {
    /// The given place, or the usual one.
    pub(super) fn at(path: Option<PathBuf>) -> Result<Self> {
        let path = path.map_or_else(|| usual_place("muster"), Ok)?;
        let path = std::path::absolute(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { path })
    }

    /// Makes it, for our eyes only. One that is there is closed to others when it is Muster's, or holds nothing; what
    /// others use is refused.
    pub(super) fn create(&self) -> Result<()> {
        let describe = || format!("data directory {}", self.path.display());
        agent::may_be_ours(&self.path, &["muster.lock", "muster.db", "link.key"]).with_context(describe)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).with_context(describe)?;
        let mode = std::fs::metadata(&self.path).with_context(describe)?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700))
                .with_context(describe)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The agent's part.
    pub(super) fn agent(&self) -> PathBuf {
        if self.is_agents() { self.path.clone() } else { self.path.join("agent") }
    }

    /// Whether it is an agent's alone, without a master.
    pub(super) fn is_agents(&self) -> bool {
        self.path.join(agent::LOCK_FILE).exists() && !self.lock_file().exists()
    }

    /// What is locked while it is used.
    fn locked(&self) -> PathBuf {
        if self.is_agents() { self.path.join(agent::LOCK_FILE) } else { self.lock_file() }
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("muster.lock")
    }

    /// Takes the directory for this process.
    pub(super) async fn lock(&self) -> Result<Lock> {
        let describe = || format!("{}", self.lock_file().display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(self.lock_file()).with_context(describe)?;
        let deadline = Instant::now() + LINGER;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let owner = holder(&mut file);
            if owner.is_some_and(is_alive) || Instant::now() > deadline {
                let dir = self.path.display();
                let owner = owner.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                bail!(
                    "Muster is already running on {dir}{owner}: stop it with `muster down`, or use another --data-dir"
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // This tells who we are without a byte of the disk; where there is no such lock, the text does.
        let _ = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
        if write_holder(&mut file).is_err() {
            // A full disk stops nobody (S7). An old number would name somebody else.
            let _ = file.set_len(0);
        }
        Ok(Lock { _file: file })
    }

    /// The process that uses the directory now.
    pub(super) fn owner(&self) -> Result<Option<i32>> {
        let locked = self.locked();
        let mut file = match File::open(&locked) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("{}", locked.display())),
        };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return Ok(None);
        }
        let owner = holder(&mut file).filter(|&pid| is_alive(pid));
        if owner.is_none() && self.is_agents() {
            bail!(
                "an agent of an older Muster runs on {}: stop it (Ctrl-C, or SIGTERM), then say this again",
                self.path.display()
            );
        }
        Ok(owner)
    }

    /// Waits until nobody uses the directory.
    pub(super) async fn wait_until_free(&self) -> Result<()> {
        let file = File::open(self.locked())?;
        let wait = tokio::task::spawn_blocking(move || flock(&file, FlockOperation::LockShared));
        wait.await?.context("waiting for Muster to end")
    }
}

/// Over what is there, which needs no space.
fn write_holder(file: &mut File) -> std::io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn holder(file: &mut File) -> Option<i32> {
    let ours = Flock::from(FlockType::WriteLock);
    if let Ok(Some(theirs)) = fcntl_getlk(&*file, &ours)
        && let Some(pid) = theirs.pid
    {
        return Some(pid.as_raw_nonzero().get());
    }
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_alive(pid: i32) -> bool {
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}
