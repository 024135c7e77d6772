//! What the tasks of one account have together, on this machine, of what no limit of the kernel's is about (I5, A12): a
//! bound for each task is none for an account, which may have many.
//!
//! Each account has a file beside the agent's tasks, which no task reaches. Nothing is written into it: what a task has is
//! how long a lock of its shim's is, in a place of the file that is this task's. So the kernel forgets a shim with its
//! death, nobody reads half of a number, and a disk that is full or frozen is no matter.
//!
//! An account that has more than it may is not ended as a whole: whichever of its tasks has the most gives way, which
//! is never one that has no more than its share. It isn't counted from then on, so that no second one goes for the same.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::part_locks::{locked_in, try_lock, unlock};
use crate::spec::Owner;

/// Name of the directory, beside that of the tasks.
const DIR: &str = "ledger";
/// Length of a task's place for one kind of thing, and the most that it may say to have.
const PLACE: i64 = 1 << 40;
/// Tasks of one account at the same time, far more than there may be.
const TASKS: i64 = 4096;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// That a task is there. It has nothing else of it.
    Task,
    /// Bytes of sockets that are in no limit.
    Unpaid,
    /// Connections that the kernel still ends when no process has them any more.
    Ending,
    /// Open descriptors.
    Descriptors,
    /// Locks of parts of files.
    Locks,
}

/// An account, as one of its tasks sees it. What that has is forgotten with this.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Nothing if the task is counted alone.
    file: Option<File>,
    /// The number of this task's places.
    own: i64,
}

impl Ledger {
    /// Opens the account of the task with this directory, and makes it if need be; whose a task is an agent of an earlier
    /// version doesn't say. To be called when no process is started from this one any more: its copy would stay.
    ///
    /// # Errors
    /// When the file can't be made, or nothing of it be locked.
    pub(crate) fn open(task_dir: &Path, owner: Option<&Owner>) -> io::Result<Self> {
        let (Some(owner), Some(tasks)) = (owner, task_dir.parent()) else { return Ok(Self::alone()) };
        let dir = tasks.with_file_name(DIR);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(format!("of-{}", owner.key)))?;
        for own in 0..TASKS {
            if try_lock(&file, Kind::Task.begin(own), 1)? {
                return Ok(Self { file: Some(file), own });
            }
        }
        Ok(Self::alone())
    }

    /// A task that nobody knows anything of.
    pub(crate) fn alone() -> Self {
        Self { file: None, own: 0 }
    }

    /// How many tasks the account has, this one among them.
    pub(crate) fn tasks(&self) -> u64 {
        self.others(Kind::Task).len() as u64 + 1
    }

    /// Says what this task has now, and whether it is the one that gives way because the account has more than `most`:
    /// then how much that has. What is too much for a task alone is the caller's.
    pub(crate) fn too_much(&self, kind: Kind, has: u64, most: u64) -> Option<u64> {
        self.says(kind, has);
        // It isn't the one that has the most of so many.
        if has <= most / TASKS.unsigned_abs() {
            return None;
        }
        let others = self.others(kind);
        let all = others.iter().fold(has, |all, (_, theirs)| all.saturating_add(*theirs));
        let first = others.iter().all(|(number, theirs)| (*theirs, self.own) < (has, *number));
        if all <= most || !first {
            return None;
        }
        self.says(kind, 0);
        Some(all)
    }

    /// Says what this task has now. It can't fail where a lock could be taken, and nothing could be done about it.
    fn says(&self, kind: Kind, has: u64) {
        let Some(file) = &self.file else { return };
        let has = i64::try_from(has).unwrap_or(PLACE).min(PLACE - 1);
        let begin = kind.begin(self.own);
        if has > 0 {
            let _ = try_lock(file, begin, has);
        }
        let _ = unlock(file, begin + has, PLACE - has);
    }

    /// Who else has some of it, and how much.
    fn others(&self, kind: Kind) -> Vec<(i64, u64)> {
        let Some(file) = &self.file else { return vec![] };
        let (mut found, mut rest) = (vec![], vec![(0, TASKS)]);
        while let Some((from, to)) = rest.pop() {
            if from >= to {
                continue;
            }
            // Any of those in there, not the first one.
            let Ok(Some((start, len))) = locked_in(file, kind.begin(from), kind.begin(to)) else { continue };
            let number = ((start - kind.begin(0)) / PLACE).clamp(from, to - 1);
            found.push((number, len.unsigned_abs()));
            rest.extend([(from, number), (number + 1, to)]);
        }
        found
    }
}

impl Kind {
    /// Where the place of a task's begins.
    fn begin(self, task: i64) -> i64 {
        (self as i64 * TASKS + task) * PLACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Gone with the test.
    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Dir {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("launch-ledger-{}-{name}", std::process::id())))
        }

        fn task_of(&self, account: &str) -> Ledger {
            let owner =
                Owner { key: account.into(), account: None, limits: crate::spec::Together::default() };
            Ledger::open(&self.0.join("tasks/task"), Some(&owner)).unwrap()
        }
    }

    #[test]
    fn a12_of_an_accounts_tasks_the_one_that_has_the_most_gives_way() {
        let dir = Dir::new("most");
        let [first, second, third] = [(); 3].map(|()| dir.task_of("7"));
        assert_eq!([first.tasks(), third.tasks(), dir.task_of("8").tasks()], [3, 3, 1]);
        for (task, has) in [(&first, 300_000), (&second, 500_000), (&third, 200_000)] {
            assert_eq!(task.too_much(Kind::Unpaid, has, 1_000_000), None);
        }
        assert_eq!(dir.task_of("8").too_much(Kind::Unpaid, 900_000, 1_000_000), None, "of somebody else's");
        assert_eq!(third.too_much(Kind::Ending, 900_000, 1_000_000), None, "of something else");
        assert_eq!(third.too_much(Kind::Unpaid, 200_001, 1_000_000), None, "its share");
        assert_eq!(second.too_much(Kind::Unpaid, 500_000, 1_000_000), Some(1_000_001));
        assert_eq!(first.too_much(Kind::Unpaid, 300_000, 1_000_000), None, "one is enough");
        assert_eq!(first.too_much(Kind::Unpaid, 800_000, 1_000_000), Some(1_000_001));
        // One of two that have the same.
        let [fourth, fifth] = [(); 2].map(|()| dir.task_of("7"));
        assert_eq!(fourth.too_much(Kind::Descriptors, 600, 1000), None);
        assert_eq!(fifth.too_much(Kind::Descriptors, 600, 1000), None);
        assert_eq!(fourth.too_much(Kind::Descriptors, 600, 1000), Some(1200));
    }

    #[test]
    fn a12_what_an_ended_task_had_is_forgotten_and_its_place_free() {
        let dir = Dir::new("ended");
        let [first, second] = [(); 2].map(|()| dir.task_of("7"));
        assert_eq!(first.too_much(Kind::Unpaid, 700, 1000), None);
        assert_eq!(second.others(Kind::Unpaid), [(0, 700)]);
        first.says(Kind::Unpaid, 40);
        assert_eq!(second.others(Kind::Unpaid), [(0, 40)], "less than before");
        first.says(Kind::Unpaid, u64::MAX);
        first.says(Kind::Unpaid, 0);
        assert_eq!(second.others(Kind::Unpaid), []);
        first.says(Kind::Unpaid, 700);
        drop(first);
        assert_eq!((second.tasks(), second.too_much(Kind::Unpaid, 701, 1000)), (1, None));
        assert_eq!(dir.task_of("7").own, 0);
        let many: Vec<Ledger> = (0..90).map(|_| dir.task_of("7")).collect();
        assert_eq!((second.tasks(), many.last().unwrap().own), (91, 90));
        let alone = Ledger::alone();
        assert_eq!((alone.tasks(), alone.too_much(Kind::Unpaid, 1001, 1000)), (1, Some(1001)));
        assert_eq!(alone.too_much(Kind::Unpaid, 1000, 1000), None);
    }
}
