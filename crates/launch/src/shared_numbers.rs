//! Numbers of the machine's that all its processes share, and of which the tasks of one account could have all (KA8, MD9,
//! A12): root's agent raises them to what tasks can't reach, since each task's part is bounded, and an account's.

use std::io;
use std::path::Path;

use crate::cgroup;

/// Such a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// As sysctl(8) names it.
    pub name: &'static str,
    /// Which of several numbers it is that have this name.
    column: usize,
    /// What it is raised to, if it is less.
    pub least: u64,
    /// Of what it is.
    pub what: &'static str,
}

/// Those that don't depend on the machine.
const NUMBERS: [Number; 2] = [
    // 32 for each of 2000 tasks (`sandbox::fresh`), and the kernel's own reserve.
    Number { name: "kernel.pty.max", column: 0, least: 65_536, what: "pseudo-terminals" },
    // An account's tasks have 8192 (`shim::queue_watch`), and what the kernel has for them is in its memory limit.
    Number {
        name: "net.ipv4.tcp_max_orphans",
        column: 0,
        least: 1 << 20,
        what: "closed TCP connections with unsent data",
    },
];

/// What sockets of a kind may have of memory, in pages: the least, where it gets scarce, and all.
const SOCKETS_MEMORY: [(&str, &str); 2] = [
    ("net.ipv4.tcp_mem", "the memory of TCP connections"),
    ("net.ipv4.udp_mem", "the memory of UDP sockets"),
];
/// What others than tasks have of it: these parts of the machine's memory are about what the kernel gives all.
const OTHERS: [(usize, u64); 2] = [(1, 16), (2, 8)];

/// All of them, for this machine.
#[must_use]
pub fn numbers() -> Vec<Number> {
    // With version 1 tasks' sockets have a limit of their own, far below (`cgroup`).
    let tasks = cgroup::pays_for_sockets().then(|| cgroup::all_tasks_limits().memory_bytes).flatten();
    let memory = tasks.zip(cgroup::machines_memory().ok());
    let sockets = memory.map(|(tasks, machine)| of_sockets(tasks, machine)).unwrap_or_default();
    NUMBERS.into_iter().chain(sockets).collect()
}

/// Sockets of tasks are in the memory limits (version 2), and all tasks together have one, in bytes. Where the machine's
/// number for sockets is above that, who fills his own slows himself down and nobody else.
fn of_sockets(tasks: u64, machine: u64) -> Vec<Number> {
    let page = rustix::param::page_size() as u64;
    let columns = |(name, what)| {
        let number =
            move |(column, part)| Number { name, column, least: (tasks + machine / part) / page, what };
        OTHERS.map(number)
    };
    SOCKETS_MEMORY.into_iter().flat_map(columns).collect()
}

impl Number {
    /// Raises it, and tells what it was before, where it was less. Only root may.
    ///
    /// # Errors
    /// When the kernel refuses, as it does in containers.
    pub fn raise(&self) -> io::Result<Option<u64>> {
        self.raise_in(&Path::new("/proc/sys").join(self.name.replace('.', "/")))
    }

    fn raise_in(&self, file: &Path) -> io::Result<Option<u64>> {
        let text = std::fs::read_to_string(file)?;
        let mut numbers: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = numbers.get_mut(self.column).ok_or(io::ErrorKind::InvalidData)?;
        let before: u64 = number.parse().map_err(io::Error::other)?;
        if before >= self.least {
            return Ok(None);
        }
        let raised = self.least.to_string();
        *number = &raised;
        std::fs::write(file, numbers.join("\t"))?;
        Ok(Some(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_one_accounts_tasks_never_have_all_of_what_the_machine_has_one_number_for() {
        let file = std::env::temp_dir().join(format!("launch-number-{}", std::process::id()));
        for number in NUMBERS {
            std::fs::write(&file, "4096\n").unwrap();
            assert_eq!(number.raise_in(&file).unwrap(), Some(4096));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), number.least.to_string());
            assert_eq!(number.raise_in(&file).unwrap(), None, "whoever set more keeps it");
            std::fs::remove_file(&file).unwrap();
            assert!(number.raise_in(&file).is_err());
        }
        // As many tasks as an agent starts, each with all that it may have, beside the kernel's reserve.
        assert!(NUMBERS[0].least > 32 * 1000 + 1024);
    }

    #[test]
    fn a12_md9_sockets_of_all_tasks_together_never_have_all_of_the_machines_memory_for_them() {
        let file = std::env::temp_dir().join(format!("launch-sockets-{}", std::process::id()));
        // 60 GiB of 64 are the tasks', and pages have 4 KiB or more.
        let (tasks, machine, page) = (60 << 30, 64 << 30, rustix::param::page_size() as u64);
        let numbers = of_sockets(tasks, machine);
        for name in ["net.ipv4.tcp_mem", "net.ipv4.udp_mem"] {
            std::fs::write(&file, "383866\t511822\t767732\n").unwrap();
            for number in numbers.iter().filter(|number| number.name == name) {
                assert!(number.raise_in(&file).unwrap().is_some());
                assert_eq!(number.raise_in(&file).unwrap(), None, "whoever set more keeps it");
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let now: Vec<u64> = text.split('\t').map(|n| n.parse().unwrap()).collect();
            // Beside what all tasks have, others have what they had.
            assert_eq!(now[0], 383_866);
            assert!(now[1] * page >= tasks + (4 << 30) && now[2] > now[1], "{now:?}");
        }
        std::fs::write(&file, "1\n").unwrap();
        assert!(numbers[0].raise_in(&file).is_err(), "no such column");
        std::fs::remove_file(&file).unwrap();
    }
}
