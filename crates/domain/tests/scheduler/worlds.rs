//! Small worlds of any kind.

use std::time::Duration;

use domain::agent::Power;
use domain::capability::{Capabilities, Capability};
use domain::hash::IdMap;
use domain::id::{AgentId, AllocationId, JobId, ResourcePool, TaskId, UserId, WorkspaceId};
use domain::identity::UnixIdentity;
use domain::scheduler::{
    Machine, Order, Part, Policy, Quotas, Running, Service, Snapshot, Span, Waiting, Weight, schedule,
};
use domain::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::rules;

const HOOK: Capabilities = Capabilities::of(&[Capability::StartupHook]);

fn allocation(n: usize) -> AllocationId {
    AllocationId::first(TaskId(Uuid::from_u128(n as u128)))
}

fn pool(second: bool) -> ResourcePool {
    if second { "second".parse().expect("valid") } else { ResourcePool::default() }
}

fn waiting() -> impl Strategy<Value = Waiting> {
    let whose = (0..6u128, any::<bool>(), 1..4i64, 1..3i64);
    let what = (0..10u32, any::<bool>(), 40..44i64, 1..5u32);
    let bounds = (proptest::option::of(1..6u32), proptest::option::of(1..20u64));
    (whose, what, bounds).prop_map(
        |((job, second, owner, workspace), (slots, several, priority, weight), bounds)| Waiting {
            allocation: allocation(0),
            job: JobId(Uuid::from_u128(job)),
            pool: pool(second),
            owner: UserId(owner),
            workspace: WorkspaceId(workspace),
            identity: UnixIdentity::root().into(),
            needs: if priority == 43 { HOOK } else { Capabilities::NONE },
            slots,
            span: if several { Span::Several } else { Span::One },
            priority,
            weight: Weight::new(f64::from(weight)),
            seq: 0,
            max_slots: bounds.0,
            at_most: bounds.1.map(Duration::from_secs),
        },
    )
}

fn machine() -> impl Strategy<Value = (u32, bool, bool, Power)> {
    let laptop = Power::Unprivileged { uid: 1000, gid: 1000, shared: false };
    (
        0..6u32,
        prop::bool::weighted(0.9),
        any::<bool>(),
        prop_oneof![4 => Just(Power::Root), 1 => Just(laptop)],
    )
}

/// Whether a slot is taken, by which of the runs, and what those are.
type Taken = (usize, i64, bool, bool, Option<i64>);

fn world() -> impl Strategy<Value = Snapshot> {
    let policy = (any::<bool>(), any::<bool>()).prop_map(|(fair, preemption)| Policy {
        order: if fair { Order::FairShare } else { Order::Priority },
        preemption,
    });
    let taken =
        (0..8usize, 40..46i64, any::<bool>(), prop::bool::weighted(0.2), proptest::option::of(-5..20i64));
    let quotas = (proptest::option::of(0..8u32), proptest::option::of(0..8u32), any::<bool>());
    (vec((waiting(), any::<bool>()), 0..20), vec(machine(), 0..6), vec(policy, 2), vec(taken, 0..20), quotas)
        .prop_map(|(mut waiting, machines, policies, taken, quotas)| {
            let mut held = IdMap::default();
            for (n, (run, is_held)) in waiting.iter_mut().enumerate() {
                (run.allocation, run.seq) = (allocation(n), i64::try_from(n).expect("few"));
                if *is_held && run.slots == 3 {
                    held.insert(run.allocation, "it is held".to_owned());
                }
            }
            let machines: Vec<Machine> = machines
                .into_iter()
                .enumerate()
                .map(|(n, (slots, open, second, power))| Machine {
                    id: format!("agent{n}").parse().expect("valid"),
                    pool: pool(second),
                    service: if open { Service::Open } else { Service::Draining },
                    slots: (0..slots).collect(),
                    power,
                    can: if n % 3 == 0 { Capabilities::UNNAMED } else { Capabilities::ALL },
                })
                .collect();
            let running = running(&machines, taken);
            Snapshot {
                now: Timestamp(0),
                pools: [false, true].map(pool).into_iter().zip(policies).collect(),
                machines,
                absent: quotas.2.then(|| pool(true)).into_iter().collect(),
                waiting: waiting.into_iter().map(|(run, _)| run.into()).collect(),
                held,
                running,
                quotas: Quotas {
                    users: quotas.0.map(|most| (UserId(1), most)).into_iter().collect(),
                    workspaces: quotas.1.map(|most| (WorkspaceId(1), most)).into_iter().collect(),
                    weights: [(UserId(2), Weight::new(3.0))].into(),
                },
                default_user: Some(UserId(1)),
                elsewhere: [].into(),
            }
        })
}

fn running(machines: &[Machine], taken: Vec<Taken>) -> Vec<Running> {
    let mut free: Vec<(AgentId, u32)> = machines
        .iter()
        .flat_map(|machine| machine.slots.iter().map(|slot| (machine.id.clone(), *slot)))
        .collect();
    let run = |(n, (at, priority, can_resume, ending, ends_by)): (usize, Taken)| {
        let (agent, slot) = (!free.is_empty()).then(|| free.swap_remove(at % free.len()))?;
        Some(Running {
            allocation: allocation(1000 + n),
            job: JobId(Uuid::from_u128(n as u128 % 6)),
            owner: UserId(1 + i64::try_from(n % 3).expect("few")),
            workspace: WorkspaceId(1),
            pool: ResourcePool::default(),
            on: vec![Part { agent, slots: vec![slot] }],
            priority,
            seq: i64::try_from(n).expect("few"),
            can_resume,
            ending,
            ends_by: ends_by.map(|seconds| Timestamp(seconds * 1_000_000)),
        })
    };
    taken.into_iter().enumerate().filter_map(run).collect()
}

proptest! {
    #[test]
    fn every_round_keeps_the_rules(world in world()) {
        let decisions = schedule(&world);
        rules::check(&world, &decisions);
        prop_assert_eq!(decisions, schedule(&world), "the same world, the same decisions");
    }

    #[test]
    fn what_is_free_is_not_left_to_nobody(mut world in world(), hook in any::<bool>()) {
        // One run that asks for one slot, with no bounds: it waits only if there is none.
        let needs = if hook { HOOK } else { Capabilities::NONE };
        let first = Waiting {
            allocation: allocation(500),
            job: JobId(Uuid::from_u128(500)),
            pool: ResourcePool::default(),
            owner: UserId(9),
            workspace: WorkspaceId(9),
            identity: UnixIdentity::root().into(),
            needs,
            slots: 1,
            span: Span::One,
            priority: 1,
            weight: Weight::ONE,
            seq: 0,
            max_slots: None,
            at_most: None,
        };
        world.waiting = vec![first.into()];
        world.held.clear();
        let taken = |id: &AgentId, slot: u32| {
            let parts = world.running.iter().flat_map(|run| &run.on);
            parts.filter(|part| part.agent == *id).any(|part| part.slots.contains(&slot))
        };
        let is_able = |machine: &&Machine| {
            let can = machine.power == Power::Root && needs.beyond(machine.can).is_empty();
            machine.service == Service::Open && machine.pool == ResourcePool::default() && can
        };
        let free = world
            .machines
            .iter()
            .filter(is_able)
            .any(|machine| machine.slots.iter().any(|slot| !taken(&machine.id, *slot)));
        let decisions = schedule(&world);
        let placed = decisions.iter().any(|d| matches!(d, domain::scheduler::Decision::Place { .. }));
        prop_assert_eq!(placed, free, "{:?}", decisions);
    }
}
