//! Space on the agent's disk for the little that starting and ending a task takes, when tasks have filled the disk (A4).
//! A file that holds nothing is made smaller then; when there is space again it grows back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// All of it, in bytes.
const SIZE: u64 = 16 << 20;
/// What one task takes, generously.
const ONE: u64 = 512 << 10;

/// The reserve.
#[derive(Debug)]
pub(crate) struct Reserve(Mutex<File>);

impl Reserve {
    /// Makes it, or as much of it as there is space for.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let reserve = Self(Mutex::new(file));
        reserve.adjust();
        Ok(reserve)
    }

    /// Before a task starts, and after one was removed: gives some of it, or takes it back.
    pub(crate) fn adjust(&self) {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Ok(disk), Ok(meta)) = (fstatvfs(&*file), file.metadata()) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let size = meta.len();
        if free < ONE {
            // What can't be done leaves things as they are, and the task says what is missing.
            let _ = file.set_len(size.saturating_sub(ONE));
        } else if size < SIZE && free > 4 * SIZE {
            let _ = fallocate(&*file, FallocateFlags::empty(), 0, SIZE);
        }
    }
}
