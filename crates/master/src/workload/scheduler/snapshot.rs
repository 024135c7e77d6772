//! The memory as the scheduler's decisions see it (`domain::scheduler`): one pool, by priority.

use domain::id::{AgentId, JobId, ResourcePool};
use domain::scheduler::{Machine, Order, Part, Policy, Quotas, Running, Snapshot, Span, Waiting, Weight};
use domain::task::{State as TaskState, Task};
use domain::time::Timestamp;

use super::{Connected, Live, State};

/// All that is decided on, but for why somebody may not start.
pub(super) fn snapshot(state: &State, now: Timestamp) -> Snapshot {
    let tasks = || state.tasks.values().map(|live| &live.task);
    let policy = Policy { order: Order::Priority, preemption: false };
    let machine = |(id, connected): (&AgentId, &Connected)| {
        let service = state.service.get(id)?;
        let slots = connected.about.devices.iter().map(|device| device.id);
        Some(Machine {
            id: id.clone(),
            pool: ResourcePool::default(),
            open: service.enabled && !service.draining,
            slots: slots.filter(|slot| !service.disabled_slots.contains(slot)).collect(),
            power: connected.about.power,
        })
    };
    Snapshot {
        now,
        pools: [(ResourcePool::default(), policy)].into(),
        machines: state.connected.iter().filter_map(machine).collect(),
        waiting: state.tasks.values().filter_map(waiting).collect(),
        running: tasks().filter_map(running).collect(),
        quotas: Quotas::default(),
        default_user: None,
    }
}

fn waiting(live: &Live) -> Option<Waiting> {
    let task = &live.task;
    let is_going = task.kill_requested || live.is_over.is_some();
    (task.state == TaskState::Queued && task.agent.is_none() && !is_going).then(|| Waiting {
        allocation: task.allocation,
        job: JobId(task.id.0),
        pool: ResourcePool::default(),
        owner: task.owner,
        workspace: task.workspace,
        identity: task.identity.clone(),
        slots: task.slots,
        span: Span::One,
        priority: task.priority,
        weight: Weight::ONE,
        seq: task.seq,
        max_slots: None,
        at_most: None,
        held: None,
    })
}

fn running(task: &Task) -> Option<Running> {
    let agent = task.agent.clone()?;
    Some(Running {
        allocation: task.allocation,
        job: JobId(task.id.0),
        owner: task.owner,
        workspace: task.workspace,
        on: vec![Part { agent, slots: task.slot_ids.clone() }],
        priority: task.priority,
        seq: task.seq,
        can_resume: false,
        ending: task.kill_requested,
        ends_by: None,
    })
}
