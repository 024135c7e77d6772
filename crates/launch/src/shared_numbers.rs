//! Numbers of the machine's that all its processes share, and of which the tasks of one account could have all (KA8, A12):
//! root's agent raises them to what tasks can't reach, since each task's part is bounded, and an account's.

use std::io;
use std::path::Path;

/// Such a number.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// As sysctl(8) names it.
    pub name: &'static str,
    /// What it is raised to, if it is less.
    pub least: u64,
    /// Of what it is.
    pub what: &'static str,
}

/// All of them.
pub const NUMBERS: [Number; 2] = [
    // 32 for each of 2000 tasks (`sandbox::fresh`), and the kernel's own reserve.
    Number { name: "kernel.pty.max", least: 65_536, what: "pseudo-terminals" },
    // An account's tasks have 8192 (`shim::queue_watch`), and what the kernel has for them is in its memory limit.
    Number {
        name: "net.ipv4.tcp_max_orphans",
        least: 1 << 20,
        what: "closed TCP connections with unsent data",
    },
];

impl Number {
    /// Raises it, and tells what it was before, where it was less. Only root may.
    ///
    /// # Errors
    /// When the kernel refuses, as it does in containers.
    pub fn raise(&self) -> io::Result<Option<u64>> {
        self.raise_in(&Path::new("/proc/sys").join(self.name.replace('.', "/")))
    }

    fn raise_in(&self, file: &Path) -> io::Result<Option<u64>> {
        let before: u64 = std::fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)?;
        if before >= self.least {
            return Ok(None);
        }
        std::fs::write(file, self.least.to_string())?;
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
}
