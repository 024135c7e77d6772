//! Threads of the shim's that watch what no limit of the kernel's is about: looking may take its time, and recording the
//! output must not wait for it. What they look at is in `scratch_watch`, `queue_watch`, `descriptor_watch` and `cgroup::freezer`, what is done about too much is
//! `supervise`'s.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustix::pipe::{PipeFlags, pipe_with};

use super::too_much::TooMuch;

/// They need little.
pub(super) const STACK: usize = 256 << 10;

/// Looking takes at most this part of a processor for one task, …
const PART: u32 = 20;
/// … and this part for all tasks of one account: it is the machine's time, and what many tasks are made for would be its
/// processors. A thread in the task's own cgroup would wait for its turn among all that the task lets run.
const PART_OF_ACCOUNT: u32 = 4;

/// What looking at a task may cost.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// A cgroup that has those of the account's tasks in it.
    account: Option<PathBuf>,
}

impl Budget {
    /// `account` is a cgroup that has those of the account's tasks in it.
    pub(super) fn new(account: Option<PathBuf>) -> Self {
        Self { account }
    }

    /// Looking takes one part of a processor's time in so many.
    pub(super) fn part(&self) -> u32 {
        let tasks = u32::try_from(self.tasks().unwrap_or(0)).unwrap_or(u32::MAX);
        PART.max(PART_OF_ACCOUNT.saturating_mul(tasks))
    }

    /// How many tasks the account has, if that can be seen.
    pub(super) fn tasks(&self) -> Option<u64> {
        // A directory has a link from each that is in it, its own, and one from above.
        let links = fs::metadata(self.account.as_ref()?).ok()?.nlink();
        Some(links.saturating_sub(2))
    }
}

/// The threads; they end with this.
#[derive(Debug)]
pub(super) struct Watch {
    ends: OwnedFd,
    /// Its end ends the threads.
    _lives: OwnedFd,
    /// Becomes readable when something is too much.
    over: OwnedFd,
    says_over: OwnedFd,
    found: Arc<OnceLock<TooMuch>>,
}

impl Watch {
    /// Without any thread yet.
    pub(super) fn new() -> io::Result<Self> {
        let (ends, lives) = pipe_with(PipeFlags::CLOEXEC)?;
        let (over, says_over) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { ends, _lives: lives, over, says_over, found: Arc::default() })
    }

    /// Starts a thread that looks until something is too much, or until what it is given ends.
    pub(super) fn begin(
        &self,
        look: impl FnOnce(&OwnedFd) -> Option<TooMuch> + Send + 'static,
    ) -> io::Result<()> {
        let (ends, says_over) = (self.ends.try_clone()?, self.says_over.try_clone()?);
        let found = Arc::clone(&self.found);
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // What was found first is told.
            if look(&ends).is_some_and(|too_much| found.set(too_much).is_ok()) {
                let _ = rustix::io::write(&says_over, b"!");
            }
        })?;
        Ok(())
    }

    /// Readable when something is too much, and from then on.
    pub(super) fn over(&self) -> &OwnedFd {
        &self.over
    }

    /// What is too much.
    pub(super) fn too_much(&self) -> Option<TooMuch> {
        self.found.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_looking_at_many_tasks_of_one_account_costs_little_more_than_at_one() {
        assert_eq!(Budget::new(None).part(), PART);
        let dir = std::env::temp_dir().join(format!("launch-budget-{}", std::process::id()));
        let budget = Budget::new(Some(dir.clone()));
        fs::create_dir_all(dir.join("muster-0")).unwrap();
        assert_eq!(budget.part(), PART);
        for task in 1..75 {
            fs::create_dir(dir.join(format!("muster-{task}"))).unwrap();
        }
        assert_eq!(budget.part(), 75 * PART_OF_ACCOUNT);
        fs::remove_dir_all(&dir).unwrap();
    }
}
