//! One rule each, on small worlds. Large ones by chance are in `tests/scheduler.rs`.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::agent::Power;
use crate::capability::{Capabilities, Capability};
use crate::id::{AgentId, AllocationId, JobId, TaskId, UserId, WorkspaceId};
use crate::identity::UnixIdentity;
use crate::time::Timestamp;

const PRIORITY: Policy = Policy { order: Order::Priority, preemption: false };

fn allocation(n: u128) -> AllocationId {
    AllocationId::first(TaskId(Uuid::from_u128(n)))
}

fn waiting(n: u128, slots: u32, priority: i64) -> Waiting {
    Waiting {
        allocation: allocation(n),
        job: JobId(Uuid::from_u128(n)),
        pool: ResourcePool::default(),
        owner: UserId(1),
        workspace: WorkspaceId(1),
        identity: UnixIdentity::root().into(),
        needs: Capabilities::NONE,
        slots,
        span: Span::One,
        priority,
        weight: Weight::ONE,
        seq: i64::try_from(n).expect("small"),
        max_slots: None,
        at_most: None,
    }
}

fn machine(name: &str, slots: u32) -> Machine {
    Machine {
        id: agent(name),
        pool: ResourcePool::default(),
        service: Service::Open,
        slots: (0..slots).collect(),
        power: Power::Root,
        can: Capabilities::UNNAMED,
    }
}

fn agent(name: &str) -> AgentId {
    name.parse().expect("valid")
}

fn running(n: u128, name: &str, slots: impl IntoIterator<Item = u32>, owner: i64) -> Running {
    Running {
        allocation: allocation(n),
        job: JobId(Uuid::from_u128(n)),
        owner: UserId(owner),
        workspace: WorkspaceId(1),
        pool: ResourcePool::default(),
        on: vec![Part { agent: agent(name), slots: slots.into_iter().collect() }],
        priority: 42,
        seq: i64::try_from(n).expect("small"),
        can_resume: false,
        ending: false,
        ends_by: None,
    }
}

fn world(waiting: Vec<Waiting>, machines: Vec<Machine>, running: Vec<Running>) -> Snapshot {
    let pools = [(ResourcePool::default(), PRIORITY)].into();
    let waiting = waiting.into_iter().map(Arc::new).collect();
    Snapshot { pools, machines, waiting, running, ..Snapshot::default() }
}

fn placed(decisions: &[Decision]) -> Vec<(u128, Vec<u32>)> {
    let place = |d: &Decision| match d {
        Decision::Place { allocation, on } => {
            Some((allocation.task.0.as_u128(), on.iter().flat_map(|part| part.slots.clone()).collect()))
        }
        _ => None,
    };
    decisions.iter().filter_map(place).collect()
}

/// Why each waits, with how many before it.
fn reasons(decisions: &[Decision]) -> Vec<(u128, String, usize)> {
    let wait = |d: &Decision| match d {
        Decision::Wait { allocation, why, ahead } => {
            Some((allocation.task.0.as_u128(), why.to_string(), *ahead))
        }
        _ => None,
    };
    decisions.iter().filter_map(wait).collect()
}

#[test]
fn age_then_slots_and_priority_first() {
    let queue = vec![waiting(1, 1, 42), waiting(2, 1, 42), waiting(3, 1, 10)];
    let decisions = schedule(&world(queue, vec![machine("a", 2)], vec![]));
    assert_eq!(placed(&decisions), [(3, vec![0]), (1, vec![1])]);
    assert_eq!(reasons(&decisions), [(2, "it waits for 1 slot: 2 of 2 are in use".to_owned(), 0)]);
}

#[test]
fn a_large_run_is_not_starved() {
    let queue = vec![waiting(1, 4, 42), waiting(2, 1, 42), waiting(3, 0, 42)];
    let decisions = schedule(&world(queue, vec![machine("a", 4)], vec![running(9, "a", [0], 1)]));
    assert_eq!(placed(&decisions), [(3, vec![])], "only the one without slots passes");
    let told = reasons(&decisions);
    let ahead: Vec<_> = told.iter().map(|(n, _, ahead)| (*n, *ahead)).collect();
    assert_eq!(ahead, [(1, 0), (2, 1)]);
    // MC3: who waits beside free slots is told why.
    assert_eq!(told[0].1, "it waits for 4 slots on one agent: 1 of 4 are in use");
    let kept = "it waits for 1 slot: 1 of 4 are in use, and 3 kept for a larger task before it";
    assert_eq!(told[1].1, kept);
}

#[test]
fn what_is_not_kept_is_used_and_what_is_kept_only_by_who_is_over_in_time() {
    let machines = || vec![machine("a", 4), machine("b", 4)];
    let mut long = running(8, "a", [0, 1], 1);
    let mut short = running(9, "b", [0, 1], 1);
    (long.ends_by, short.ends_by) = (Some(Timestamp(9_000_000)), Some(Timestamp(5_000_000)));
    let small =
        |n, at_most: Option<u64>| Waiting { at_most: at_most.map(Duration::from_secs), ..waiting(n, 2, 42) };
    let queue = vec![waiting(1, 4, 42), small(2, None), small(3, None), small(4, Some(6)), small(5, Some(5))];
    let decisions = schedule(&world(queue, machines(), vec![long, short]));
    // "b" is kept, for it is free first.
    let on = |n: u128| {
        decisions.iter().find_map(|d| match d {
            Decision::Place { allocation, on } if *allocation == self::allocation(n) => {
                Some(on.iter().map(|part| part.agent.as_str()).collect::<Vec<_>>())
            }
            _ => None,
        })
    };
    assert_eq!([1, 2, 3, 4, 5].map(on), [None, Some(vec!["a"]), None, None, Some(vec!["b"])]);
}

#[test]
fn a_gang_takes_equal_parts_of_as_few_agents_as_can_be_or_nothing() {
    let gang = |n, slots| Waiting { span: Span::Several, ..waiting(n, slots, 42) };
    let machines = || vec![machine("a", 4), machine("b", 4), machine("c", 4)];
    let decisions = schedule(&world(vec![gang(1, 8)], machines(), vec![]));
    let Some(Decision::Place { on, .. }) = decisions.first() else { panic!("{decisions:?}") };
    assert_eq!(
        on.iter().map(|part| (part.agent.as_str(), part.slots.len())).collect::<Vec<_>>(),
        [("a", 4), ("b", 4)]
    );
    // One that fits on one agent is on one.
    let decisions = schedule(&world(vec![gang(1, 3)], machines(), vec![]));
    assert!(matches!(&decisions[..], [Decision::Place { on, .. }] if on.len() == 1));
    // Nothing in part; and what it will have is kept.
    let busy = vec![running(8, "a", [0], 1), running(9, "b", [0], 1)];
    let decisions =
        schedule(&world(vec![gang(1, 8), waiting(2, 3, 42), waiting(3, 3, 42)], machines(), busy));
    assert_eq!(placed(&decisions), [(2, vec![1, 2, 3])]);
    assert_eq!(reasons(&decisions)[0].1, "it waits for 8 slots: 2 of 12 are in use");
    // What can't be divided is never given.
    let decisions = schedule(&world(vec![gang(1, 7), gang(2, 13)], machines(), vec![]));
    let said: Vec<_> = reasons(&decisions).into_iter().map(|(_, why, _)| why).collect();
    assert!(said.iter().all(|why| why.contains("in equal parts")), "{said:?}");
}

#[test]
fn what_is_more_urgent_ends_only_what_can_go_on_later() {
    let mut snapshot = world(vec![waiting(1, 2, 10)], vec![machine("a", 4)], vec![]);
    let run = |n, slots: [u32; 1], priority, can_resume| Running {
        priority,
        can_resume,
        ..running(n, "a", slots, 2)
    };
    snapshot.running =
        vec![run(5, [0], 50, true), run(6, [1], 90, false), run(7, [2], 60, true), run(8, [3], 60, true)];
    let preempted = |snapshot: &Snapshot| {
        let decisions = schedule(snapshot);
        let of = |d: &Decision| match d {
            Decision::Preempt { allocation, favoured } => {
                assert_eq!(*favoured, self::allocation(1));
                Some(allocation.task.0.as_u128())
            }
            _ => None,
        };
        (decisions.iter().filter_map(of).collect::<Vec<_>>(), reasons(&decisions))
    };
    assert_eq!(preempted(&snapshot).0, Vec::<u128>::new(), "not where the pool doesn't allow it");
    let policy = Policy { preemption: true, ..PRIORITY };
    snapshot.pools = [(ResourcePool::default(), policy)].into();
    let (gone, why) = preempted(&snapshot);
    assert_eq!(gone, [7, 8], "the least urgent, never a command");
    assert_eq!(why[0].1, "it waits for less urgent runs to give way: 2");
    // They are asked once.
    for run in &mut snapshot.running[2..] {
        run.ending = true;
    }
    assert_eq!(preempted(&snapshot).0, Vec::<u128>::new());
    // Who can't be given enough ends nobody.
    snapshot.running.iter_mut().for_each(|run| run.ending = false);
    Arc::make_mut(&mut snapshot.waiting[0]).slots = 4;
    assert_eq!(preempted(&snapshot).0, Vec::<u128>::new());
    // Nor does who isn't more urgent.
    let first = Arc::make_mut(&mut snapshot.waiting[0]);
    (first.slots, first.priority) = (1, 60);
    assert_eq!(preempted(&snapshot).0, Vec::<u128>::new());
}

#[test]
fn by_fair_share_who_has_least_for_his_weight_comes_first() {
    let of = |n: u128, owner: i64| Waiting { owner: UserId(owner), ..waiting(n, 1, 42) };
    let queue: Vec<_> = (1..=8).map(|n| of(n, 1)).chain((11..=18).map(|n| of(n, 2))).collect();
    let mut snapshot = world(queue, vec![machine("a", 6)], vec![]);
    let policy = Policy { order: Order::FairShare, preemption: false };
    snapshot.pools = [(ResourcePool::default(), policy)].into();
    let runs =
        |snapshot: &Snapshot| placed(&schedule(snapshot)).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    assert_eq!(runs(&snapshot), [1, 11, 2, 12, 3, 13]);
    snapshot.quotas.weights = [(UserId(2), Weight::new(2.0))].into();
    let of_two = runs(&snapshot).into_iter().filter(|n| *n > 10).count();
    assert_eq!(of_two, 4, "twice as much");
    // What runs counts; and a job's weight counts among its owner's alone.
    snapshot.quotas.weights.clear();
    snapshot.machines[0].slots = (0..8).collect();
    snapshot.running = vec![running(99, "a", [0, 1], 1)];
    Arc::make_mut(&mut snapshot.waiting[7]).weight = Weight::new(1000.0);
    assert_eq!(runs(&snapshot), [11, 12, 1, 13, 2, 14]);
}

#[test]
fn bounds_of_jobs_users_and_workspaces_keep_nobody_else_waiting() {
    let job = |n: u128, owner: i64, slots| Waiting {
        job: JobId(Uuid::from_u128(100)),
        owner: UserId(owner),
        max_slots: Some(3),
        ..waiting(n, slots, 42)
    };
    let mut snapshot =
        world(vec![job(1, 1, 2), job(2, 1, 2), waiting(3, 1, 42)], vec![machine("a", 8)], vec![]);
    let decisions = schedule(&snapshot);
    assert_eq!(placed(&decisions), [(1, vec![0, 1]), (3, vec![2])]);
    assert_eq!(reasons(&decisions)[0].1, "its job may have no more slots: 2 of 3 are in use, and it needs 2");
    snapshot.waiting =
        [waiting(1, 2, 42), waiting(2, 0, 42), Waiting { owner: UserId(2), ..waiting(3, 2, 42) }]
            .map(Arc::new)
            .into();
    snapshot.quotas.users = [(UserId(1), 1)].into();
    let decisions = schedule(&snapshot);
    assert_eq!(placed(&decisions), [(2, vec![]), (3, vec![0, 1])]);
    assert!(reasons(&decisions)[0].1.starts_with("its owner may have no more slots: 0 of 1"));
    snapshot.quotas.users.clear();
    snapshot.quotas.workspaces = [(WorkspaceId(1), 3)].into();
    let decisions = schedule(&snapshot);
    assert_eq!(placed(&decisions).len(), 2);
    assert!(reasons(&decisions)[0].1.starts_with("its workspace may have no more slots: 2 of 3"));
}

#[test]
fn elsewhere_bounds_and_order_are_ours_and_the_place_is_not() {
    let busy = running(8, "a", [0, 1], 2);
    let pool: ResourcePool = "batch".parse().expect("valid");
    let mut snapshot = world(
        vec![waiting(1, 4, 42), waiting(2, 4, 42), waiting(3, 1, 7), waiting(4, 1, 42)],
        vec![machine("a", 2)],
        vec![Running { pool: pool.clone(), ..busy }],
    );
    snapshot.waiting[..3].iter_mut().for_each(|run| Arc::make_mut(run).pool = pool.clone());
    snapshot.pools.insert(pool.clone(), PRIORITY);
    snapshot.elsewhere = [pool.clone()].into();
    snapshot.quotas.users = [(UserId(1), 6)].into();
    let mut round = Round::new(&snapshot);
    let (offered, decisions) = round.offer(&pool);
    let offered: Vec<_> = offered.iter().map(|it| (it.run.allocation, it.ahead)).collect();
    assert_eq!(offered, [(allocation(3), 0), (allocation(1), 1)], "by priority, and no machine is asked");
    let told = "its owner may have no more slots: 5 of 6 are in use, and it needs 4";
    assert_eq!(reasons(&decisions), [(2, told.to_owned(), 2)]);
    assert_eq!(round.running(&pool).map(|run| run.allocation).collect::<Vec<_>>(), [allocation(8)]);
    // Its node is called as an agent is, whose slots are all free; and what was offered counts here, too.
    assert_eq!(placed(&round.place(&ResourcePool::default())), [(4, vec![0])]);
    snapshot.quotas.users = [(UserId(1), 5)].into();
    let mut round = Round::new(&snapshot);
    assert_eq!(round.offer(&pool).0.len(), 2);
    assert!(reasons(&round.place(&ResourcePool::default()))[0].1.starts_with("its owner may have no more"));
    assert!(round.offer(&pool).0.is_empty(), "each is decided once");
}

#[test]
fn what_has_had_its_time_is_over() {
    let mut late = running(8, "a", [0], 1);
    late.ends_by = Some(Timestamp(7));
    let mut snapshot = world(vec![], vec![machine("a", 1)], vec![late]);
    (snapshot.now, snapshot.running[0].ending) = (Timestamp(6), false);
    assert_eq!(schedule(&snapshot), []);
    snapshot.now = Timestamp(7);
    assert_eq!(schedule(&snapshot), [Decision::Expire { allocation: allocation(8) }]);
    snapshot.running[0].ending = true;
    assert_eq!(schedule(&snapshot), []);
}

#[test]
fn a12_one_account_leaves_others_places_for_tasks_without_slots() {
    let of = |n: u128, owner: i64| Waiting { owner: UserId(owner), ..waiting(n, 0, 42) };
    // One account wants more than there is, and was there first.
    let queue: Vec<_> = (0..300).map(|n| of(n, 1)).chain((300..303).map(|n| of(n, 2))).collect();
    let mut far = machine("far", 0);
    far.service = Service::Disabled;
    let decisions = schedule(&world(queue.clone(), vec![machine("a", 2), far], vec![]));
    let runs: Vec<_> = placed(&decisions).into_iter().map(|(n, _)| n).collect();
    assert_eq!(runs, (0..75).chain(300..303).collect::<Vec<_>>());
    let said = reasons(&decisions);
    assert!(said[0].1.starts_with("its owner already runs 75 tasks without slots"), "{said:?}");
    // What runs already counts, on each agent by itself.
    let busy: Vec<_> = (1000..1075).map(|n| running(n, "a", [], 1)).collect();
    let decisions = schedule(&world(queue, vec![machine("a", 2), machine("b", 2)], busy));
    let on_a = |d: &&Decision| matches!(d, Decision::Place { on, .. } if on[0].agent.as_str() == "a");
    assert_eq!(placed(&decisions).len(), 78);
    assert_eq!(decisions.iter().filter(on_a).count(), 2, "others' alone");
    // An agent that is full says so to everybody.
    let full = (0..100).map(|n| running(1000 + n, "a", [], i64::try_from(n % 4).expect("small"))).collect();
    let decisions = schedule(&world(vec![of(1, 1), of(2, 9)], vec![machine("a", 2)], full));
    for (_, reason, _) in reasons(&decisions) {
        assert_eq!(reason, "every agent already runs 100 tasks without slots");
    }
    assert_eq!(reasons(&decisions).len(), 2);
}

#[test]
fn a14_what_a_deactivated_owner_queued_waits_and_holds_nobody_up() {
    let mut world = world(vec![waiting(1, 2, 1), waiting(2, 2, 42)], vec![machine("a", 2)], vec![]);
    world.held.insert(allocation(1), OWNER_DEACTIVATED.to_owned());
    let decisions = schedule(&world);
    assert_eq!(placed(&decisions), [(2, vec![0, 1])]);
    assert_eq!(reasons(&decisions), [(1, OWNER_DEACTIVATED.to_owned(), 0)]);
}

#[test]
fn what_can_not_be_given_is_refused_or_waits() {
    let mut laptop = machine("laptop", 1);
    laptop.power = Power::Unprivileged { uid: 1000, gid: 1000, shared: false };
    let mut alone = world(vec![waiting(1, 1, 42)], vec![laptop.clone()], vec![]);
    let decisions = schedule(&alone);
    assert!(matches!(&decisions[0], Decision::Refuse { reason, .. } if reason.contains("without root")));
    // MM4: what is so for the moment ends nothing.
    let waits = "it waits for other agents of its pool, that aren't connected or take no tasks: ";
    let drained = Machine { service: Service::Draining, ..machine("a", 1) };
    let decisions = schedule(&world(vec![waiting(1, 1, 42)], vec![laptop, drained], vec![]));
    assert!(reasons(&decisions)[0].1.starts_with(waits), "{decisions:?}");
    alone.absent = [alone.waiting[0].pool.clone()].into();
    let decisions = schedule(&alone);
    assert!(reasons(&decisions)[0].1.starts_with(waits), "{decisions:?}");
    let decisions = schedule(&world(vec![waiting(1, 1, 42)], vec![], vec![]));
    assert_eq!(reasons(&decisions)[0].1, "no agent is connected");
    let shut = |name, service| Machine { service, ..machine(name, 1) };
    let shut = vec![shut("a", Service::Disabled), shut("b", Service::Draining), shut("c", Service::Disabled)];
    let decisions = schedule(&world(vec![waiting(1, 1, 42)], shut, vec![]));
    assert_eq!(
        reasons(&decisions)[0].1,
        "the connected agents take no tasks until an administrator enables one (muster agent enable NAME): 2 disabled, \
         1 draining"
    );
    let hook = Capabilities::of(&[Capability::StartupHook, Capability::ShmSize]);
    let hooked = Waiting { needs: hook, ..waiting(1, 1, 42) };
    let decisions = schedule(&world(vec![hooked.clone()], vec![machine("a", 1)], vec![]));
    assert_eq!(
        reasons(&decisions)[0].1,
        "no connected agent can do all that it needs: agent a can't do startup_hook; with the master's version of Muster \
         there it may"
    );
    let newer = Machine { can: Capabilities::ALL, ..machine("b", 1) };
    let decisions = schedule(&world(vec![hooked], vec![machine("a", 1), newer], vec![]));
    assert!(
        matches!(&decisions[0], Decision::Place { on, .. } if on[0].agent == agent("b")),
        "{decisions:?}"
    );
    let mut two_pools = world(vec![waiting(1, 1, 42)], vec![machine("a", 1)], vec![]);
    two_pools.machines[0].pool = "gpu".parse().expect("valid");
    // ME3
    assert_eq!(
        reasons(&schedule(&two_pools))[0].1,
        "resource pool default has no connected agent; other pools have (muster agent list)"
    );
    let elsewhere = Waiting { pool: "gpu".parse().expect("valid"), ..waiting(1, 1, 42) };
    let decisions = schedule(&world(vec![elsewhere], vec![machine("a", 1)], vec![]));
    assert_eq!(reasons(&decisions)[0].1, "there is no resource pool gpu");
    let decisions = schedule(&world(vec![waiting(1, 3, 42)], vec![machine("a", 2)], vec![]));
    assert_eq!(reasons(&decisions)[0].1, "it needs 3 slots on one agent; the largest connected one has 2");
}
