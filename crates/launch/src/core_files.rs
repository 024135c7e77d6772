//! What the machine's root does when a process of a task crashes (KA6). Where `core_pattern` names a program, as it does with
//! systemd-coredump and apport, the kernel starts that as root for each one that crashes, whatever its limit for core files:
//! any number of processes in no task's limits, which keep what they read on the machine's disk. By a path from the root,
//! root writes the file itself when the program that crashes may not be read (`fs.suid_dumpable` 2). The kernel leaves both
//! alone for a limit of exactly one byte. Files that a task writes in its own directories are its own, and stay possible.
//!
//! Where it names a socket, the kernel asks no limit (MA4): whoever listens there gets what crashes in tasks, and how much of it he
//! takes is his to bound. The agent says so.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For exactly this limit the kernel starts no program (core(5) says nothing of it; `do_coredump` does).
const NOTHING: u64 = 1;

/// In a shim, before anything else: it, its helpers and its task start no programs of root's by crashing. A task's filter then
/// keeps it so (`seccomp::core_files`).
pub(crate) fn forgo() {
    let read = |name| fs::read_to_string(name).ok();
    if is_roots(
        read("/proc/sys/kernel/core_pattern").as_deref(),
        read("/proc/sys/fs/suid_dumpable").as_deref(),
    ) {
        let limit = Rlimit { current: Some(NOTHING), maximum: Some(NOTHING) };
        // An agent without root that may have none at all can't be given this one either.
        let _ = setrlimit(Resource::Core, limit);
    }
}

/// What people should know of this machine's `core_pattern`, in one sentence.
#[must_use]
pub fn warning() -> Option<String> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    sends_to_socket(&pattern).then(|| {
        format!(
            "kernel.core_pattern is {}: the kernel sends whole memories of what crashes in tasks to that socket, which no limit of a \
             task's prevents; see that who listens there bounds what he takes, or set it to a file's name",
            pattern.trim()
        )
    })
}

fn sends_to_socket(pattern: &str) -> bool {
    pattern.starts_with('@')
}

/// Whether this process, and what it starts, forgo core files.
pub(crate) fn are_forgone() -> bool {
    getrlimit(Resource::Core).current == Some(NOTHING)
}

/// Whether root does something for who crashes. It does if nobody knows.
fn is_roots(pattern: Option<&str>, unreadable: Option<&str>) -> bool {
    match pattern.and_then(|pattern| pattern.bytes().next()) {
        Some(b'/') => unreadable.is_none_or(|unreadable| unreadable.trim() == "2"),
        Some(b'|' | b'@') | None => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ka06_who_writes_a_core_file_is_known_by_its_name() {
        let cases = [
            (Some("|/usr/lib/systemd/systemd-coredump %P"), Some("0\n"), true),
            (Some("@/run/cores.socket"), Some("0\n"), true),
            (Some("/var/crash/%e.%p"), Some("2\n"), true),
            (Some("/tmp/%e.%p"), Some("0\n"), false),
            (Some("core\n"), Some("2\n"), false),
            (None, None, true),
        ];
        for (pattern, unreadable, roots) in cases {
            assert_eq!(is_roots(pattern, unreadable), roots, "{pattern:?} {unreadable:?}");
        }
    }

    #[test]
    fn ma04_who_gets_what_crashes_by_a_socket_is_told() {
        assert!(sends_to_socket("@/run/cores.socket\n") && sends_to_socket("@@/run/cores.socket"));
        assert!(!sends_to_socket("|/usr/lib/systemd/systemd-coredump %P") && !sends_to_socket("core\n"));
    }
}
