//! Room on a disk (A4): when little of it is free, for bytes or for files, the account that holds most of it gives way: at
//! first the logs of its tasks that are over, the oldest first, then the task that holds most; and so on until there is
//! room again. No task's limit does that: it knows nothing of what else is on the disk, nor of other tasks. Who gives way is
//! decided here; looking and giving back is `keeper`'s. What an account holds is the sum of what everybody says who has
//! something of its on that disk, a [`Holder`]: the agent (`tasks`), and the master with its logs where it has the same disk.
//!
//! Who holds least gives way last: an account is safe from another one as long as it holds less than that one. And for what
//! others than accounts have filled lately (`filling`) nobody gives way: accounts make as much room as there would be
//! without that, and no more. Nor does anybody for somebody of whom it isn't known what he holds: only he himself (MD5). That may be a bind mount that somebody fills, another program of the machine, or somebody who
//! hides from the count what they hold (T2, KA1): who it is can't be told, and nobody is ended by guess.

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
    /// What it has there, what is older first. All tasks that aren't over are among it, whatever they hold. `None` while that
    /// can't be said.
    fn shares(&self) -> Doing<'_, Option<Vec<Share>>>;

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
    /// Bytes. `u64::MAX` is more than anybody looks at.
    pub bytes: u64,
    /// Files and directories. `u64::MAX` is the same.
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

impl Measure {
    /// What a part holds of it, if that is known.
    fn known(&self, part: &Part) -> Option<u64> {
        Some((self.of)(&part.share)).filter(|held| *held < u64::MAX)
    }
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
    used: u64,
    /// The least of it that others than accounts had lately, if that is known.
    others: Option<u64>,
}

impl Level {
    fn new(measure: Measure, free: u64, all: u64, set: Option<u64>) -> Self {
        // More than half of a disk can't be meant: every task would be ended for it (V8).
        let low = set
            .map(|set| set.min(all / 2))
            .unwrap_or_else(|| (all / 20).clamp(measure.free.0, measure.free.1));
        Self { measure, free, all, low, set: set.is_some(), used: all.saturating_sub(free), others: None }
    }

    /// What accounts hold of it.
    fn held(&self, parts: &[Part]) -> Held {
        let of = |part: &Part| self.measure.known(part);
        let known = parts.iter().filter_map(of).fold(0, u64::saturating_add);
        let unknown = parts.iter().any(|part| of(part).is_none());
        let others = self.others.unwrap_or(0);
        let hidden = if unknown { self.used.saturating_sub(others).saturating_sub(known) } else { 0 };
        Held { known, hidden, unknown }
    }

    /// By how much others have more than lately, when accounts hold so much.
    fn grown(&self, held: u64) -> u64 {
        self.others.map_or(0, |others| self.used.saturating_sub(held).saturating_sub(others))
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

/// What accounts hold of a disk.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// What is known of that.
    known: u64,
    /// What each has of that who has more than anybody looks at, at most: what nobody else is known to have.
    hidden: u64,
    /// Somebody has.
    unknown: bool,
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
    let held = level.held(parts);
    let known = |part: &Part| level.measure.known(part);
    let mut chosen = Vec::new();
    // While it isn't known what somebody holds, all that nobody else has may be his, and he gives way for it …
    if held.unknown {
        let hides = |part: &Part| known(part).is_none() || part.ends;
        let those = parts.iter().enumerate().filter(|(_, part)| hides(part));
        let goal = level.goal(held.known.saturating_add(held.hidden));
        chosen = give_way(level, goal, those.map(|(n, part)| (n, part, known(part).unwrap_or(held.hidden))));
    }
    // … and nobody else: to them it is others', who have that much more than lately. Nothing is known of those at first.
    if !held.unknown || level.others.is_some() {
        let those = parts.iter().enumerate().filter_map(|(n, part)| Some((n, part, known(part)?)));
        let goal = level.goal(held.known).saturating_sub(level.grown(held.known));
        chosen.extend(give_way(level, goal, those));
    }
    let given = chosen.iter().filter_map(|number| parts.get(*number));
    let going = parts.iter().filter(|part| part.ends).chain(given);
    let free = going.map(|part| known(part).unwrap_or(held.hidden)).fold(level.free, u64::saturating_add);
    Choice { in_vain: free < level.goal(held.known.saturating_add(held.hidden)), parts: chosen }
}

/// Which of these parts, each with its number and what it holds, give way until so much is free.
fn give_way<'a>(level: &Level, goal: u64, parts: impl Iterator<Item = (usize, &'a Part, u64)>) -> Vec<usize> {
    let mut free = level.free;
    let mut accounts: HashMap<&str, Account> = HashMap::new();
    for (number, part, held) in parts {
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
    chosen
}

#[cfg(test)]
mod tests;
