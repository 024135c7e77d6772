//! Watches how much of the disk the task's own directories take (A4), in a thread (`watch`). What counts is in `usage`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstatvfs;

use super::too_much::TooMuch;
use super::usage::{Found, Usage, count, counting};
use super::watch::Budget;
use crate::apart::Patience;
use crate::cgroup::freezer::Still;
use crate::spec::TaskSpec;
use crate::sys::mount::open_host;
use crate::task_dir::SCRATCH_DIR;

/// Between two looks at how full the disk is.
const TICK: Duration = Duration::from_millis(200);
/// What changes without the disk getting fuller is found by then.
const AT_LEAST: Duration = Duration::from_secs(10);
/// The same with little left: who hides from the count would fill it by then.
const AT_LEAST_WHEN_LOW: Duration = Duration::from_secs(2);
/// Counting takes at most a part of the time, unless that would be longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// A count that takes no longer is no trouble for a task that stands still meanwhile; else it does so only where the disk has
/// lost what may be the task's, or has little left: who moves things while they are counted is found then (MD6).
const QUICK: Duration = Duration::from_millis(50);
/// Who counts and waits for so long waits for the task.
const PATIENCE: Patience = Patience { one: Duration::from_secs(5), all: Duration::from_secs(15) };
/// A part of a disk that is little.
const LITTLE: u64 = 20;

/// Looks at a task's own directories until they have too much, or nobody wants to know any more (`ends` has ended). `in_task`
/// lists the task's processes, which may hold files that have no name any more.
pub(super) fn watch(
    task_dir: &Path,
    spec: &TaskSpec,
    budget: &Budget,
    ends: &OwnedFd,
    in_task: impl Fn() -> Vec<PathBuf>,
) -> Option<TooMuch> {
    let most = Usage {
        bytes: spec.limits.scratch_bytes.unwrap_or(u64::MAX),
        files: spec.limits.scratch_files.unwrap_or(u64::MAX),
    };
    let root = open_host(&task_dir.join(SCRATCH_DIR)).ok()?;
    // What it had left at the last count that nobody could hide from …
    let mut room = most;
    // … and how much more of that is counted again at the latest.
    let mut sure = Usage::default();
    let mut free = left(&root).0;
    let mut counted = Instant::now();
    let mut took = Duration::ZERO;
    loop {
        let mut fds = [PollFd::new(ends, PollFlags::IN)];
        if poll(&mut fds, Timespec::try_from(TICK).ok().as_ref()) != Ok(0) {
            return None;
        }
        let (now, is_low) = left(&root);
        let lost = Usage {
            bytes: free.bytes.saturating_sub(now.bytes),
            files: free.files.saturating_sub(now.files),
        };
        let at_least = if is_low { AT_LEAST_WHEN_LOW } else { AT_LEAST };
        if counted.elapsed() < wait(lost, sure, most, took, at_least, budget) {
            continue;
        }
        let mut still = None;
        let stands = took < QUICK || is_low || lost.bytes >= sure.bytes || lost.files >= sure.files;
        if stands {
            let held = Still::hold(std::iter::once((task_dir, spec)), Duration::ZERO);
            // The agent counts, and is done soon.
            still = Some(match held {
                Some(held) => held,
                None => continue,
            });
        }
        let begun = Instant::now();
        let used = counted_apart(&root, &in_task(), still, ends, || {
            // What it had then may have gone, so that there was more to lose (ML4).
            let now = left(&root).0;
            free.bytes.saturating_sub(now.bytes) > room.bytes
                || free.files.saturating_sub(now.files) > room.files
        })?;
        let used = match used {
            Ok(used) => used,
            // If it may be much; else it is looked at soon again.
            Err(TooMuch::Moved) if lost.bytes <= room.bytes && lost.files <= room.files => {
                (counted, took) = (Instant::now(), begun.elapsed());
                continue;
            }
            Err(too_much) => return Some(too_much),
        };
        if used.bytes > most.bytes {
            return Some(TooMuch::Bytes(used.bytes));
        }
        if used.files > most.files {
            return Some(TooMuch::Files(used.files));
        }
        if stands {
            (free, room) = (now, Usage { bytes: most.bytes - used.bytes, files: most.files - used.files });
            sure = Usage { bytes: room.bytes / 2 + 1, files: room.files / 2 + 1 };
        }
        (counted, took) = (Instant::now(), begun.elapsed());
    }
}

/// Counts while the task stands `still`; and without, where that is too long for anybody to stand still. Nothing when nobody wants
/// to know any more.
fn counted_apart(
    root: &OwnedFd,
    processes: &[PathBuf],
    mut still: Option<Still>,
    ends: &OwnedFd,
    may_be_much: impl Fn() -> bool,
) -> Option<Result<Usage, TooMuch>> {
    loop {
        let until = still.as_ref().and_then(Still::until);
        let Ok(mut count) = counting(root, processes, until, Found::new()) else {
            // No process for it: others have too many.
            return Some(count(root, processes));
        };
        let outcome = loop {
            match count.within(TICK) {
                Some(Ok((outcome, _))) => break outcome,
                // Somebody has killed it.
                Some(Err(_)) => break Err(TooMuch::Uncounted),
                None => {}
            }
            let ended =
                poll(&mut [PollFd::new(ends, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            if ended != Ok(0) {
                return None;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                drop(still.take());
            }
            if count.is_stuck(PATIENCE) && may_be_much() {
                return Some(Err(TooMuch::Uncounted));
            }
        };
        match outcome {
            Ok(Some(used)) => return Some(Ok(used)),
            Err(too_much) => return Some(Err(too_much)),
            Ok(None) => still = None,
        }
    }
}

/// How long to wait after a count that took so long, when the disk has lost this since.
fn wait(
    lost: Usage,
    room: Usage,
    most: Usage,
    took: Duration,
    at_least: Duration,
    budget: &Budget,
) -> Duration {
    if lost.bytes > most.bytes || lost.files > most.files {
        // All of it may be the task's, that much is too much. If it is others', counting has half of the time.
        return took;
    }
    let pause = (took * budget.part()).min(LONGEST);
    let has_room = lost.bytes < room.bytes && lost.files < room.files;
    if has_room { pause.max(at_least) } else { pause }
}

/// What the disk has left, and whether that is little.
fn left(root: &OwnedFd) -> (Usage, bool) {
    // Opened for its path only, it can be asked about all the same.
    fstatvfs(root).map_or_else(
        |_| Default::default(),
        |fs| {
            let is_low = fs.f_bfree < fs.f_blocks / LITTLE || fs.f_ffree < fs.f_files / LITTLE;
            (Usage { bytes: fs.f_bfree.saturating_mul(fs.f_frsize), files: fs.f_ffree }, is_low)
        },
    )
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
        let wait = |lost, room, most, took, budget| wait(lost, room, most, took, AT_LEAST, budget);
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
