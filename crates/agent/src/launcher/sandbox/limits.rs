//! What one task, and all tasks of one account, may use on this machine (A4, A12): what was set, else what fits the
//! machine. Enforcing it is `launch`'s.

use std::path::Path;

use launch::CgroupSupport;
use launch::spec::{Limits, Together};
use rustix::fs::statvfs;

/// Smallest part of the machine's memory that no task gets, in bytes.
const MEMORY_RESERVE: u64 = 256 << 20;
/// Processes and threads of one task, at least and for each processor.
const PIDS: (u64, u64) = (4096, 64);
/// Size of a log in bytes.
const LOG: u64 = 256 << 20;
/// Files and directories of one task: what a minute removes on an ordinary disk, for which a task's end and its slots wait.
const FILES: u64 = 2_000_000;

/// One limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Bound<T> {
    /// What fits the machine.
    #[default]
    Usual,
    /// No limit.
    Unlimited,
    /// This much and no more.
    At(T),
}

impl<T> Bound<T> {
    fn or(self, usual: impl FnOnce() -> Option<T>) -> Option<T> {
        match self {
            Self::Usual => usual(),
            Self::Unlimited => None,
            Self::At(value) => Some(value),
        }
    }
}

/// What one task may use, as it was set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TaskLimits {
    /// Memory in bytes; usually all of the machine's but a reserve.
    pub memory: Bound<u64>,
    /// Processes and threads.
    pub pids: Bound<u64>,
    /// Processors' worth of time; usually all, which still makes a task with many processes no greater than others.
    pub cpus: Bound<f64>,
    /// Disk space of its own directories in bytes; usually half of the disk.
    pub scratch: Bound<u64>,
    /// Files and directories in there; usually two million, or half of those that the disk can have.
    pub scratch_files: Bound<u64>,
    /// Size of its log in bytes.
    pub log: Bound<u64>,
    /// A full log ends it.
    pub log_ends_task: bool,
}

/// What all tasks of one account may use together, as it was set: else one account could have all that tasks have.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AccountLimits {
    /// Memory in bytes; usually three quarters of what all tasks may use.
    pub memory: Bound<u64>,
    /// Processes and threads; usually half of what all tasks may have.
    pub pids: Bound<u64>,
}

/// The limits of an account on this machine; as with [`resolved`], a usual one isn't promised where it can't be enforced.
pub(crate) fn of_account(limits: &AccountLimits) -> Together {
    usual_of_account(limits, &launch::probe().cgroup, launch::all_tasks_limits())
}

fn usual_of_account(limits: &AccountLimits, found: &CgroupSupport, all: Together) -> Together {
    let quarters = |whole: u64, n: u64| whole / 4 * n;
    Together {
        memory_bytes: limits.memory.or(|| all.memory_bytes.filter(|_| found.memory).map(|n| quarters(n, 3))),
        pids: limits.pids.or(|| all.pids.filter(|_| found.pids).map(|n| quarters(n, 2))),
    }
}

/// The limits of a task on this machine, whose account has these. A usual one that this machine can't enforce isn't promised; one that was set is, so that
/// every task is told that it isn't enforced.
pub(crate) fn resolved(limits: &TaskLimits, account: Together, data_dir: &Path) -> Limits {
    let found = launch::probe().cgroup;
    usual(
        limits,
        account,
        &found,
        std::fs::read_to_string("/proc/meminfo").unwrap_or_default().as_str(),
        disk(data_dir),
    )
}

fn usual(
    limits: &TaskLimits,
    account: Together,
    found: &CgroupSupport,
    meminfo: &str,
    disk: Option<Disk>,
) -> Limits {
    // Programs look for their task's limit: it shouldn't be more than they can have.
    let within = |bound: u64, account: Option<u64>| account.map_or(bound, |most| bound.min(most));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u32::try_from(cores).unwrap_or(u32::MAX);
    let memory = || memory_total(meminfo).map(|all| all - MEMORY_RESERVE.max(all / 20).min(all / 2));
    Limits {
        memory_bytes: limits
            .memory
            .or(|| memory().filter(|_| found.memory).map(|n| within(n, account.memory_bytes))),
        pids: limits.pids.or(|| {
            let pids = PIDS.0.max(PIDS.1 * u64::from(cores));
            found.pids.then(|| within(pids, account.pids))
        }),
        cpus: limits.cpus.or(|| Some(f64::from(cores)).filter(|_| found.cpu)),
        scratch_bytes: limits.scratch.or(|| disk.map(|disk| disk.bytes / 2)),
        scratch_files: limits
            .scratch_files
            .or(|| disk.map(|disk| disk.files.map_or(FILES, |files| FILES.min(files / 2)))),
        log_bytes: limits.log.or(|| Some(LOG)),
        log_ends_task: limits.log_ends_task,
    }
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok()? << 10)
}

/// The size of a disk.
#[derive(Debug, Clone, Copy)]
struct Disk {
    bytes: u64,
    /// How many files it can have, where that is settled when it is made.
    files: Option<u64>,
}

/// The disk that a directory is on.
fn disk(path: &Path) -> Option<Disk> {
    statvfs(path).ok().map(|fs| Disk {
        bytes: fs.f_blocks.saturating_mul(fs.f_frsize),
        files: Some(fs.f_files).filter(|files| *files > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       20971520 kB\nMemFree:        1 kB\n";

    #[test]
    fn a12_what_isnt_set_fits_the_machine() {
        let all = CgroupSupport { memory: true, pids: true, cpu: true, kill: true };
        let disk = Disk { bytes: 100, files: Some(80) };
        let free = Together::default();
        let limits = usual(&TaskLimits::default(), free, &all, MEMINFO, Some(disk));
        assert_eq!(limits.memory_bytes, Some(19 << 30));
        assert!(limits.pids >= Some(4096) && limits.cpus >= Some(1.0));
        assert_eq!((limits.scratch_bytes, limits.log_bytes), (Some(50), Some(LOG)));
        assert_eq!(limits.scratch_files, Some(40));
        let countless = Some(Disk { files: None, ..disk });
        for many in [countless, Some(Disk { files: Some(u64::MAX), ..disk })] {
            let limits = usual(&TaskLimits::default(), free, &all, MEMINFO, many);
            assert_eq!(limits.scratch_files, Some(FILES));
        }
        let none = usual(&TaskLimits::default(), free, &CgroupSupport::default(), MEMINFO, None);
        assert_eq!((none.memory_bytes, none.pids, none.cpus, none.scratch_bytes), (None, None, None, None));
    }

    #[test]
    fn a12_what_is_set_counts() {
        let set = TaskLimits {
            memory: Bound::At(7),
            pids: Bound::Unlimited,
            log: Bound::At(9),
            ..TaskLimits::default()
        };
        let limits = usual(&set, Together::default(), &CgroupSupport::default(), "", None);
        assert_eq!((limits.memory_bytes, limits.pids, limits.log_bytes), (Some(7), None, Some(9)));
    }

    #[test]
    fn a12_an_account_leaves_others_a_part_of_what_tasks_have() {
        let found = CgroupSupport { memory: true, pids: true, cpu: true, kill: true };
        let all = Together { memory_bytes: Some(16 << 30), pids: Some(6000) };
        let account = usual_of_account(&AccountLimits::default(), &found, all);
        assert_eq!(account, Together { memory_bytes: Some(12 << 30), pids: Some(3000) });
        let task = usual(&TaskLimits::default(), account, &found, MEMINFO, None);
        assert_eq!((task.memory_bytes, task.pids), (Some(12 << 30), Some(3000)));
        let set = AccountLimits { memory: Bound::Unlimited, pids: Bound::At(50) };
        let nothing = CgroupSupport::default();
        assert_eq!(usual_of_account(&set, &nothing, all), Together { memory_bytes: None, pids: Some(50) });
        assert_eq!(usual_of_account(&AccountLimits::default(), &nothing, all), Together::default());
    }
}
