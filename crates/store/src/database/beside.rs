//! SQLite's own files, opened beside SQLite. POSIX locks are the process's: when it closes *any* descriptor of a file, all
//! its locks on that file are gone, also SQLite's. Whoever opens the database next would believe that everybody else has
//! crashed, and would make the journal's index anew below our mapping: a SIGBUS, or two ideas of one database (L05).
//!
//! So nothing else in this process may open these files (`cargo xtask lint`), and what is opened here stays open for as
//! long as anybody can come upon the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

/// Descriptors that aren't closed while their files have names.
#[derive(Debug, Default)]
pub(crate) struct Beside(Mutex<Vec<File>>);

impl Beside {
    /// Reserves blocks for a file's first `bytes`, whatever its length is.
    ///
    /// # Errors
    /// When the file isn't there, or that can't be done.
    pub(crate) fn set_aside(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // SQLite removes its journal and its index when it closes its last connection: nobody finds these any more.
        kept.retain(|file| file.metadata().is_ok_and(|file| file.nlink() > 0));
        let named = std::fs::metadata(path)?;
        let is_it = |file: &&File| {
            file.metadata().is_ok_and(|file| (file.dev(), file.ino()) == (named.dev(), named.ino()))
        };
        if let Some(file) = kept.iter().find(is_it) {
            return Ok(fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes)?);
        }
        let file = File::options().write(true).open(path)?;
        let done = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes);
        kept.push(file);
        Ok(done?)
    }
}

impl Drop for Beside {
    /// A store that nobody closed may have connections that end after this.
    fn drop(&mut self) {
        let kept = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        kept.drain(..)
            .filter(|file| !file.metadata().is_ok_and(|file| file.nlink() == 0))
            .for_each(std::mem::forget);
    }
}
