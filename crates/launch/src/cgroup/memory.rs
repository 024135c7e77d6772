//! Whose limit of the memory it was that a task was killed for: what it is told has to be true. There are its own, its
//! account's and that of all tasks, and the kernel says of each only how often it was reached.

use std::fs;
use std::path::{Path, PathBuf};

/// A limit counts as reached when less than this part of it was left.
const SLACK: u64 = 256;

/// For want of whose memory a task was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// It reached its own limit.
    Own,
    /// The tasks of its account reached theirs together, not it its own.
    Account,
    /// All tasks of the machine reached theirs together.
    AllTasks,
    /// Both of the last: which one it was isn't known.
    AccountOrAllTasks,
    /// The machine has none left.
    Machine,
}

impl Want {
    /// Whether others than its account's tasks had a share in it.
    pub(crate) const fn is_shared(self) -> bool {
        match self {
            Self::Own | Self::Account => false,
            Self::AllTasks | Self::AccountOrAllTasks | Self::Machine => true,
        }
    }
}

/// The cgroups of a task that count its memory.
#[derive(Debug)]
pub(super) struct Memory {
    own: PathBuf,
    account: Option<Counted>,
    all: Counted,
}

/// A cgroup that was there before the task.
#[derive(Debug)]
struct Counted {
    dir: PathBuf,
    before: u64,
}

impl Counted {
    fn new(dir: PathBuf) -> Self {
        let before = reached(&dir);
        Self { dir, before }
    }

    fn reached(&self) -> bool {
        reached(&self.dir) > self.before || full(&self.dir)
    }
}

impl Memory {
    pub(super) fn new(own: PathBuf, account: Option<PathBuf>, all: PathBuf) -> Self {
        Self { own, account: account.map(Counted::new), all: Counted::new(all) }
    }

    /// What tells how much of the memory limit its sockets take.
    pub(super) fn sockets(&self) -> SocketMemory {
        SocketMemory(self.own.clone())
    }

    /// For want of whose memory a process of the task was killed, if one was.
    pub(super) fn want(&self) -> Option<Want> {
        let killed = ["memory.oom_control", "memory.events"];
        if !killed.iter().any(|file| number(&self.own.join(file), "oom_kill").is_some_and(|n| n > 0)) {
            return None;
        }
        if reached(&self.own) > 0 || full(&self.own) {
            return Some(Want::Own);
        }
        let account = self.account.as_ref().is_some_and(Counted::reached);
        Some(match (account, self.all.reached()) {
            (true, false) => Want::Account,
            (false, true) => Want::AllTasks,
            (true, true) => Want::AccountOrAllTasks,
            (false, false) => Want::Machine,
        })
    }
}

/// Tells how many bytes of memory a task's TCP and UDP sockets have in its limit (version 2), or in that of their own
/// (version 1).
#[derive(Debug)]
pub(crate) struct SocketMemory(PathBuf);

impl SocketMemory {
    /// In bytes; nothing where the kernel doesn't count them.
    pub(crate) fn bytes(&self) -> Option<u64> {
        plain(&self.0.join("memory.kmem.tcp.usage_in_bytes"))
            .or_else(|| number(&self.0.join("memory.stat"), "sock"))
    }
}

/// How often the limit of a cgroup itself was reached, not those above or below it.
fn reached(dir: &Path) -> u64 {
    let v1 = ["memory.failcnt", "memory.memsw.failcnt"].iter().filter_map(|file| plain(&dir.join(file)));
    v1.chain(number(&dir.join("memory.events.local"), "oom")).sum()
}

/// Whether memory and swap once came to their limit. Where they are limited together (version 1), newer kernels count no
/// failures.
fn full(dir: &Path) -> bool {
    let [most, limit] =
        ["max_usage", "limit"].map(|what| plain(&dir.join(format!("memory.memsw.{what}_in_bytes"))));
    // What is asked for in one piece may be more than what is left.
    most.zip(limit).is_some_and(|(most, limit)| most >= limit - limit / SLACK)
}

fn plain(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number of a key in a file of lines such as `oom_kill 1`.
pub(super) fn number(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_b14_whose_limit_it_was_is_told_by_what_was_reached_meanwhile() {
        let dir = std::env::temp_dir().join(format!("launch-memory-{}", std::process::id()));
        let (own, account, all) = (dir.join("own"), dir.join("account"), dir.join("all"));
        let set = |dir: &Path, v2: bool, hits: u64| {
            let (file, text) = if v2 {
                ("memory.events.local", format!("low 0\noom {hits}\noom_kill 7\n"))
            } else {
                ("memory.failcnt", format!("{hits}\n"))
            };
            fs::write(dir.join(file), text).expect("written");
        };
        for v2 in [false, true] {
            for (hits, want) in [
                ([1, 0, 0], Want::Own),
                ([0, 1, 0], Want::Account),
                ([0, 0, 1], Want::AllTasks),
                ([0, 1, 1], Want::AccountOrAllTasks),
                ([0, 0, 0], Want::Machine),
            ] {
                for dir in [&own, &account, &all] {
                    fs::create_dir_all(dir).expect("made");
                }
                set(&own, v2, 0);
                set(&account, v2, 5);
                set(&all, v2, 9);
                let memory = Memory::new(own.clone(), Some(account.clone()), all.clone());
                let killed = if v2 { "memory.events" } else { "memory.oom_control" };
                fs::write(own.join(killed), "oom_kill_disable 0\noom_kill 0\n").expect("written");
                assert_eq!(memory.want(), None);
                fs::write(own.join(killed), "oom_kill_disable 0\noom_kill 1\n").expect("written");
                set(&own, v2, hits[0]);
                set(&account, v2, 5 + hits[1]);
                set(&all, v2, 9 + hits[2]);
                assert_eq!(memory.want(), Some(want), "{v2}");
                fs::remove_dir_all(&dir).expect("removed");
            }
        }
    }
}
