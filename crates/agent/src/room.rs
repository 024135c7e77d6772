//! Room on a disk (A4): when little of it is free, for bytes or for files, the account that holds most of it gives way: at
//! first the logs of its tasks that are over, the oldest first, then the task that holds most; and so on until there is
//! room again. No task's limit does that: it knows nothing of what else is on the disk, nor of other tasks. Who gives way is
//! decided here; looking and giving back is `keeper`'s. What an account holds is the sum of what everybody says who has
//! something of its on that disk, a [`Holder`]: the agent (`tasks`), and the master with its logs where it has the same disk.
//!
//! Who holds least gives way last: an account is safe from another one as long as it holds less than that one. And what
//! others than accounts have filled nobody's end makes free: where they hold little, or less than half of what the disk has
//! become fuller by lately (`filling`), nothing is done. That may be a bind mount that somebody fills, or somebody who hides
//! from the count what they hold.

mod filling;
mod keeper;
mod tasks;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;

use domain::id::{AllocationId, TaskId};

pub use keeper::keep;
pub(crate) use tasks::Tasks;

/// What a [`Holder`] does.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Somebody who has things of accounts' on a disk, and can give them back.
pub trait Holder: Send + Sync {
    /// What it has there, what is older first. All tasks that aren't over are among it, whatever they hold.
    fn shares(&self) -> Doing<'_, Vec<Share>>;

    /// Gives these back, as far as it can.
    fn give_back<'a>(&'a self, shares: Vec<&'a Share>) -> Doing<'a, ()>;
}

/// What of a disk is a task's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The task.
    pub task: TaskId,
    /// Its account; itself where nobody knows that.
    pub owner: String,
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub files: u64,
    /// How it is given back.
    pub way: Way,
}

/// How something is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The run is ended.
    End(AllocationId),
    /// The log of a task that is over is removed.
    Remove,
    /// It goes by itself: its run is over.
    Soon,
    /// It isn't, for now.
    None,
}

/// What is thought of one thing that a disk has: bytes, or files.
#[derive(Debug, Clone, Copy)]
struct Measure {
    name: &'static str,
    /// Least and most of it that is to be free; between them it is a twentieth of all.
    free: (u64, u64),
    /// An account that holds no more needn't give way, or no more than a hundredth of all.
    little: u64,
    of: fn(&Share) -> u64,
}

const BYTES: Measure =
    Measure { name: "bytes", free: (16 << 20, 1 << 30), little: 64 << 20, of: |share| share.bytes };
const FILES: Measure =
    Measure { name: "files", free: (256, 100_000), little: 10_000, of: |share| share.files };

/// Most things that are given back at once.
const MOST: usize = 1000;

/// One of them, as it stands.
#[derive(Debug, Clone, Copy)]
struct Level {
    measure: Measure,
    free: u64,
    all: u64,
    /// With less than this free, what accounts hold is counted.
    low: u64,
    /// An administrator set that: it counts whatever else is on the disk.
    set: bool,
    /// By how much more is used than lately.
    grown: u64,
}

impl Level {
    fn new(measure: Measure, free: u64, all: u64, set: Option<u64>) -> Self {
        // More than half of a disk can't be meant: every task would be ended for it (V8).
        let low = set
            .map(|set| set.min(all / 2))
            .unwrap_or_else(|| (all / 20).clamp(measure.free.0, measure.free.1));
        Self { measure, free, all, low, set: set.is_some(), grown: 0 }
    }

    fn grown_by(self, grown: u64) -> Self {
        Self { grown, ..self }
    }

    fn is_low(&self) -> bool {
        self.free < self.low
    }

    /// There is hardly anything left.
    fn is_urgent(&self) -> bool {
        self.free < self.low / 4
    }

    /// How much is to be free when accounts hold so much. Where others have most of the disk, it's a part of the rest.
    fn goal(&self, held: u64) -> u64 {
        if self.set {
            return self.low;
        }
        let part = self.free.saturating_add(held) / 8;
        self.low.min(part.max(self.measure.free.0))
    }

    /// So little that it is no help when an account gives it back.
    fn little(&self) -> u64 {
        self.measure.little.min(self.all / 100)
    }
}

/// A share of somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    share: Share,
    /// Who has it: the number of the holder that can give it back.
    holder: usize,
    /// It was asked to end just now, or is over since then: there is room soon.
    ends: bool,
}

/// What all holders have: of a task that isn't over one part, its run and its log together, of the first that can end it. Whose
/// it is the last one knows best.
fn together(lists: Vec<Vec<Share>>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    // Those of earlier holders. The last one has most: all logs of what is over.
    let mut known: HashMap<TaskId, usize> = HashMap::new();
    let last = lists.len().saturating_sub(1);
    for (holder, list) in lists.into_iter().enumerate() {
        let begin = parts.len();
        for share in list {
            let earlier = known.get(&share.task).and_then(|number| parts.get_mut(*number));
            let Some(Part { share: sum, holder: giver, .. }) = earlier else {
                parts.push(Part { share, holder, ends: false });
                continue;
            };
            sum.bytes = sum.bytes.saturating_add(share.bytes);
            sum.files = sum.files.saturating_add(share.files);
            sum.owner = share.owner;
            if sum.way == Way::None || share.way == Way::Remove {
                (sum.way, *giver) = (share.way, holder);
            }
        }
        let new = parts.iter().enumerate().skip(begin).filter(|_| holder < last);
        known.extend(new.map(|(number, part)| (part.share.task, number)));
    }
    parts
}

/// What is to be given back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    /// Numbers of parts. Whoever holds most comes first.
    parts: Vec<usize>,
    /// There is too little room even without them: others have it.
    in_vain: bool,
}

/// What an account holds, and what of it can be given back.
#[derive(Default)]
struct Account {
    held: u64,
    can_give: u64,
    /// That in logs of tasks that are over.
    in_logs: u64,
    /// Of tasks that are over, the oldest one first.
    logs: VecDeque<(u64, usize)>,
    tasks: Vec<(u64, usize)>,
}

fn choose(level: &Level, parts: &[Part]) -> Choice {
    let of = |part: &Part| (level.measure.of)(&part.share);
    let all = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(of(part)));
    if all < level.grown / 2 {
        return Choice { parts: vec![], in_vain: true };
    }
    let goal = level.goal(all);
    let mut free = level.free;
    let mut accounts: HashMap<&str, Account> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let held = of(part);
        if part.ends {
            free = free.saturating_add(held);
            continue;
        }
        let account = accounts.entry(&part.share.owner).or_default();
        account.held = account.held.saturating_add(held);
        match part.share.way {
            Way::End(_) => account.tasks.push((held, number)),
            Way::Remove if held > 0 => {
                account.in_logs = account.in_logs.saturating_add(held);
                account.logs.push_back((held, number));
            }
            Way::Remove | Way::Soon | Way::None => continue,
        }
        account.can_give = account.can_give.saturating_add(held);
    }
    for account in accounts.values_mut() {
        account.tasks.sort_unstable();
    }
    let mut chosen = Vec::new();
    loop {
        // A little more of logs, so that it isn't done again in a moment.
        let enough = if chosen.is_empty() { goal } else { goal.saturating_add(goal / 4) };
        if free >= enough || chosen.len() >= MOST {
            break;
        }
        let able = accounts.values_mut().filter(|account| account.can_give > level.little());
        let Some(account) = able.max_by_key(|account| account.held) else { break };
        // Small logs are no help, and say why their tasks ended.
        let log = if account.in_logs > level.little() { account.logs.pop_front() } else { None };
        account.in_logs = account.in_logs.saturating_sub(log.map_or(0, |(held, _)| held));
        let Some((held, number)) = log.or_else(|| account.tasks.pop().filter(|_| free < goal)) else { break };
        account.held = account.held.saturating_sub(held);
        account.can_give = account.can_give.saturating_sub(held);
        free = free.saturating_add(held);
        chosen.push(number);
    }
    Choice { parts: chosen, in_vain: free < goal }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of two gigabytes.
    fn disk(free: u64) -> Level {
        Level::new(BYTES, free * MIB, 2000 * MIB, None)
    }

    fn task(n: usize) -> TaskId {
        format!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a{n:08x}").parse().expect("valid")
    }

    /// Accounts, and what each of their tasks holds.
    fn parts(accounts: &[(&str, &[u64])]) -> Vec<Part> {
        let all = accounts.iter().flat_map(|(owner, held)| held.iter().map(move |held| (*owner, *held)));
        let part = |(n, (owner, held)): (usize, (&str, u64))| {
            let way = Way::End(AllocationId::first(task(n)));
            let share = Share { task: task(n), owner: owner.to_owned(), bytes: held * MIB, files: 1, way };
            Part { share, holder: 0, ends: false }
        };
        all.enumerate().map(part).collect()
    }

    /// The same, of tasks that are over: what their logs take.
    fn logs(accounts: &[(&str, &[u64])]) -> Vec<Part> {
        let mut logs = parts(accounts);
        logs.iter_mut().for_each(|log| log.share.way = Way::Remove);
        logs
    }

    /// What is chosen holds so much, in the order in which it is.
    fn held(choice: &Choice, parts: &[Part]) -> Vec<u64> {
        choice.parts.iter().map(|number| parts[*number].share.bytes / MIB).collect()
    }

    /// What each of those holds that are to end, and whether there is room then.
    fn chosen(free: u64, accounts: &[(&str, &[u64])]) -> (Vec<u64>, bool) {
        let parts = parts(accounts);
        let choice = choose(&disk(free), &parts);
        (held(&choice, &parts), !choice.in_vain)
    }

    #[test]
    fn a04_who_holds_most_makes_room() {
        // P1: one task, less than its own limit, on a disk that was more than half full.
        assert_eq!(chosen(0, &[("one", &[700]), ("two", &[30])]), (vec![700], true));
        // Several tasks of an account, each of which holds less than another's only one.
        assert_eq!(chosen(0, &[("one", &[300, 200, 400]), ("two", &[450])]), (vec![400], true));
        // As many as it takes: the account with most, whoever that is by then.
        let goal = Level::new(BYTES, 0, 2000 * MIB, Some(100 * MIB));
        let those = parts(&[("one", &[50, 45, 10]), ("two", &[48, 40])]);
        assert_eq!(held(&choose(&goal, &those), &those), [50, 48, 45]);
        assert_eq!(chosen(100, &[("one", &[700])]), (vec![], true));
        // What ends already is counted as room.
        let mut ending = parts(&[("one", &[700, 100])]);
        ending[0].ends = true;
        assert_eq!(choose(&disk(0), &ending), Choice::default());
    }

    /// V1: what somebody has printed is theirs as much as what they have written.
    #[test]
    fn a04_who_has_printed_most_makes_room() {
        // The logs of what is over first, the oldest first, and a little more of them than must be.
        let mut those = logs(&[("printer", &[60, 50, 200, 10, 10])]);
        those.extend(parts(&[("printer", &[190]), ("innocent", &[300])]));
        assert_eq!(held(&choose(&disk(0), &those), &those), [60, 50, 200]);
        // Then what runs: others' tasks are safe as long as their accounts hold less.
        let mut those = logs(&[("printer", &[30])]);
        those.extend(parts(&[("printer", &[190, 180]), ("innocent", &[150])]));
        assert_eq!(held(&choose(&disk(0), &those), &those), [30, 190]);
        // Small logs stay: they are no help.
        let mut those = logs(&[("printer", &[1, 2, 3])]);
        those.extend(parts(&[("printer", &[190, 180]), ("innocent", &[150])]));
        assert_eq!(held(&choose(&disk(0), &those), &those), [190]);
        // A log is no task: it goes for others' sake only if its account has most.
        let mut those = logs(&[("innocent", &[150])]);
        those.extend(parts(&[("greedy", &[700])]));
        assert_eq!(held(&choose(&disk(0), &those), &those), [700]);
        // Nothing is removed that has no room to give, nor while there is room.
        assert_eq!(choose(&disk(100), &logs(&[("printer", &[900])])), Choice::default());
        assert!(choose(&disk(0), &logs(&[("printer", &[9, 9])])).in_vain);
        // What is over is room soon: nobody else gives way for it at once.
        let mut those = parts(&[("printer", &[400]), ("innocent", &[300])]);
        (those[0].share.way, those[0].ends) = (Way::Soon, true);
        assert_eq!(choose(&disk(0), &those), Choice::default());
        // Who has most and can't give it now keeps no other from it; and small tasks don't end for large things that stay.
        let mut those = logs(&[("printer", &[400])]);
        those[0].share.way = Way::None;
        those.extend(parts(&[("printer", &[1, 2]), ("greedy", &[300])]));
        assert_eq!(held(&choose(&disk(0), &those), &those), [300]);
    }

    #[test]
    fn a04_a_hundred_thousand_logs_are_chosen_from_in_a_moment() {
        let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let accounts: Vec<(&str, &[u64])> = names.iter().map(|name| (name.as_str(), &[1; 100][..])).collect();
        let those = logs(&accounts);
        let level = Level::new(BYTES, 0, 2_000_000 * MIB, Some(1000 * MIB));
        let begun = std::time::Instant::now();
        let choice = choose(&level, &those);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!((choice.parts.len(), choice.in_vain), (MOST, false));
    }

    /// A run and its log are one thing, whoever has which.
    #[test]
    fn a04_a_disk_has_one_ledger() {
        let share = |n: usize, owner: &str, bytes, way| Share {
            task: task(n),
            owner: owner.to_owned(),
            bytes,
            files: 1,
            way,
        };
        let run = Way::End(AllocationId::first(task(1)));
        let tasks = vec![share(1, "0001-key", 5, run), share(2, "0001-key", 7, Way::Soon)];
        let log = |n, bytes, way| share(n, "account 1", bytes, way);
        let logs = vec![log(3, 1, Way::Remove), log(1, 10, run), log(2, 20, Way::Remove)];
        let parts = together(vec![tasks, logs]);
        let told = |part: &Part| {
            let Share { task, owner, bytes, way, .. } = &part.share;
            assert_eq!(owner, "account 1");
            (*task, *bytes, *way, part.holder)
        };
        let expected = [(task(1), 15, run, 0), (task(2), 27, Way::Remove, 1), (task(3), 1, Way::Remove, 1)];
        assert_eq!(parts.iter().map(told).collect::<Vec<_>>(), expected);
    }

    /// T2: a bind mount on the same disk, data that is moved on while it is counted, files in flight.
    #[test]
    fn a04_nobody_is_ended_for_what_no_account_is_seen_to_hold() {
        let parts = parts(&[("one", &[200]), ("two", &[1])]);
        for set in [None, Some(100 * MIB)] {
            let level = Level::new(BYTES, 0, 2000 * MIB, set);
            let hidden = choose(&level.grown_by(1977 * MIB), &parts);
            assert_eq!(hidden, Choice { parts: vec![], in_vain: true });
            assert_eq!(held(&choose(&level.grown_by(390 * MIB), &parts), &parts), [200]);
        }
    }

    #[test]
    fn a04_no_task_is_ended_for_what_others_have_filled() {
        assert_eq!(chosen(0, &[("one", &[19]), ("two", &[5, 10])]), (vec![], false));
        // There is little left beside tasks, but they haven't taken most of that.
        assert_eq!(chosen(80, &[("one", &[60]), ("two", &[30])]), (vec![], true));
        assert_eq!(chosen(15, &[("one", &[90])]), (vec![90], true));
        // An administrator's word is another thing.
        let set = Level::new(BYTES, 80 * MIB, 2000 * MIB, Some(100 * MIB));
        assert_eq!(choose(&set, &parts(&[("one", &[60])])).parts.len(), 1);
    }

    #[test]
    fn a04_a_large_disk_keeps_a_gigabyte_free_and_a_small_one_a_little() {
        let low = |all: u64| Level::new(BYTES, 0, all * MIB, None).low / MIB;
        assert_eq!((low(100), low(2000), low(10_000_000)), (16, 100, 1024));
        assert_eq!(Level::new(BYTES, 0, 2000 * MIB, Some(3000 * MIB)).low / MIB, 1000, "no more than half");
        let files = Level::new(FILES, 100, 12_000, None);
        assert_eq!((files.low, files.little(), files.goal(5000)), (600, 120, 600));
    }
}
