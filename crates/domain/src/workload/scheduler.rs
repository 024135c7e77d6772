//! Who runs next and where: a pure function of the queue and of the machines.
//!
//! Order: priority (lower first), then age. A task takes all its slots on one agent. A task that doesn't fit now holds
//! up later ones of the same or lower priority only on agents where it could ever run, so that a large task isn't
//! starved by a stream of small ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::Power;
use crate::id::{AgentId, AllocationId, UserId};
use crate::identity::UnixIdentity;

/// Tasks without slots that one agent takes at a time.
pub const AUX_PER_AGENT: usize = 100;

/// Of them, one account's: whatever one wants, others find places on every agent (A12).
pub const AUX_PER_ACCOUNT: usize = AUX_PER_AGENT * 3 / 4;

/// Why a task waits whose owner is deactivated.
pub const OWNER_DEACTIVATED: &str = "its owner is deactivated";

/// Why a task waits whose owner may no more start tasks where it was made.
pub const OWNER_SHUT_OUT: &str = "its owner may not start tasks in its workspace any more";

/// Why a task waits whose workspace was put away.
pub const WORKSPACE_ARCHIVED: &str = "its workspace is archived";

/// A task that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its run.
    pub allocation: AllocationId,
    /// Slots that it needs.
    pub slots: u32,
    /// Lower first.
    pub priority: i64,
    /// Position in the order of creation.
    pub seq: i64,
    /// Whose it is.
    pub owner: UserId,
    /// As whom it runs.
    pub identity: UnixIdentity,
    /// Why it may not start now, whatever is free: its owner couldn't start it there either (A14, W17).
    pub held: Option<String>,
}

/// A machine and what is taken on it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name.
    pub id: AgentId,
    /// Connected, enabled and not draining.
    pub open: bool,
    /// Slots that may be given out.
    pub slots: BTreeSet<u32>,
    /// Slots in use.
    pub used: BTreeSet<u32>,
    /// Tasks without slots that run there.
    pub aux: Aux,
    /// The identities it can give.
    pub power: Power,
}

/// Tasks without slots on an agent: how many, and whose. It is collected from their owners.
#[derive(Debug, Clone, Default)]
pub struct Aux {
    all: usize,
    of: BTreeMap<UserId, usize>,
}

impl Aux {
    fn add(&mut self, owner: UserId) {
        self.all += 1;
        *self.of.entry(owner).or_default() += 1;
    }

    fn has_room(&self) -> bool {
        self.all < AUX_PER_AGENT
    }

    fn has_room_for(&self, owner: UserId) -> bool {
        self.has_room() && self.of.get(&owner).is_none_or(|tasks| *tasks < AUX_PER_ACCOUNT)
    }
}

impl FromIterator<UserId> for Aux {
    fn from_iter<T: IntoIterator<Item = UserId>>(owners: T) -> Self {
        let mut aux = Self::default();
        owners.into_iter().for_each(|owner| aux.add(owner));
        aux
    }
}

impl Machine {
    fn free(&self) -> impl Iterator<Item = u32> {
        self.slots.difference(&self.used).copied()
    }
}

/// What is to be done with a task that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start it there, on these slots.
    Place {
        /// The task's run.
        allocation: AllocationId,
        /// Where.
        agent: AgentId,
        /// On which slots.
        slots: Vec<u32>,
    },
    /// It stays in the queue, for this reason.
    Wait {
        /// The task's run.
        allocation: AllocationId,
        /// One sentence for people.
        reason: String,
    },
    /// No machine can ever give what it needs.
    Refuse {
        /// The task's run.
        allocation: AllocationId,
        /// One sentence for people, with the remedy.
        reason: String,
    },
}

/// Decides for each task of the queue. `default_user` is the account of P1.
#[must_use]
pub fn schedule(
    mut queue: Vec<Waiting>,
    machines: &[Machine],
    default_user: Option<UserId>,
) -> Vec<Decision> {
    queue.sort_by_key(|w| (w.priority, w.seq));
    let mut machines: BTreeMap<AgentId, Machine> =
        machines.iter().map(|m| (m.id.clone(), m.clone())).collect();
    let mut held: BTreeSet<AgentId> = BTreeSet::new();
    queue.into_iter().map(|task| decide(task, &mut machines, &mut held, default_user)).collect()
}

fn decide(
    task: Waiting,
    machines: &mut BTreeMap<AgentId, Machine>,
    held: &mut BTreeSet<AgentId>,
    default_user: Option<UserId>,
) -> Decision {
    let allocation = task.allocation;
    if let Some(reason) = task.held {
        // It keeps its place in the queue, and nobody from theirs.
        return Decision::Wait { allocation, reason };
    }
    let mut refusal = None;
    let mut able: Vec<AgentId> = Vec::new();
    for machine in machines.values().filter(|m| m.open) {
        match machine.power.can_give(&machine.id, &task.identity, task.owner, default_user) {
            Ok(()) => able.push(machine.id.clone()),
            Err(reason) => refusal = Some(reason.to_string()),
        }
    }
    if able.is_empty() {
        return match refusal {
            Some(reason) => Decision::Refuse { allocation, reason },
            None => Decision::Wait { allocation, reason: "no agent is connected".to_owned() },
        };
    }
    let needed = usize::try_from(task.slots).unwrap_or(usize::MAX);
    let fits_ever = |m: &Machine| m.slots.len() >= needed;
    if needed > 0 && !able.iter().filter_map(|id| machines.get(id)).any(fits_ever) {
        let most = able.iter().filter_map(|id| machines.get(id)).map(|m| m.slots.len()).max().unwrap_or(0);
        let reason = format!("it needs {needed} slots on one agent; the largest connected one has {most}");
        return Decision::Wait { allocation, reason };
    }
    // Fullest machine that still fits: leaves large gaps for large tasks.
    let best = able
        .iter()
        .filter(|id| needed == 0 || !held.contains(*id))
        .filter_map(|id| machines.get(id))
        .filter(|m| if needed == 0 { m.aux.has_room_for(task.owner) } else { m.free().count() >= needed })
        .min_by_key(|m| (m.free().count(), m.aux.all, m.id.clone()))
        .map(|m| m.id.clone());
    if let Some(machine) = best.and_then(|id| machines.get_mut(&id)) {
        let slots: Vec<u32> = machine.free().take(needed).collect();
        machine.used.extend(&slots);
        if needed == 0 {
            machine.aux.add(task.owner);
        }
        return Decision::Place { allocation, agent: machine.id.clone(), slots };
    }
    let has_room = |id: &AgentId| machines.get(id).is_some_and(|machine| machine.aux.has_room());
    let reason = if needed == 0 && able.iter().any(has_room) {
        format!(
            "its owner already runs {AUX_PER_ACCOUNT} tasks without slots on every agent that has room for more: the \
             last quarter is for others"
        )
    } else if needed == 0 {
        format!("every agent already runs {AUX_PER_AGENT} tasks without slots")
    } else {
        let (used, all) = able.iter().filter_map(|id| machines.get(id)).fold((0, 0), |(used, all), m| {
            (used + m.used.intersection(&m.slots).count(), all + m.slots.len())
        });
        held.extend(able.into_iter().filter(|id| machines.get(id).is_some_and(fits_ever)));
        let plural = if needed == 1 { "slot" } else { "slots on one agent" };
        format!("it waits for {needed} {plural}: {used} of {all} are in use")
    };
    Decision::Wait { allocation, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use uuid::Uuid;

    fn waiting(n: u128, slots: u32, priority: i64) -> Waiting {
        Waiting {
            allocation: AllocationId::first(TaskId(Uuid::from_u128(n))),
            slots,
            priority,
            seq: i64::try_from(n).expect("small"),
            owner: UserId(1),
            identity: UnixIdentity::root(),
            held: None,
        }
    }

    fn machine(name: &str, slots: u32) -> Machine {
        Machine {
            id: name.parse().expect("valid"),
            open: true,
            slots: (0..slots).collect(),
            used: BTreeSet::new(),
            aux: Aux::default(),
            power: Power::Root,
        }
    }

    fn placed(decisions: &[Decision]) -> Vec<(u128, Vec<u32>)> {
        let place = |d: &Decision| match d {
            Decision::Place { allocation, slots, .. } => Some((allocation.task.0.as_u128(), slots.clone())),
            _ => None,
        };
        decisions.iter().filter_map(place).collect()
    }

    #[test]
    fn age_then_slots_and_priority_first() {
        let queue = vec![waiting(1, 1, 42), waiting(2, 1, 42), waiting(3, 1, 10)];
        let decisions = schedule(queue, &[machine("a", 2)], None);
        assert_eq!(placed(&decisions), [(3, vec![0]), (1, vec![1])]);
        let Some(Decision::Wait { reason, .. }) = decisions.last() else { panic!("{decisions:?}") };
        assert_eq!(reason, "it waits for 1 slot: 2 of 2 are in use");
    }

    #[test]
    fn a_large_task_is_not_starved() {
        let mut busy = machine("a", 4);
        busy.used = [0].into();
        let decisions =
            schedule(vec![waiting(1, 4, 42), waiting(2, 1, 42), waiting(3, 0, 42)], &[busy], None);
        assert_eq!(placed(&decisions), [(3, vec![])], "only the task without slots passes");
    }

    #[test]
    fn a12_one_account_leaves_others_places_for_tasks_without_slots() {
        let of = |n: u128, owner: i64| Waiting { owner: UserId(owner), ..waiting(n, 0, 42) };
        // One account wants more than there is, and was there first.
        let queue: Vec<_> = (0..300).map(|n| of(n, 1)).chain((300..303).map(|n| of(n, 2))).collect();
        let mut far = machine("far", 0);
        far.open = false;
        let decisions = schedule(queue.clone(), &[machine("a", 2), far], None);
        let runs: Vec<_> = placed(&decisions).into_iter().map(|(n, _)| n).collect();
        assert_eq!(runs, (0..75).chain(300..303).collect::<Vec<_>>());
        let Some(Decision::Wait { reason, .. }) = decisions.get(75) else { panic!("{decisions:?}") };
        assert!(reason.starts_with("its owner already runs 75 tasks without slots"), "{reason}");
        // What runs already counts, on each agent by itself.
        let mut busy = machine("a", 2);
        busy.aux = std::iter::repeat_n(UserId(1), 75).collect();
        let decisions = schedule(queue, &[busy.clone(), machine("b", 2)], None);
        let on_a = |d: &&Decision| matches!(d, Decision::Place { agent, .. } if agent.as_str() == "a");
        assert_eq!(placed(&decisions).len(), 78);
        assert_eq!(decisions.iter().filter(on_a).count(), 2, "others' alone");
        // An agent that is full says so to everybody.
        busy.aux = (0..100).map(|n| UserId(n % 4)).collect();
        let decisions = schedule(vec![of(1, 1), of(2, 9)], &[busy], None);
        for decision in &decisions {
            let Decision::Wait { reason, .. } = decision else { panic!("{decisions:?}") };
            assert_eq!(reason, "every agent already runs 100 tasks without slots");
        }
    }

    #[test]
    fn a14_what_a_deactivated_owner_queued_waits_and_holds_nobody_up() {
        let gone = Waiting { held: Some(OWNER_DEACTIVATED.to_owned()), ..waiting(1, 2, 1) };
        let decisions = schedule(vec![gone, waiting(2, 2, 42)], &[machine("a", 2)], None);
        assert_eq!(placed(&decisions), [(2, vec![0, 1])]);
        let wait = |d: &&Decision| matches!(d, Decision::Wait { reason, .. } if reason == OWNER_DEACTIVATED);
        assert_eq!(decisions.iter().filter(wait).count(), 1, "{decisions:?}");
    }

    #[test]
    fn what_can_not_be_given_is_refused_or_waits() {
        let mut laptop = machine("laptop", 1);
        laptop.power = Power::Unprivileged { uid: 1000, gid: 1000, shared: false };
        let decisions = schedule(vec![waiting(1, 1, 42)], &[laptop], None);
        assert!(matches!(&decisions[0], Decision::Refuse { reason, .. } if reason.contains("without root")));
        let decisions = schedule(vec![waiting(1, 1, 42)], &[], None);
        assert!(matches!(&decisions[0], Decision::Wait { reason, .. } if reason.contains("no agent")));
    }
}
