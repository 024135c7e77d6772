//! Locks of parts of files (MD1), which the kernel keeps in no limit, any number of them for each descriptor. Whose they
//! are is told with the open file in a table (`/proc/PID/fdinfo`), and who closes that has none of them any more. Locks that
//! belong to an open file itself no task gets (`crate::seccomp`); of flock(2) each open file has one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Counted, Kind};
use crate::shim::too_much::TooMuch;
use crate::sys::clock::of_this_thread;

/// How many locks the kernel has room for. Where it keeps them with other things of their size, those are among it.
const MACHINES: &str = "/sys/kernel/slab/file_lock_cache/total_objects";
/// Of these the kernel tells a line for each thing that they are to watch, a million maybe. All of them are one file to locks, so
/// that each lock takes longer than the one before.
const LONG: [&[u8]; 4] =
    [b"anon_inode:[eventpoll]", b"anon_inode:inotify", b"anon_inode:[fanotify]", b"anon_inode:[io_uring]"];
/// How a line about one begins.
const LOCK: &[u8] = b"lock:";
/// A count takes at most so much of a processor's time. A million descriptors take half of it.
const LONGEST: Duration = Duration::from_secs(10);

/// Databases have some thousands. At 192 bytes it is little memory; but whoever closes a file that others have locked, be it the
/// C library or the one that all events share, looks at each of the locks, some 30 ns.
pub(in crate::shim) const LOCKS: Counted = Counted {
    kind: Kind::Locks,
    most: 1 << 15,
    // Only root may ask how many there are.
    seldom: Duration::from_secs(5),
    machines,
    count: |processes| count(processes, LOCKS.most, LONGEST),
};

fn machines() -> Option<u64> {
    super::first(&fs::read_to_string(MACHINES).ok()?)
}

/// How many these processes have, and one more than `enough` if it is more: the task is over it, whatever else it has.
fn count(processes: &[PathBuf], enough: u64, longest: Duration) -> Result<u64, TooMuch> {
    let begun = of_this_thread();
    let mut sum = 0;
    super::tables(processes, |table| {
        for file in fs::read_dir(table.join("fd")).into_iter().flatten().flatten() {
            let is = fs::read_link(file.path()).unwrap_or_default();
            if !LONG.contains(&is.as_os_str().as_bytes()) {
                sum += of(&table.join("fdinfo").join(file.file_name()), enough - sum + 1);
            }
            if sum > enough {
                return Ok(false);
            }
            if of_this_thread().saturating_sub(begun) > longest {
                return Err(TooMuch::OpenForLocks);
            }
        }
        Ok(true)
    })?;
    Ok(sum)
}

/// How many a descriptor's open file has, at most so many.
fn of(about: &Path, most: u64) -> u64 {
    let Ok(file) = File::open(about) else { return 0 };
    let (mut lines, mut line, mut found) = (BufReader::new(file), Vec::new(), 0);
    while found < most && lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        found += u64::from(line.starts_with(LOCK));
        line.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part_locks::try_lock;

    #[test]
    fn md1_locks_are_counted_as_far_as_it_matters() {
        let path = std::env::temp_dir().join(format!("launch-locks-{}", std::process::id()));
        let file = File::create_new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let own = [PathBuf::from("/proc/self")];
        let counted = |enough| count(&own, enough, LONGEST);
        let before = counted(u64::MAX - 1).unwrap();
        for place in 0..300 {
            assert!(try_lock(&file, 2 * place, 1).unwrap());
        }
        let twice = file.try_clone().unwrap();
        // Other tests have some meanwhile; two descriptors of one open file say the same.
        let now = counted(u64::MAX - 1).unwrap();
        assert!((before + 550..before + 700).contains(&now), "{before} {now}");
        assert_eq!(counted(200), Ok(201));
        assert_eq!(count(&own, u64::MAX - 1, Duration::ZERO), Err(TooMuch::OpenForLocks));
        drop(twice);
    }
}
