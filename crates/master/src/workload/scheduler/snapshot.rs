//! The memory as the scheduler's decisions see it (`domain::scheduler`), in the pools of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::allocation::Phase;
use domain::capability::Capabilities;
use domain::id::{AgentId, JobId, ResourcePool};
use domain::scheduler::{Machine, Running, Service, Snapshot, Span, Waiting};
use domain::time::Timestamp;

use super::{Connected, Live, State};
use crate::Config;

/// All that is decided on, but for why somebody may not start and what accounts may have.
pub(super) fn snapshot(state: &State, config: &Config, now: Timestamp) -> Snapshot {
    let pools = config.pools();
    let limits: Limits = pools.iter().filter_map(|pool| Some((pool.name(), pool.at_most()?))).collect();
    let machine = |(id, connected): (&AgentId, &Connected)| {
        let service = state.service.get(id)?;
        let slots = connected.about.devices.iter().map(|device| device.id);
        Some(Machine {
            id: id.clone(),
            pool: config.pool_of(id),
            service: in_service(service),
            slots: slots.filter(|slot| !service.disabled_slots.contains(slot)).collect(),
            power: connected.about.power,
            can: connected.about.can,
        })
    };
    let (mut wait, mut run) = (Vec::new(), Vec::new());
    for live in state.tasks.values() {
        match waiting(live, &limits) {
            Some(waiting) => wait.push(waiting),
            None => run.extend(running(live, &limits, now)),
        }
    }
    Snapshot {
        now,
        pools: pools.iter().map(|pool| (pool.name(), pool.policy())).collect(),
        machines: state.connected.iter().filter_map(machine).collect(),
        waiting: wait,
        running: run,
        ..Snapshot::default()
    }
}

fn in_service(agent: &store::agent::Agent) -> Service {
    match (agent.draining, agent.enabled) {
        (true, _) => Service::Draining,
        (false, true) => Service::Open,
        (false, false) => Service::Disabled,
    }
}

/// How long runs may take, by pool.
type Limits = BTreeMap<ResourcePool, Duration>;

fn waiting(live: &Live, limits: &Limits) -> Option<Waiting> {
    let task = &live.task;
    (*live.phase() == Phase::Waiting && live.is_over.is_none()).then(|| Waiting {
        allocation: task.latest.id,
        job: JobId(task.id.0),
        pool: task.pool.clone(),
        owner: task.owner,
        workspace: task.workspace,
        identity: Arc::clone(&live.identity),
        // Until it is known: a task's configuration is in the database.
        needs: Capabilities::default(),
        slots: task.slots,
        span: if task.kind.about().spans { Span::Several } else { Span::One },
        priority: task.priority,
        weight: task.weight,
        seq: task.seq,
        max_slots: task.max_slots,
        at_most: limits.get(&task.pool).copied(),
        held: None,
    })
}

fn running(live: &Live, limits: &Limits, now: Timestamp) -> Option<Running> {
    let task = &live.task;
    let left = live.has_run().zip(limits.get(&task.pool)).map(|(ran, limit)| limit.saturating_sub(ran));
    let phase = &task.latest.phase;
    let on = phase.placement().filter(|_| !phase.is_over())?;
    Some(Running {
        allocation: task.latest.id,
        job: JobId(task.id.0),
        owner: task.owner,
        workspace: task.workspace,
        pool: task.pool.clone(),
        on: on.clone().into(),
        priority: task.priority,
        seq: task.seq,
        can_resume: task.kind.resumes(),
        ending: live.is_ending(),
        ends_by: left.map(|left| now.plus(left)),
    })
}
