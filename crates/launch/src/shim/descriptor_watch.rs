//! Watches what an account's tasks have by their tables of open files, in a thread for each kind (`watch`): descriptors (A12),
//! of which the kernel keeps some hundred bytes for a timer, an epoll or an event, and locks of files (`locks`). Both are in
//! no limit. As long as the whole machine has few, nobody's are counted.

mod locks;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ledger::{Kind, Ledger};
use super::too_much::TooMuch;
use super::usage::Known;
use super::watch::Budget;
use crate::apart::{Apart, Patience};
use crate::sys::process::Shared;
pub(super) use locks::LOCKS;

/// Between two looks at how many there are.
const TICK: Duration = Duration::from_secs(1);
/// Who counts and waits for so long waits for the task.
const PATIENCE: Patience = Patience { one: Duration::from_secs(5), all: Duration::from_secs(15) };
/// How many open files there are, as the kernel roughly knows.
const MACHINES: &str = "/proc/sys/fs/file-nr";

/// What is counted.
pub(super) struct Counted {
    kind: Kind,
    /// An account's tasks may have so many. If the machine has half as many, one of them is suspected; when it has a quarter more
    /// than at the last count, the next one is due.
    most: u64,
    /// Else it has so much time, …
    seldom: Duration,
    /// … and where nobody tells how many there are.
    machines: fn() -> Option<u64>,
    /// How many these processes have.
    count: fn(&[PathBuf]) -> Result<u64, TooMuch>,
}

/// 256 MiB, at 256 bytes each.
pub(super) const DESCRIPTORS: Counted = Counted {
    kind: Kind::Descriptors,
    most: 1 << 20,
    seldom: Duration::ZERO,
    machines: || first(&fs::read_to_string(MACHINES).ok()?),
    count: |processes| Ok(count(processes)),
};

/// Looks at the task's `processes` until its account's have too many, or nobody wants to know any more (`ends` has ended).
pub(super) fn watch(
    counted: &Counted,
    ledger: &Ledger,
    budget: &Budget,
    ends: &OwnedFd,
    processes: impl Fn() -> Vec<PathBuf>,
) -> Option<TooMuch> {
    let (kind, most) = (counted.kind, counted.most);
    let tick = Timespec::try_from(TICK).ok();
    let (mut took, mut before, mut looked) = (Duration::ZERO, 0, Instant::now());
    loop {
        if poll(&mut [PollFd::new(ends, PollFlags::IN)], tick.as_ref()) != Ok(0) {
            return None;
        }
        let there = (counted.machines)();
        let mut has = 0;
        if there.is_none_or(|there| there >= most / 2) {
            // As in `scratch_watch`: if it is others', counting has half of the time.
            let news = there.is_some_and(|there| there.saturating_sub(before) > most / 4);
            let pause = if news { took } else { counted.seldom.max(took * budget.part()) };
            if looked.elapsed() < pause {
                continue;
            }
            let begun = Instant::now();
            let (count, processes) = (counted.count, processes());
            let counted =
                Apart::begin(&[], || count(&processes)).map(|mut count| count.unless_stuck(PATIENCE));
            has = match counted {
                Ok(Some(Ok(Ok(has)))) => has,
                Ok(Some(Ok(Err(too_much)))) => return Some(too_much),
                // What is told of an epoll waits for whoever keeps it busy (MJ4).
                Ok(None | Some(Err(_))) => return Some(TooMuch::OpenForLocks),
                // No process for it: others have too many.
                Err(_) => continue,
            };
            (took, before, looked) = (begun.elapsed(), there.unwrap_or(0), Instant::now());
        }
        if let Some(all) = ledger.too_much(kind, has, most) {
            return Some(TooMuch::OfAccount { kind, has, all, most });
        }
    }
}

fn first(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// How many descriptors these processes have.
fn count(processes: &[PathBuf]) -> u64 {
    let mut sum = 0_u64;
    let counted = tables(processes, |thread| {
        sum = sum.saturating_add(in_table(&thread.join("fd")));
        Ok(true)
    });
    // It can't fail.
    counted.map_or(0, |()| sum)
}

/// Looks at every table of these processes once, by the directory of a thread that has it; each thread may have its own.
/// Until `look` wants no more.
fn tables(
    processes: &[PathBuf],
    mut look: impl FnMut(&Path) -> Result<bool, TooMuch>,
) -> Result<(), TooMuch> {
    let mut known = Known::new(Shared::Descriptors);
    for process in processes {
        for thread in fs::read_dir(process.join("task")).into_iter().flatten().flatten() {
            let number = thread.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_some_and(|number| known.is_new(number)) && !look(&thread.path())? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The directory's size, where the kernel tells that much (since 6.2).
fn in_table(dir: &PathBuf) -> u64 {
    match fs::metadata(dir).map(|dir| dir.size()) {
        Ok(0) => fs::read_dir(dir).map_or(0, |entries| entries.count() as u64),
        other => other.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_descriptors_are_counted_once_whoever_shares_them() {
        let own = [PathBuf::from("/proc/self")];
        let before = count(&own);
        let files: Vec<_> = (0..500).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let (tells, told) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || told.recv());
        // Other tests open and close some meanwhile.
        let now = count(&own);
        assert!((before + 450..before + 700).contains(&now), "{before} {now}");
        assert!(count(&[own[0].clone(), own[0].clone()]) < before + 700, "the same process twice");
        drop((tells, files));
        assert!(thread.join().unwrap().is_err());
        assert_eq!((first("2048\t0\t9223372036854775807\n"), first("")), (Some(2048), None));
    }
}
