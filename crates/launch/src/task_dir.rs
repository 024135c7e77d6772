//! The task directory: its file names, making it and removing it. What the files hold is in `spec`, `exit` and
//! `record`; the scratch directories in it are made by `sandbox::scratch`.
//!
//! ```text
//! TASKDIR/ 0700        spec.json          written by the agent, before anything else
//!                      context.tar.gz     optional, by the agent
//!                      shim.lock shim.pid by the shim while it lives
//!                      relay.sock         by the shim: hands out the listener of the way to the master
//!                      log exit.json      by the shim
//!                      scratch/ root/     the task's own disk, and where its root is composed
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::apart::{Apart, Patience, reap};
use crate::cgroup;
use crate::empty;
use crate::spec::{TaskSpec, is_task_id};

pub(crate) const SPEC_FILE: &str = "spec.json";
pub(crate) const EXIT_FILE: &str = "exit.json";
pub(crate) const LOG_FILE: &str = "log";
pub(crate) const LOCK_FILE: &str = "shim.lock";
pub(crate) const PID_FILE: &str = "shim.pid";
pub(crate) const RELAY_FILE: &str = "relay.sock";
pub(crate) const CONTEXT_FILE: &str = "context.tar.gz";
pub(crate) const SCRATCH_DIR: &str = "scratch";
pub(crate) const ROOT_DIR: &str = "root";

/// Makes the directory of a task, completely or not at all, and returns its path. Repeating it is fine.
///
/// # Errors
/// `InvalidInput` for a bad task id, `AlreadyExists` when the directory holds another task, else what the file
/// system says.
pub fn create_task_dir(parent: &Path, task_id: &str, spec: &TaskSpec) -> io::Result<PathBuf> {
    if !is_task_id(task_id) || spec.task_id != task_id {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("bad task id {task_id:?}")));
    }
    let task_dir = parent.join(task_id);
    if task_dir.exists() {
        return same_task(&task_dir, spec).map(|()| task_dir);
    }
    // A leading dot can't collide with a task, and what a crash leaves behind is cleared by the next attempt.
    let temporary = parent.join(format!(".new-{task_id}"));
    empty::remove(&temporary)?;
    fs::DirBuilder::new().mode(0o700).create(&temporary)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary.join(SPEC_FILE))?;
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.sync_all()?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &task_dir)?;
    File::open(parent)?.sync_all()?;
    Ok(task_dir)
}

fn same_task(task_dir: &Path, spec: &TaskSpec) -> io::Result<()> {
    if read_spec(task_dir)? == *spec {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} holds another task", task_dir.display())))
}

/// Puts a finished description in place of an unfinished one; no shim was started.
///
/// # Errors
/// What the file system says.
pub fn finish_spec(task_dir: &Path, spec: &TaskSpec) -> io::Result<()> {
    let temporary = task_dir.join("spec.json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.sync_all()?;
    fs::rename(temporary, task_dir.join(SPEC_FILE))?;
    File::open(task_dir)?.sync_all()
}

/// The description that the agent wrote.
///
/// # Errors
/// What the file system says, and when it isn't one.
pub fn read_spec(task_dir: &Path) -> io::Result<TaskSpec> {
    Ok(serde_json::from_slice(&fs::read(task_dir.join(SPEC_FILE))?)?)
}

/// Removes the directory of a task that has ended, and cgroups that a killed shim left behind.
///
/// # Errors
/// What the file system says; a directory that isn't there is no error.
pub fn remove_task_dir(task_dir: &Path) -> io::Result<()> {
    remove_cgroups(task_dir);
    // What is left then was never the task's, and can't be held by it.
    empty_scratch(task_dir)?;
    empty::remove(task_dir)
}

fn remove_cgroups(task_dir: &Path) {
    if let Some(id) = task_dir.file_name().and_then(|n| n.to_str()).filter(|id| is_task_id(id)) {
        let owner = read_spec(task_dir).ok().and_then(|spec| spec.owner);
        cgroup::remove(id, owner.as_ref().map(|owner| owner.key.as_str()));
    }
}

/// Moves the directory of a task that has ended to `to`, where nothing is yet, with what tells of it; cgroups that a
/// killed shim left behind, and what was its own disk, go.
///
/// # Errors
/// What the file system says. What can't be emptied is moved all the same.
pub fn move_task_dir(task_dir: &Path, to: &Path) -> io::Result<()> {
    remove_cgroups(task_dir);
    // Removing it all is tried again when it is there too long.
    if empty_scratch(task_dir).is_ok() {
        for rest in [SCRATCH_DIR, ROOT_DIR] {
            let _ = fs::remove_dir(task_dir.join(rest));
        }
    }
    fs::rename(task_dir, to)
}

/// Empties a task's own directories, and drops the archive that its work directory was made from; it has ended. What
/// tells that it was started stays.
///
/// # Errors
/// What the file system says; and when somebody on the machine, who was given one of them, holds it for so long that nobody
/// waits for it (MJ2): it is emptied when that is let go.
pub fn empty_scratch(task_dir: &Path) -> io::Result<()> {
    let emptied = empty_apart(&task_dir.join(SCRATCH_DIR));
    match fs::remove_file(task_dir.join(CONTEXT_FILE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => emptied.and(Err(e)),
        _ => emptied,
    }
}

/// How long is waited for who holds a directory that is emptied.
const PATIENCE: Patience = Patience { one: Duration::from_secs(5), all: Duration::from_secs(30) };

type Emptying = Apart<Result<(), String>>;

/// Directories whose emptying hasn't come to an end, by disk and inode: nobody waits for them a second time, wherever they were
/// moved.
static HELD: Mutex<BTreeMap<(u64, u64), Emptying>> = Mutex::new(BTreeMap::new());

fn empty_apart(dir: &Path) -> io::Result<()> {
    let held = || HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let busy = || {
        let words = "somebody on the machine holds one of them, and they are emptied when it is let go";
        io::Error::new(io::ErrorKind::ResourceBusy, words)
    };
    // What came to its end meanwhile, whosever it was, is done with (ML2).
    held().retain(|_, emptying| emptying.within(Duration::ZERO).is_none());
    reap();
    // Looked at without a lock: who waits below holds those of the directories above.
    let inode = match fs::metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Nothing is in it but directories, each of which is a link. Where they aren't, there is one.
        Ok(found) if found.nlink() == 2 => return Ok(()),
        found => found.map(|found| (found.dev(), found.ino()))?,
    };
    if held().contains_key(&inode) {
        return Err(busy());
    }
    let mut emptying = Apart::begin(&[], || empty::empty(dir).map_err(|e| e.to_string()))?;
    match emptying.unless_stuck(PATIENCE) {
        Some(emptied) => emptied?.map_err(io::Error::other),
        None => {
            held().insert(inode, emptying);
            Err(busy())
        }
    }
}
