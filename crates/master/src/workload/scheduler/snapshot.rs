//! The memory as the scheduler's decisions see it (`domain::scheduler`): one pool, by priority.

use domain::allocation::Phase;
use domain::id::{AgentId, JobId, ResourcePool};
use domain::scheduler::{Machine, Order, Policy, Quotas, Running, Snapshot, Span, Waiting};
use domain::task::Task;
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
            can: connected.about.can,
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
    (*live.phase() == Phase::Waiting && live.is_over.is_none()).then(|| Waiting {
        allocation: task.latest.id,
        job: JobId(task.id.0),
        pool: task.pool.clone(),
        owner: task.owner,
        workspace: task.workspace,
        identity: task.identity.clone(),
        // Until it is known: a task's configuration is in the database.
        needs: live.needs.unwrap_or_default(),
        slots: task.slots,
        span: if task.kind.about().spans { Span::Several } else { Span::One },
        priority: task.priority,
        weight: task.weight,
        seq: task.seq,
        max_slots: task.max_slots,
        at_most: None,
        held: None,
    })
}

fn running(task: &Task) -> Option<Running> {
    let phase = &task.latest.phase;
    let on = phase.placement().filter(|_| !phase.is_over())?;
    Some(Running {
        allocation: task.latest.id,
        job: JobId(task.id.0),
        owner: task.owner,
        workspace: task.workspace,
        on: on.clone().into(),
        priority: task.priority,
        seq: task.seq,
        can_resume: task.kind.resumes(),
        ending: phase.asked().is_some(),
        ends_by: None,
    })
}
