//! How a task ended: `TASKDIR/exit.json`, there completely or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::task_dir::EXIT_FILE;

/// Exit status of a task that the launcher couldn't start.
pub const LAUNCH_FAILED: i32 = 125;
/// Exit status of a command that is there but can't be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// Exit status of a command that isn't there.
pub const NOT_FOUND: i32 = 127;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The command's status; 128+n after signal n; 127 not found; 126 not executable; 125 the launcher failed.
    pub code: i32,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// Whether the task was ended by [`crate::Shim::kill`].
    pub killed: bool,
    /// Why the launcher couldn't run the task, in one sentence with the remedy.
    pub failure: Option<String>,
}

impl Exit {
    /// The launcher couldn't run the task.
    pub(crate) fn failed(reason: String) -> Self {
        Self { code: LAUNCH_FAILED, signal: None, killed: false, failure: Some(reason) }
    }

    /// The task was killed on request.
    pub(crate) fn killed() -> Self {
        Self { killed: true, ..Self::signalled(9) }
    }

    /// A signal ended the command.
    pub(crate) fn signalled(signal: i32) -> Self {
        Self { code: 128 + signal, signal: Some(signal), killed: false, failure: None }
    }

    /// The command ended by itself.
    pub(crate) fn exited(code: i32) -> Self {
        Self { code, signal: None, killed: false, failure: None }
    }
}

/// The exit status of a task, or `None` while it hasn't ended.
///
/// # Errors
/// When the file can't be read or isn't what [`crate::shim::main`] writes.
pub fn read_exit(task_dir: &Path) -> io::Result<Option<Exit>> {
    match fs::read(task_dir.join(EXIT_FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes the exit status: a temporary file, synced, then renamed, then the directory synced.
pub(crate) fn write_exit(task_dir: &Path, exit: &Exit) -> io::Result<()> {
    let temporary = task_dir.join("exit.json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(exit)?)?;
    file.sync_all()?;
    fs::rename(&temporary, task_dir.join(EXIT_FILE))?;
    File::open(task_dir)?.sync_all()
}
