//! Watches how many descriptors an account's tasks have (A12), in a thread (`watch`): the kernel keeps some hundred bytes
//! for a timer, an epoll or an event, which are in no limit. What is counted is what processes have; as long as the whole
//! machine has few open files, nobody is counted.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ledger::{Kind, Ledger};
use super::too_much::TooMuch;
use super::usage::Known;
use super::watch::Budget;
use crate::sys::process::Shared;

/// An account's tasks may have so many: 256 MiB, at 256 bytes each.
pub(super) const MOST: u64 = 1 << 20;
/// Open files of the machine of which no account is suspected to have that.
const FEW: u64 = MOST / 2;
/// When the machine has so many more, a look is due, …
const NEWS: u64 = MOST / 4;
/// … if not later, between two looks at how many those are.
const TICK: Duration = Duration::from_secs(1);
/// How many open files there are, as the kernel roughly knows.
const MACHINES: &str = "/proc/sys/fs/file-nr";

/// Looks at the task's `processes` until its account's have too many, or nobody wants to know any more (`ends` has ended).
pub(super) fn watch(
    ledger: &Ledger,
    budget: &Budget,
    ends: &OwnedFd,
    processes: impl Fn() -> Vec<PathBuf>,
) -> Option<TooMuch> {
    let tick = Timespec::try_from(TICK).ok();
    let (mut took, mut before, mut looked) = (Duration::ZERO, 0, Instant::now());
    loop {
        if poll(&mut [PollFd::new(ends, PollFlags::IN)], tick.as_ref()) != Ok(0) {
            return None;
        }
        let open = fs::read_to_string(MACHINES).ok().and_then(|text| first(&text)).unwrap_or(u64::MAX);
        let mut has = 0;
        if open >= FEW {
            // As in `scratch_watch`: if it is others', counting has half of the time.
            let pause = if open.saturating_sub(before) > NEWS { took } else { took * budget.part() };
            if looked.elapsed() < pause {
                continue;
            }
            let begun = Instant::now();
            has = count(&processes());
            (took, before, looked) = (begun.elapsed(), open, Instant::now());
        }
        if let Some(all) = ledger.too_much(Kind::Descriptors, has, MOST) {
            return Some(TooMuch::OfAccount { kind: Kind::Descriptors, has, all, most: MOST });
        }
    }
}

fn first(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// How many descriptors these processes have, in every table once; each thread may have its own.
fn count(processes: &[PathBuf]) -> u64 {
    let mut tables = Known::new(Shared::Descriptors);
    let mut sum = 0_u64;
    for process in processes {
        for thread in fs::read_dir(process.join("task")).into_iter().flatten().flatten() {
            let number = thread.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_some_and(|number| tables.is_new(number)) {
                sum = sum.saturating_add(in_table(&thread.path().join("fd")));
            }
        }
    }
    sum
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
