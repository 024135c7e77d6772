//! What the tasks of one account have of the machine's conversations together (I5), which their helpers tell each other
//! through two files beside the agent's tasks. What they have at a time are locks of single bytes: the kernel lets go of
//! them with the helper, however that ends. What they have begun in this minute is written down, and out of date after it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine::{GLANCE, Seen};
use super::pace::Minute;
use crate::part_locks;
use crate::spec::Owner;

/// Name of the directory, beside that of the tasks.
const DIR: &str = "conversations";
/// Name of the file of all accounts together. Those of accounts begin otherwise.
const ALL: &str = "all";
/// A byte stands for so many conversations: taking one takes as many system calls as there are bytes.
const PIECE: u32 = 64;
/// The byte that whoever counts what is begun has locked meanwhile; those of pieces are far below.
const COUNTING: u32 = 1 << 30;
/// What is written down.
const MINUTE_BYTES: u64 = 8;

/// Where an account's files are.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    file: String,
}

impl Place {
    /// The account's of the task with this directory; whose it is an agent of an earlier version doesn't say.
    pub(crate) fn new(task_dir: &Path, owner: Option<&Owner>) -> Option<Self> {
        let dir = task_dir.parent()?.with_file_name(DIR);
        owner.map(|owner| Self { dir, file: format!("of-{}", owner.key) })
    }
}

/// An account, as one of its tasks sees it.
#[derive(Debug)]
pub(crate) struct Account {
    all: File,
    own: File,
    /// Pieces that this task has.
    pieces: Vec<u32>,
    /// When it was seen last that there was no more.
    spent: Option<Duration>,
}

impl Account {
    /// Opens the files, and makes them if need be; they are the agent's.
    pub(crate) fn open(place: &Place) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&place.dir)?;
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(place.dir.join(name))
        };
        let (all, own) = (open(ALL)?, open(&place.file)?);
        if own.metadata()?.len() < MINUTE_BYTES {
            // While the disk has room for it. What was begun just now by somebody else who opens it first is little.
            let _ = own.write_all_at(&Minute::default().packed().to_ne_bytes(), 0);
        }
        Ok(Self { all, own, pieces: vec![], spent: None })
    }

    /// Has room for so many conversations of this task, or not now. An account may have as many as it leaves for everybody
    /// else: alone half of what tasks may have, beside another one a third, and so on.
    pub(super) fn holds(&mut self, conversations: usize, now: Duration, seen: Option<Seen>) -> bool {
        let needed = conversations.div_ceil(PIECE as usize);
        let Some(seen) = seen.filter(|_| needed > self.pieces.len()) else { return true };
        if self.spent.is_some_and(|when| now.saturating_sub(when) < GLANCE) {
            return false;
        }
        let most = (seen.open() / PIECE).min(COUNTING);
        while self.pieces.len() < needed {
            // Where nothing can be locked, nobody is counted.
            match self.take(most) {
                Ok(true) => {}
                Ok(false) => {
                    self.spent = Some(now);
                    return false;
                }
                Err(_) => return true,
            }
        }
        true
    }

    /// Has no more than that takes; one may be needed again soon.
    pub(super) fn needs(&mut self, conversations: usize) {
        let needed = conversations.div_ceil(PIECE as usize);
        while self.pieces.len() > needed + usize::from(needed > 0) {
            self.let_go();
        }
    }

    /// Takes one more of so many pieces, unless the account then has more than what is left.
    fn take(&mut self, most: u32) -> io::Result<bool> {
        let mut free = None;
        for piece in (0..most).filter(|piece| !self.pieces.contains(piece)) {
            if lock(&self.all, piece)? {
                free = Some(piece);
                break;
            }
        }
        let Some(piece) = free else { return Ok(false) };
        // First, so that of two that take one at the same time each sees the other's.
        self.pieces.push(piece);
        let mine = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        let counted = lock(&self.own, piece).and_then(|_| {
            let [account, all] = [others(&self.own, most)?, others(&self.all, most)?];
            Ok(account.saturating_add(mine) <= most.saturating_sub(all.saturating_add(mine)))
        });
        if !matches!(counted, Ok(true)) {
            self.let_go();
        }
        counted
    }

    fn let_go(&mut self) {
        if let Some(piece) = self.pieces.pop() {
            // It can't fail where locking could; and all goes with this process.
            let _ = unlock(&self.own, piece).and(unlock(&self.all, piece));
        }
    }

    /// Changes what is written down of this minute, while nobody else of the account does.
    pub(super) fn count<T>(&self, change: impl FnOnce(&mut Minute) -> T) -> io::Result<T> {
        part_locks::lock(&self.own, COUNTING.into(), 1)?;
        let done = self.counted(change);
        unlock(&self.own, COUNTING)?;
        done
    }

    fn counted<T>(&self, change: impl FnOnce(&mut Minute) -> T) -> io::Result<T> {
        // A new file says nothing.
        let mut bytes = [0; 8];
        self.own.read_at(&mut bytes, 0)?;
        let before = u64::from_ne_bytes(bytes);
        let mut minute = Minute::unpacked(before);
        let result = change(&mut minute);
        if minute.packed() != before {
            self.own.write_all_at(&minute.packed().to_ne_bytes(), 0)?;
        }
        Ok(result)
    }
}

/// Locks a byte, unless somebody else has.
fn lock(file: &File, at: u32) -> io::Result<bool> {
    part_locks::try_lock(file, at.into(), 1)
}

fn unlock(file: &File, at: u32) -> io::Result<()> {
    part_locks::unlock(file, at.into(), 1)
}

/// How many of the first bytes others have locked.
fn others(file: &File, end: u32) -> io::Result<u32> {
    let (mut found, mut rest) = (0, vec![(0, end)]);
    while let Some((from, to)) = rest.pop() {
        if from >= to {
            continue;
        }
        // Any of those in there, not the first one.
        let Some((start, length)) = part_locks::locked_in(file, from.into(), to.into())? else { continue };
        let stop = u32::try_from(start.saturating_add(length));
        let start = u32::try_from(start).unwrap_or(from).clamp(from, to);
        let stop = stop.unwrap_or(to).clamp(start, to);
        found += stop - start;
        rest.extend([(from, start), (stop.max(from + 1), to)]);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::machine::Table;
    use super::super::ports::Ports;
    use super::*;

    /// Gone with the test.
    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Dir {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("launch-account-{}-{name}", std::process::id())))
        }

        fn task_of(&self, account: &str) -> Account {
            let limits = crate::spec::Together::default();
            let owner = Owner { key: account.into(), account: None, limits };
            let place = Place::new(&self.0.join("tasks/task"), Some(&owner)).expect("somebody's");
            Account::open(&place).expect("opened")
        }
    }

    /// A machine on which tasks may have so many pieces of conversations.
    fn pieces(n: u32) -> Option<Seen> {
        let ports = Ports { lowest: 1, all: 60_000, kept: 0 };
        Some(Seen { ports, table: Some(Table { taken: 0, all: n * PIECE * 4 }) })
    }

    /// How many pieces a task gets, one after the other.
    fn gets(task: &mut Account, of: u32) -> usize {
        let piece = PIECE as usize;
        for n in task.pieces.len()..1000 {
            task.spent = None;
            if !task.holds((n + 1) * piece, Duration::ZERO, pieces(of)) {
                break;
            }
        }
        task.pieces.len()
    }

    #[test]
    fn a05_whatever_an_accounts_tasks_have_others_find_as_much_again() {
        let dir = Dir::new("share");
        let [mut first, mut second] = [(); 2].map(|()| dir.task_of("7"));
        assert!(first.holds(20 * PIECE as usize, Duration::ZERO, pieces(100)));
        assert_eq!(gets(&mut second, 100), 30, "half, with the first one's");
        assert_eq!(gets(&mut first, 100), 20);
        let mut other = dir.task_of("8");
        assert_eq!(gets(&mut other, 100), 25, "half of what is left");
        assert_eq!(gets(&mut dir.task_of("9"), 100), 12, "and again");
        drop(second);
        assert_eq!(gets(&mut first, 100), 37, "what an ended task had is free");
        first.needs(1);
        assert_eq!(first.pieces.len(), 2, "and what a task doesn't need any more");
        first.needs(0);
        assert_eq!(gets(&mut other, 100), 50);
    }

    #[test]
    fn a05_what_an_accounts_tasks_begin_is_counted_together_and_outlives_them() {
        let dir = Dir::new("minute");
        let add = |task: &Account, more| {
            let change = |minute: &mut Minute| {
                minute.begun += more;
                minute.begun
            };
            task.count(change).expect("counted")
        };
        assert_eq!(add(&dir.task_of("7"), 3), 3);
        assert_eq!(add(&dir.task_of("8"), 1), 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let task = dir.task_of("7");
                scope.spawn(move || {
                    for _ in 0..500 {
                        add(&task, 1);
                    }
                });
            }
        });
        assert_eq!(add(&dir.task_of("7"), 1), 2004);
    }
}
