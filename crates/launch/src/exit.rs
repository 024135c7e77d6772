//! How a task ended: `TASKDIR/exit.json`, there completely or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::task_dir::EXIT_FILE;

/// Exit status of a task that the launcher couldn't start.
pub const LAUNCH_FAILED: i32 = 125;
/// Exit status of a command that is there but can't be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// Exit status of a command that isn't there.
pub const NOT_FOUND: i32 = 127;

/// Where the exit status is written before it has its name.
pub(crate) const NEW_FILE: &str = "exit.json.new";
/// Space that is taken for it, in bytes; escaped, the longest reason fits.
const SPACE: u64 = 32 << 10;
/// Longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 4 << 10;

/// How a task ended. Whether a signal ended it is said by `signal` alone: a status of 137 may be the command's own (B14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The command's status; 128+n after signal n; 127 not found; 126 not executable; 125 the launcher failed.
    pub code: i32,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// Whether the task was ended by [`crate::Shim::kill`]. Status and signal are the command's own all the same.
    pub killed: bool,
    /// Why the launcher couldn't run the task, in one sentence with the remedy.
    pub failure: Option<String>,
    /// The limit that the task ran into, when that is what ended it.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Whether the limit is one of all tasks of the machine together, or of the machine itself, and not the task's own or its
    /// account's; absent in what was written before that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_is_shared: Option<bool>,
    /// Whose business the failure is, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What a task can have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Memory: the kernel killed one of its processes.
    Memory,
    /// Space in its own directories.
    Scratch,
    /// Output.
    Log,
}

impl Exit {
    /// The launcher couldn't run the task.
    pub(crate) fn failed(fault: Fault, reason: String) -> Self {
        Self { code: LAUNCH_FAILED, failure: Some(reason), fault: Some(fault), ..Self::default() }
    }

    /// The task was killed on request before its command ran.
    pub(crate) fn killed() -> Self {
        Self { killed: true, ..Self::signalled(9) }
    }

    /// A signal ended the command.
    pub(crate) fn signalled(signal: i32) -> Self {
        Self { code: 128 + signal, signal: Some(signal), ..Self::default() }
    }

    /// The command ended by itself.
    pub(crate) fn exited(code: i32) -> Self {
        Self { code, ..Self::default() }
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

/// The exit status of a task whose shim gave up giving the file its name, for want of a disk; `None` when it got no further
/// with it.
///
/// # Errors
/// When the file can't be read.
pub fn read_unfinished_exit(task_dir: &Path) -> io::Result<Option<Exit>> {
    match fs::read(task_dir.join(NEW_FILE)) {
        Ok(bytes) => Ok(unfinished(&bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

pub(crate) fn unfinished(bytes: &[u8]) -> Option<Exit> {
    // What is behind it was taken beforehand, and is empty.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..written).and_then(|text| serde_json::from_slice(text).ok())
}

/// The place of the exit status, with space for it taken before the task runs: however full the disk is when the task
/// ends, its end can be written down (A4).
#[derive(Debug)]
pub(crate) struct ExitFile {
    task_dir: PathBuf,
    file: io::Result<File>,
}

impl ExitFile {
    /// Takes the space. Where that fails it is tried again at the end.
    pub(crate) fn reserve(task_dir: &Path) -> Self {
        let file = File::create(task_dir.join(NEW_FILE));
        if let Ok(file) = &file {
            // A file system that can't promise any may still have some.
            let _ = fallocate(file, FallocateFlags::empty(), 0, SPACE);
        }
        Self { task_dir: task_dir.to_owned(), file }
    }

    /// Writes the exit status: a temporary file, synced, then renamed, then the directory synced.
    pub(crate) fn write(&mut self, exit: &Exit) -> io::Result<()> {
        let temporary = self.task_dir.join(NEW_FILE);
        if self.file.is_err() {
            self.file = File::create(&temporary);
        }
        let Ok(file) = &self.file else {
            // With its own error, not with one of before.
            return File::create(&temporary).map(drop);
        };
        let mut exit = exit.clone();
        if let Some(reason) = exit.failure.as_mut().filter(|reason| reason.len() > LONGEST_REASON) {
            reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
            reason.push('…');
        }
        let text = serde_json::to_vec(&exit)?;
        file.write_all_at(&text, 0)?;
        // Shorter, which needs no space.
        file.set_len(text.len() as u64)?;
        file.sync_all()?;
        fs::rename(&temporary, self.task_dir.join(EXIT_FILE))?;
        File::open(&self.task_dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S7: the end is known however little of the disk can be changed.
    #[test]
    fn a04_an_end_that_never_got_its_name_is_told() {
        let dir = std::env::temp_dir().join(format!("launch-exit-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(read_unfinished_exit(&dir).unwrap(), None);
        let reserved = ExitFile::reserve(&dir);
        assert_eq!(read_unfinished_exit(&dir).unwrap(), None, "nothing is written yet");
        let exit = Exit::exited(3);
        reserved.file.unwrap().write_all_at(&serde_json::to_vec(&exit).unwrap(), 0).unwrap();
        assert_eq!(read_unfinished_exit(&dir).unwrap(), Some(exit));
        assert_eq!(read_exit(&dir).unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
