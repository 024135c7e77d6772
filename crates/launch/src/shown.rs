//! What a launcher of tasks gives them of its own: directories that they see at names in `/run` ([`Shown`]), and files that
//! are in `/run/determined` when they start ([`OwnFile`]). The mounts are made by `sandbox::fresh`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Gid, Mode, OFlags, Uid, fchmod, fchown, flock, openat};
use rustix::io::Errno;

use crate::failure::{Explain, Failure};
use crate::identity::Credentials;
use crate::spec::{Content, OwnFile, RUN_DIR, Shown};

/// How long a start waits for who only looks, and between two tries.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Shares the lock of a directory that is shown, which is held for as long as the file is open. Who only looks whether anybody
/// has it, or removes it, has it alone for a moment.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] after two seconds; [`io::ErrorKind::NotFound`] when it was removed meanwhile.
pub fn share(lock: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, lock, flags, Mode::empty())?);
    let until = Instant::now() + PATIENCE;
    while let Err(e) = flock(&file, FlockOperation::NonBlockingLockShared) {
        if e != Errno::WOULDBLOCK || Instant::now() > until {
            return Err(e.into());
        }
        std::thread::park_timeout(PAUSE);
    }
    if fs::symlink_metadata(lock)?.ino() != file.metadata()?.ino() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

/// Takes the locks of what a task is shown, and gives it what it may write to. To be held until the task has ended.
///
/// # Errors
/// One sentence: it is gone, or somebody is removing it.
pub(crate) fn take(shown: &[Shown], credentials: Credentials) -> Result<Vec<File>, Failure> {
    let one = |shown: &Shown| -> io::Result<File> {
        let lock = shown.lock.as_deref().map(share).transpose()?;
        // Who removed it meanwhile had the lock before.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = File::from(openat(CWD, &shown.host_path, flags, Mode::empty())?);
        if shown.writable {
            let (uid, gid) = (Uid::from_raw(credentials.host_uid), Gid::from_raw(credentials.host_gid));
            fchown(&dir, Some(uid), Some(gid))?;
            fchmod(&dir, Mode::from_raw_mode(0o755))?;
        }
        Ok(lock.unwrap_or(dir))
    };
    let named = |shown: &Shown| one(shown).explain(|| format!("can't show the task its /run/{}", shown.name));
    shown.iter().map(named).collect()
}

/// Makes a task's own files, as its user and in its own root, before anything else of it runs.
///
/// # Errors
/// One sentence.
pub(crate) fn make_own_files(files: &[OwnFile]) -> Result<(), Failure> {
    for OwnFile { path, content } in files {
        let path = Path::new(RUN_DIR).join(path);
        make(&path, content).explain(|| format!("can't make {} in the task", path.display()))?;
    }
    Ok(())
}

fn make(path: &Path, content: &Content) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let (text, mode) = match content {
        Content::Link(to) => return symlink(to, path),
        Content::Text(text) => (text, 0o644),
        Content::Program(text) => (text, 0o755),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}
