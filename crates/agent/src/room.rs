//! Room on the agent's disk (A4): when little of it is free, for bytes or for files, the task that holds most of the account
//! that holds most is ended, and so on until there is room again. No task's limit does that: it knows nothing of what else
//! is on the disk, nor of other tasks. Whose tasks are to end is decided here; looking and ending is `keeper`'s.
//!
//! Who holds least is ended last: an account is safe from another one as long as it holds less than that one. And what
//! others than tasks have filled no end of a task makes free: where tasks hold little, none is ended.

mod keeper;

use std::collections::BTreeMap;

use domain::id::AllocationId;

pub(crate) use keeper::keep;

/// What is thought of one thing that a disk has: bytes, or files.
#[derive(Debug, Clone, Copy)]
struct Measure {
    name: &'static str,
    /// Least and most of it that is to be free; between them it is a twentieth of all.
    free: (u64, u64),
    /// The tasks of an account that holds no more aren't ended for it, or no more than a hundredth of all.
    little: u64,
}

const BYTES: Measure = Measure { name: "bytes", free: (16 << 20, 1 << 30), little: 64 << 20 };
const FILES: Measure = Measure { name: "files", free: (256, 100_000), little: 10_000 };

/// One of them, as it stands.
#[derive(Debug, Clone, Copy)]
struct Level {
    measure: Measure,
    free: u64,
    all: u64,
    /// With less than this free, what tasks hold is counted.
    low: u64,
    /// An administrator set that: it counts whatever else is on the disk.
    set: bool,
}

impl Level {
    fn new(measure: Measure, free: u64, all: u64, set: Option<u64>) -> Self {
        let low = set.unwrap_or_else(|| (all / 20).clamp(measure.free.0, measure.free.1));
        Self { measure, free, all, low, set: set.is_some() }
    }

    fn is_low(&self) -> bool {
        self.free < self.low
    }

    /// There is hardly anything left.
    fn is_urgent(&self) -> bool {
        self.free < self.low / 4
    }

    /// How much is to be free when tasks hold so much. Where others have most of the disk, it's a part of the rest.
    fn goal(&self, held: u64) -> u64 {
        if self.set {
            return self.low;
        }
        let part = self.free.saturating_add(held) / 8;
        self.low.min(part.max(self.measure.free.0))
    }

    /// So little that ending an account's tasks for it is no help.
    fn little(&self) -> u64 {
        self.measure.little.min(self.all / 100)
    }
}

/// A task, and what it has of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    id: AllocationId,
    /// Its account; itself where nobody knows that.
    owner: String,
    held: u64,
    /// It was asked to end just now.
    ends: bool,
}

/// Which tasks are to end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    /// Whoever holds most comes first.
    tasks: Vec<Share>,
    /// There is too little room even without them: others have it.
    in_vain: bool,
}

fn choose(level: &Level, shares: Vec<Share>) -> Choice {
    let goal = level.goal(sum(&shares));
    let mut free = level.free;
    let mut accounts: BTreeMap<String, Vec<Share>> = BTreeMap::new();
    for share in shares {
        if share.ends {
            free = free.saturating_add(share.held);
        } else {
            accounts.entry(share.owner.clone()).or_default().push(share);
        }
    }
    for shares in accounts.values_mut() {
        shares.sort_unstable_by_key(|share| share.held);
    }
    let mut tasks = Vec::new();
    while free < goal {
        let most = accounts.values_mut().max_by_key(|shares| sum(shares));
        let Some(shares) = most.filter(|shares| sum(shares) > level.little()) else { break };
        let Some(share) = shares.pop() else { break };
        free = free.saturating_add(share.held);
        tasks.push(share);
    }
    Choice { tasks, in_vain: free < goal }
}

fn sum(shares: &[Share]) -> u64 {
    shares.iter().fold(0, |sum, share| sum.saturating_add(share.held))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of two gigabytes.
    fn disk(free: u64) -> Level {
        Level::new(BYTES, free * MIB, 2000 * MIB, None)
    }

    /// Accounts, and what each of their tasks holds.
    fn shares(accounts: &[(&str, &[u64])]) -> Vec<Share> {
        let all = accounts.iter().flat_map(|(owner, held)| held.iter().map(move |held| (*owner, *held)));
        let share = |(n, (owner, held)): (usize, (&str, u64))| Share {
            id: format!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a0000000{n}.1").parse().expect("valid"),
            owner: owner.to_owned(),
            held: held * MIB,
            ends: false,
        };
        all.enumerate().map(share).collect()
    }

    /// What each of those holds that are to end, and whether there is room then.
    fn chosen(free: u64, accounts: &[(&str, &[u64])]) -> (Vec<u64>, bool) {
        let choice = choose(&disk(free), shares(accounts));
        (choice.tasks.iter().map(|task| task.held / MIB).collect(), !choice.in_vain)
    }

    #[test]
    fn a04_who_holds_most_makes_room() {
        // P1: one task, less than its own limit, on a disk that was more than half full.
        assert_eq!(chosen(0, &[("one", &[700]), ("two", &[30])]), (vec![700], true));
        // Several tasks of an account, each of which holds less than another's only one.
        assert_eq!(chosen(0, &[("one", &[300, 200, 400]), ("two", &[450])]), (vec![400], true));
        // As many as it takes: the account with most, whoever that is by then.
        let goal = Level::new(BYTES, 0, 2000 * MIB, Some(100 * MIB));
        let choice = choose(&goal, shares(&[("one", &[50, 45, 10]), ("two", &[48, 40])]));
        assert_eq!(choice.tasks.iter().map(|task| task.held / MIB).collect::<Vec<_>>(), [50, 48, 45]);
        assert_eq!(chosen(100, &[("one", &[700])]), (vec![], true));
        // What ends already is counted as room.
        let mut ending = shares(&[("one", &[700, 100])]);
        ending[0].ends = true;
        assert_eq!(choose(&disk(0), ending), Choice::default());
    }

    #[test]
    fn a04_no_task_is_ended_for_what_others_have_filled() {
        assert_eq!(chosen(0, &[("one", &[19]), ("two", &[5, 10])]), (vec![], false));
        // There is little left beside tasks, but they haven't taken most of that.
        assert_eq!(chosen(80, &[("one", &[60]), ("two", &[30])]), (vec![], true));
        assert_eq!(chosen(15, &[("one", &[90])]), (vec![90], true));
        // An administrator's word is another thing.
        let set = Level::new(BYTES, 80 * MIB, 2000 * MIB, Some(100 * MIB));
        assert_eq!(choose(&set, shares(&[("one", &[60])])).tasks.len(), 1);
    }

    #[test]
    fn a04_a_large_disk_keeps_a_gigabyte_free_and_a_small_one_a_little() {
        let low = |all: u64| Level::new(BYTES, 0, all * MIB, None).low / MIB;
        assert_eq!((low(100), low(2000), low(10_000_000)), (16, 100, 1024));
        let files = Level::new(FILES, 100, 12_000, None);
        assert_eq!((files.low, files.little(), files.goal(5000)), (600, 120, 600));
    }
}
