//! Space on the agent's disk for the little that starting and ending a task takes, when tasks have filled the disk (A4).
//! A file that holds nothing is made smaller then; when there is space again it grows back. The same for the number of files
//! that a disk can have (F13): empty ones are removed, and made again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

use crate::launcher::passes;

/// All of it, in bytes.
const SIZE: u64 = 16 << 20;
/// What one task takes, generously.
const ONE: u64 = 512 << 10;

/// Empty files.
const FILES: u64 = 256;
/// What one task takes of them, generously.
const ONES_FILES: u64 = 64;
/// How long a start waits for space: who fills a disk is ended soon (`room`), but counting takes a while where there is much.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// One start gets something every so often only: who fills the disk may be quicker, and would get all of it.
const GIFTS: Duration = Duration::from_millis(500);

/// The reserve.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: Mutex<File>,
    /// Has the empty files.
    files: PathBuf,
}

impl Reserve {
    /// Makes it, or as much of it as there is space for.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let reserve = Self { file: Mutex::new(file), files: path.with_extension("files") };
        reserve.adjust();
        Ok(reserve)
    }

    /// One that has nothing.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let file = tempfile::tempfile().expect("made");
        Self { file: Mutex::new(file), files: "/none".into() }
    }

    /// Does what takes a little of the disk, and tries again for a while when others have filled it, or have all open files.
    /// Blocks.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn spend<T>(&self, mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let until = Instant::now() + PATIENCE;
        let mut gifts = Gifts::default();
        loop {
            gifts.give(self);
            match make() {
                Err(e) if passes(&e) && Instant::now() < until => {
                    std::thread::park_timeout(PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Before a task starts, and after one was removed: gives some of it, or takes it back.
    pub(crate) fn adjust(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (Ok(disk), Ok(meta)) = (fstatvfs(&*file), file.metadata()) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let size = meta.len();
        if free < ONE {
            // What can't be done leaves things as they are, and the task says what is missing.
            let _ = file.set_len(size.saturating_sub(ONE));
        } else if size < SIZE && free > 4 * SIZE {
            let _ = fallocate(&*file, FallocateFlags::empty(), 0, SIZE);
        }
        // A disk that makes room for files as they come has no number.
        if disk.f_files > 0 {
            self.adjust_files(disk.f_ffree);
        }
    }

    fn adjust_files(&self, free: u64) {
        let all = || fs::read_dir(&self.files).into_iter().flatten().flatten();
        if free < ONES_FILES {
            for file in all().take(usize::try_from(ONES_FILES).unwrap_or(usize::MAX)) {
                let _ = fs::remove_file(file.path());
            }
        } else if free > 4 * FILES && (all().count() as u64) < FILES {
            let _ = DirBuilder::new().mode(0o700).create(&self.files);
            for name in 0..FILES {
                let _ = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(self.files.join(name.to_string()));
            }
        }
    }
}

/// What one start gets of it.
#[derive(Debug, Default)]
pub(crate) struct Gifts(Option<Instant>);

impl Gifts {
    /// Before each try.
    pub(crate) fn give(&mut self, reserve: &Reserve) {
        if self.0.is_none_or(|last| last.elapsed() >= GIFTS) {
            self.0 = Some(Instant::now());
            reserve.adjust();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_a_disk_without_files_left_has_some_for_a_start() {
        let dir = tempfile::tempdir().expect("made");
        let reserve = Reserve::open(&dir.path().join("reserve")).expect("made");
        let count = || fs::read_dir(dir.path().join("reserve.files")).map_or(0, Iterator::count);
        reserve.adjust_files(10 * FILES);
        assert_eq!(count(), 256);
        reserve.adjust_files(ONES_FILES - 1);
        assert_eq!(count(), 192);
        reserve.adjust_files(2 * FILES);
        assert_eq!(count(), 192);
        reserve.adjust_files(10 * FILES);
        assert_eq!(count(), 256);
    }

    #[test]
    fn a04_a_start_waits_for_space() {
        let dir = tempfile::tempdir().expect("made");
        let reserve = Reserve::open(&dir.path().join("reserve")).expect("made");
        let mut tries = 0;
        let made = reserve.spend(|| {
            tries += 1;
            match tries {
                1 => Err(io::ErrorKind::StorageFull.into()),
                // I4: somebody has all of the machine's open files.
                2 => Err(rustix::io::Errno::NFILE.into()),
                _ => Ok(tries),
            }
        });
        assert_eq!(made.expect("made"), 3);
        let other = reserve.spend(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(other.expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
    }
}
