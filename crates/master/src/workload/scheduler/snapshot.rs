//! The memory as the scheduler's decisions see it (`domain::scheduler`), in the pools of the configuration.

use domain::id::{AgentId, JobId};
use domain::scheduler::{Machine, Running, Service, Snapshot};
use domain::time::Timestamp;

use super::tasks::Limits;
use super::{Connected, Live, State};
use crate::Config;

/// How long runs may take.
pub(super) fn limits(config: &Config) -> Limits {
    config.pools().iter().filter_map(|pool| Some((pool.name(), pool.at_most()?))).collect()
}

/// All that is decided on, but for why somebody may not start and what accounts may have.
pub(super) fn snapshot(state: &mut State, config: &Config, now: Timestamp) -> Snapshot {
    let pools = config.pools();
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
    let machines = state.connected.iter().filter_map(machine).collect();
    let is_away = |(id, agent): &(&AgentId, &store::agent::Agent)| {
        agent.revoked_at.is_none() && !state.connected.contains_key(id)
    };
    let absent = state.service.iter().filter(is_away).map(|(id, _)| config.pool_of(id)).collect();
    let limits = state.tasks.limits().clone();
    Snapshot {
        now,
        pools: pools.iter().map(|pool| (pool.name(), pool.policy())).collect(),
        machines,
        absent,
        waiting: state.tasks.waiting(),
        running: state.tasks.busy().filter_map(|live| running(live, &limits, now)).collect(),
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
