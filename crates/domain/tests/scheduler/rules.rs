//! What holds of every round, whatever the world.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::capability::Capabilities;
use domain::id::{AgentId, AllocationId, JobId, UserId, WorkspaceId};
use domain::scheduler::{Decision, Machine, Order, Part, Running, Service, Snapshot, Span, Waiting, Why};

/// Looks whether a round broke a rule.
pub(crate) fn check(world: &Snapshot, decisions: &[Decision]) {
    let waiting: HashMap<AllocationId, &Waiting> =
        world.waiting.iter().map(|run| (run.allocation, run.as_ref())).collect();
    let mut decided = BTreeSet::new();
    let mut placed: Vec<(&Waiting, &[Part])> = Vec::new();
    for decision in decisions {
        match decision {
            Decision::Place { allocation, on } => {
                assert!(decided.insert(*allocation), "{allocation} is decided twice");
                placed.push((waiting[allocation], on));
            }
            Decision::Wait { allocation, .. } => {
                assert!(decided.insert(*allocation), "{allocation} is decided twice");
            }
            Decision::Refuse { allocation, .. } => {
                assert!(decided.insert(*allocation), "{allocation} is decided twice");
                nobody_could(world, waiting[allocation]);
            }
            Decision::Preempt { allocation, favoured } => gives_way(world, *allocation, waiting[favoured]),
            Decision::Lost { .. } => panic!("agents are looked after by others: {decision:?}"),
            Decision::Expire { allocation } => {
                let run = running(world, *allocation);
                assert!(!run.ending && run.ends_by.is_some_and(|by| by <= world.now));
            }
        }
    }
    assert_eq!(decided.len(), world.waiting.len(), "each one that waits has a decision");
    slots_are_free(world, &placed);
    bounds_hold(world, &placed);
    nobody_is_passed_by_his_like(world, &waiting, decisions);
}

/// What is ended for ever could run on no agent of its pool, whether or not that takes tasks now (MM4).
fn nobody_could(world: &Snapshot, run: &Waiting) {
    assert!(!world.absent.contains(&run.pool), "who is away may be able to: {run:?}");
    for machine in world.machines.iter().filter(|machine| machine.pool == run.pool) {
        let given = machine.power.can_give(&machine.id, &run.identity, run.owner, world.default_user);
        assert!(given.is_err(), "{run:?} on {machine:?}");
    }
}

fn running(world: &Snapshot, allocation: AllocationId) -> &Running {
    world.running.iter().find(|run| run.allocation == allocation).expect("it runs")
}

fn gives_way(world: &Snapshot, allocation: AllocationId, favoured: &Waiting) {
    let run = running(world, allocation);
    let policy = world.pools[&favoured.pool];
    assert!(policy.preemption && policy.order == Order::Priority);
    assert!(run.can_resume && !run.ending && run.priority > favoured.priority, "{run:?} for {favoured:?}");
}

/// What is given is there, free, in the right pool, and all that was asked for; once.
fn slots_are_free(world: &Snapshot, placed: &[(&Waiting, &[Part])]) {
    let machines: HashMap<&AgentId, &Machine> =
        world.machines.iter().map(|machine| (&machine.id, machine)).collect();
    let parts = world.running.iter().flat_map(|run| &run.on);
    let mut used: HashSet<(&AgentId, u32)> =
        parts.flat_map(|part| part.slots.iter().map(|slot| (&part.agent, *slot))).collect();
    for (run, on) in placed {
        let sizes: Vec<usize> = on.iter().map(|part| part.slots.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), run.slots as usize, "all or nothing");
        assert!(sizes.windows(2).all(|two| two[0] == two[1]), "equal parts: {sizes:?}");
        assert!(on.len() == 1 || run.span == Span::Several);
        for part in *on {
            let machine = machines[&part.agent];
            assert!(machine.service == Service::Open && machine.pool == run.pool);
            assert!(run.needs.beyond(machine.can).is_empty(), "{run:?} on {machine:?}");
            for slot in &part.slots {
                assert!(machine.slots.contains(slot));
                assert!(used.insert((&part.agent, *slot)), "slot {slot} of {} is given twice", part.agent);
            }
        }
    }
}

fn bounds_hold(world: &Snapshot, placed: &[(&Waiting, &[Part])]) {
    let mut jobs: HashMap<JobId, u32> = HashMap::new();
    let mut users: HashMap<UserId, u32> = HashMap::new();
    let mut workspaces: HashMap<WorkspaceId, u32> = HashMap::new();
    for run in &world.running {
        let slots = run.on.iter().map(|part| part.slots.len()).sum::<usize>();
        let slots = u32::try_from(slots).expect("few");
        *jobs.entry(run.job).or_default() += slots;
        *users.entry(run.owner).or_default() += slots;
        *workspaces.entry(run.workspace).or_default() += slots;
    }
    for (run, _) in placed.iter().filter(|(run, _)| run.slots > 0) {
        let of = (jobs.entry(run.job).or_default(), users.entry(run.owner).or_default());
        let ((job, user), workspace) = (of, workspaces.entry(run.workspace).or_default());
        [&mut *job, &mut *user, &mut *workspace].into_iter().for_each(|used| *used += run.slots);
        assert!(run.max_slots.is_none_or(|most| *job <= most));
        assert!(world.quotas.users.get(&run.owner).is_none_or(|most| *user <= *most));
        assert!(world.quotas.workspaces.get(&run.workspace).is_none_or(|most| *workspace <= *most));
    }
}

/// What identical runs are: whoever of two was there first doesn't wait for the agents that the other one got.
type Like = (String, UserId, u32, bool, u32, Capabilities, i64);

/// In a pool that goes by priority, of two that want the same the first one has it.
fn nobody_is_passed_by_his_like(
    world: &Snapshot,
    waiting: &HashMap<AllocationId, &Waiting>,
    decisions: &[Decision],
) {
    let by_priority = |run: &Waiting| {
        world.pools.get(&run.pool).is_some_and(|policy| policy.order == Order::Priority)
            && run.at_most.is_none()
    };
    let like = |run: &Waiting| -> Like {
        let several = run.span == Span::Several;
        (run.pool.to_string(), run.owner, run.identity.uid, several, run.slots, run.needs, run.priority)
    };
    let mut first_left: HashMap<Like, i64> = HashMap::new();
    for decision in decisions {
        if let Decision::Wait { allocation, why: Why::Slots { .. }, .. } = decision
            && by_priority(waiting[allocation])
        {
            let run = waiting[allocation];
            let first = first_left.entry(like(run)).or_insert(run.seq);
            *first = run.seq.min(*first);
        }
    }
    for decision in decisions {
        if let Decision::Place { allocation, .. } = decision
            && by_priority(waiting[allocation])
        {
            let run = waiting[allocation];
            let passed = first_left.get(&like(run)).is_some_and(|first| *first < run.seq);
            assert!(!passed, "{run:?} passed one that wants the same");
        }
    }
}
