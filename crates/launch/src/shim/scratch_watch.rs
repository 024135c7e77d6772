//! Watches how much of the disk the task's own directories take (A4), in a thread (`watch`). What counts is in `usage`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstatvfs;

use super::too_much::TooMuch;
use super::usage::{Usage, count};
use super::watch::Budget;
use crate::spec::Limits;
use crate::sys::mount::open_host;

/// Between two looks at how full the disk is.
const TICK: Duration = Duration::from_millis(200);
/// What changes without the disk getting fuller is found by then.
const AT_LEAST: Duration = Duration::from_secs(10);
/// Counting takes at most a part of the time, unless that would be longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// Looks at `scratch` until it is too much, or nobody wants to know any more (`ends` has ended). `in_task` lists the
/// task's processes, which may hold files that have no name any more.
pub(super) fn watch(
    scratch: &Path,
    limits: Limits,
    budget: &Budget,
    ends: &OwnedFd,
    in_task: impl Fn() -> Vec<PathBuf>,
) -> Option<TooMuch> {
    let most = Usage {
        bytes: limits.scratch_bytes.unwrap_or(u64::MAX),
        files: limits.scratch_files.unwrap_or(u64::MAX),
    };
    let root = open_host(scratch).ok()?;
    // So much more can be in it than at the last count, at most.
    let mut room = Usage::default();
    let mut free = left(&root);
    let mut counted = Instant::now();
    let mut took = Duration::ZERO;
    loop {
        let mut fds = [PollFd::new(ends, PollFlags::IN)];
        if poll(&mut fds, Timespec::try_from(TICK).ok().as_ref()) != Ok(0) {
            return None;
        }
        let since = counted.elapsed();
        let now = left(&root);
        let lost = Usage {
            bytes: free.bytes.saturating_sub(now.bytes),
            files: free.files.saturating_sub(now.files),
        };
        if since < wait(lost, room, most, took, budget) {
            continue;
        }
        free = now;
        counted = Instant::now();
        let used = match count(&root, &in_task()) {
            Ok(used) => used,
            Err(too_much) => return Some(too_much),
        };
        if used.bytes > most.bytes {
            return Some(TooMuch::Bytes(used.bytes));
        }
        if used.files > most.files {
            return Some(TooMuch::Files(used.files));
        }
        room.bytes = (most.bytes - used.bytes) / 2 + 1;
        room.files = (most.files - used.files) / 2 + 1;
        took = counted.elapsed();
    }
}

/// How long to wait after a count that took so long, when the disk has lost this since.
fn wait(lost: Usage, room: Usage, most: Usage, took: Duration, budget: &Budget) -> Duration {
    if lost.bytes > most.bytes || lost.files > most.files {
        // All of it may be the task's, that much is too much. If it is others', counting has half of the time.
        return took;
    }
    let pause = (took * budget.part()).min(LONGEST);
    let has_room = lost.bytes < room.bytes && lost.files < room.files;
    if has_room { pause.max(AT_LEAST) } else { pause }
}

/// What the disk has left.
fn left(root: &OwnedFd) -> Usage {
    // Opened for its path only, it can be asked about all the same.
    fstatvfs(root).map_or(Usage::default(), |fs| Usage {
        bytes: fs.f_bfree.saturating_mul(fs.f_frsize),
        files: fs.f_ffree,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G2b: what makes a count slow buys no time for what the limit is against.
    #[test]
    fn a04_the_next_count_is_never_far_away() {
        let bytes = |bytes| Usage { bytes, files: 0 };
        let (room, most) = (Usage { bytes: 51, files: 51 }, Usage { bytes: 100, files: 100 });
        let alone = Budget::new(None);
        let seconds = Duration::from_secs;
        // Counts that are quick are made as soon as something may have changed.
        assert_eq!(wait(bytes(51), room, most, Duration::from_millis(2), &alone), Duration::from_millis(40));
        assert_eq!(wait(bytes(50), room, most, Duration::from_millis(2), &alone), AT_LEAST);
        assert_eq!(wait(bytes(51), room, most, seconds(9), &alone), LONGEST);
        assert_eq!(wait(bytes(0), room, most, seconds(9), &alone), LONGEST);
        assert_eq!(wait(bytes(101), room, most, seconds(2), &alone), seconds(2));
        assert_eq!(wait(Usage { bytes: 0, files: 101 }, room, most, seconds(2), &alone), seconds(2));
    }
}
