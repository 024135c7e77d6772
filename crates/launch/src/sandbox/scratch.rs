//! The task's own disk space: `TASKDIR/scratch`, shown in the task as `/tmp`, `/var/tmp`, `/run/determined` and the
//! work directory (R40, R41). Made by the shim before anything of the task runs, emptied when it has ended.
//!
//! Directories are made and opened without following links, and given to the user by descriptor while they are
//! still empty. Once a user can write to one, nothing in it is ever chowned.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat};
use rustix::io::Errno;

use crate::failure::{Explain, Failure};
use crate::identity::Credentials;
use crate::task_dir::{ROOT_DIR, SCRATCH_DIR};

/// Whose a directory is.
#[derive(Clone, Copy)]
enum Owner {
    Launcher,
    Task,
}
use Owner::{Launcher, Task};

/// Parents first. `determined` is `/run/determined`; the empty `workdir` in it is what `workdir` is mounted on.
const DIRECTORIES: [(&str, u32, Owner); 10] = [
    ("tmp", 0o1777, Launcher),
    ("var-tmp", 0o1777, Launcher),
    ("workdir", 0o700, Task),
    ("determined", 0o700, Task),
    ("determined/info", 0o755, Task),
    ("determined/pythonuserbase", 0o755, Task),
    ("determined/workdir", 0o700, Task),
    ("determined/train", 0o755, Task),
    ("determined/train/model", 0o755, Task),
    ("determined/train/logs", 0o755, Task),
];

/// What was found where the scratch space goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// It was made now.
    Fresh,
    /// An earlier shim of the task made it: the task has been started before.
    Found,
}

/// How long a start waits here for a disk that others have filled: who does that is ended soon (A4).
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes the scratch directories and the place where the root is composed.
///
/// # Errors
/// One sentence.
pub(crate) fn prepare(task_dir: &Path, credentials: Credentials) -> Result<Prepared, Failure> {
    let what = || "can't make the task's scratch directories".to_owned();
    let task_dir = open_dir(CWD, task_dir.as_os_str()).explain(what)?;
    let until = Instant::now() + PATIENCE;
    let make = |dir: BorrowedFd<'_>, path: &str| loop {
        match mkdirat(dir, path, Mode::from_raw_mode(0o700)) {
            Err(Errno::NOSPC) if Instant::now() < until => std::thread::park_timeout(PAUSE),
            other => return other,
        }
    };
    match make(task_dir.as_fd(), SCRATCH_DIR) {
        Err(Errno::EXIST) => return Ok(Prepared::Found),
        other => other.explain(what)?,
    }
    make(task_dir.as_fd(), ROOT_DIR).explain(what)?;
    let scratch = open_dir(task_dir.as_fd(), SCRATCH_DIR).explain(what)?;
    // Owners are set last and from the inside out: until then nobody else can reach anything here.
    let mut made = vec![];
    for (path, mode, owner) in DIRECTORIES {
        make(scratch.as_fd(), path).explain(what)?;
        made.push((open_dir(scratch.as_fd(), path).explain(what)?, mode, owner));
    }
    for (dir, mode, owner) in made.iter().rev() {
        if matches!(owner, Task) {
            let (uid, gid) = (Uid::from_raw(credentials.host_uid), Gid::from_raw(credentials.host_gid));
            fchown(dir, Some(uid), Some(gid)).explain(what)?;
        }
        fchmod(dir, Mode::from_raw_mode(*mode)).explain(what)?;
    }
    // The task must not be started twice, not even after the machine lost power.
    File::from(task_dir).sync_all().explain(what)?;
    Ok(Prepared::Fresh)
}

fn open_dir<P: rustix::path::Arg>(dir: BorrowedFd<'_>, path: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, path, flags, Mode::empty())
}
