//! What others may know of the state: living tasks and agents as they were after the last change, and why tasks wait. Whoever
//! reads waits for no change and no database; the lock is held for as long as it takes to write or copy a few values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::agent::{Device, Power};
use domain::capability::Capabilities;
use domain::hash::IdMap;
use domain::id::{AgentId, AllocationId, ResourcePool, TaskId, UserId, WorkspaceId};
use domain::log::Output;
use domain::task::Task;
use domain::time::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::state::{Connected, Live, output_of};
use super::{At, Scheduler, State};
use crate::log::TaskLog;
use crate::manager::AGENTS;

/// A living task in short.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub owner: UserId,
    /// Where it is.
    pub workspace: WorkspaceId,
    /// It has its place.
    pub placed: bool,
    /// How many wait before it in its pool, as far as that is decided.
    pub ahead: Option<usize>,
    /// 1 to 99; a lower number is more urgent.
    pub priority: i64,
    /// The order in which tasks were made.
    pub seq: i64,
}

/// What a waiting task waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Why it doesn't run, in words.
    pub why: Arc<str>,
    /// How many wait before it in its pool.
    pub ahead: usize,
}

/// An agent, for lists.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// What is stored of it.
    pub agent: store::agent::Agent,
    /// What it told of itself, when connected.
    pub connected: Option<AgentPresence>,
    /// Its tasks with their slots.
    pub running: Vec<(Arc<Task>, Vec<u32>)>,
}

/// A connected agent.
#[derive(Debug, Clone)]
pub struct AgentPresence {
    /// Its slots.
    pub devices: Vec<Device>,
    /// What is wrong with its machine's devices, in its own words, without control characters.
    pub trouble: Option<String>,
    /// Its version.
    pub version: String,
    /// Its machine.
    pub hostname: String,
    /// When it connected.
    pub since: Timestamp,
    /// Which identities it can give.
    pub power: Power,
    /// What it can carry out.
    pub can: Capabilities,
    /// How far its clock was ahead of the master's when it came, in microseconds (B20).
    pub skew: i64,
}

impl AgentPresence {
    fn of(connected: &Connected) -> Self {
        Self {
            devices: connected.about.devices.clone(),
            trouble: connected.about.trouble.as_ref().map(ToString::to_string),
            version: connected.version.clone(),
            hostname: connected.about.hostname.to_string(),
            since: connected.since,
            power: connected.about.power,
            can: connected.about.can,
            skew: connected.skew,
        }
    }
}

#[derive(Default)]
pub(super) struct View {
    seen: RwLock<Seen>,
    /// A task ended, or something is new of an agent.
    fewer: Notify,
}

/// Why each task waits that does.
type Waits = Arc<IdMap<TaskId, Wait>>;

#[derive(Default)]
struct Seen {
    tasks: BTreeMap<TaskId, Shown>,
    agents: BTreeMap<AgentId, (Arc<store::agent::Agent>, Option<Arc<AgentPresence>>)>,
    /// Of the last round.
    waits: Waits,
}

impl Seen {
    /// Whether anything lives that isn't just on agents that are away.
    fn has_work_here(&self) -> bool {
        let is_away = |agent: &AgentId| self.agents.get(agent).is_none_or(|(_, presence)| presence.is_none());
        self.tasks.values().any(|shown| {
            let latest = &shown.task.latest;
            let mut open = latest.phase.parts().filter(|part| latest.has_open_part(&part.agent)).peekable();
            !shown.is_of_agents() || open.peek().is_none() || open.any(|part| !is_away(&part.agent))
        })
    }
}

struct Shown {
    task: Arc<Task>,
    log: Arc<TaskLog>,
    over: CancellationToken,
    manager: Arc<str>,
}

impl Shown {
    fn of(live: &Live) -> Self {
        Self {
            task: Arc::new(live.task.clone()),
            log: Arc::clone(&live.log),
            over: live.over.0.clone(),
            manager: Arc::clone(&live.manager),
        }
    }

    fn is_of_agents(&self) -> bool {
        *self.manager == *AGENTS
    }
}

impl View {
    fn read(&self) -> RwLockReadGuard<'_, Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Seen> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was touched is seen from now on as it is.
    pub(super) fn publish(&self, state: &mut State) {
        let tasks = state.tasks.take_touched();
        let mut agents = state.service.take_touched();
        agents.extend(state.connected.take_touched());
        if tasks.is_empty() && agents.is_empty() {
            return;
        }
        let tasks: Vec<_> = tasks.into_iter().map(|id| (id, state.tasks.get(&id).map(Shown::of))).collect();
        let agent = |id: AgentId| {
            let presence = state.connected.get(&id).map(|there| Arc::new(AgentPresence::of(there)));
            let agent = state.service.get(&id).map(|agent| (Arc::new(agent.clone()), presence));
            (id, agent)
        };
        let agents: Vec<_> = agents.into_iter().map(agent).collect();
        let mut has_fewer = !agents.is_empty();
        let mut seen = self.write();
        for (id, shown) in tasks {
            match shown {
                Some(shown) => drop(seen.tasks.insert(id, shown)),
                None => has_fewer |= seen.tasks.remove(&id).is_some(),
            }
        }
        for (id, shown) in agents {
            match shown {
                Some(shown) => drop(seen.agents.insert(id, shown)),
                None => drop(seen.agents.remove(&id)),
            }
        }
        drop(seen);
        if has_fewer {
            self.fewer.notify_waiters();
        }
    }

    /// Why tasks wait as of now.
    pub(super) fn set_waits(&self, waits: IdMap<TaskId, Wait>) -> Waits {
        let waits = Arc::new(waits);
        let before = std::mem::replace(&mut self.write().waits, Arc::clone(&waits));
        // Thousands are freed when nobody waits for that.
        drop(before);
        waits
    }

    /// A living task's log.
    pub(super) fn log(&self, id: TaskId) -> Option<Arc<TaskLog>> {
        self.read().tasks.get(&id).map(|shown| Arc::clone(&shown.log))
    }

    /// The log of a task whose run has a place there, and whose output comes from there.
    pub(super) fn log_at(&self, at: &At, run: AllocationId) -> Option<(Arc<TaskLog>, Output)> {
        let seen = self.read();
        let shown = seen.tasks.get(&run.task)?;
        let latest = &shown.task.latest;
        let is_there = shown.manager == at.manager && latest.id == run && latest.has_open_part(&at.node);
        is_there.then(|| (Arc::clone(&shown.log), output_of(latest, &at.node)))
    }

    /// Cancelled when a task's run is over; `None` when the task doesn't live.
    pub(super) fn over(&self, run: AllocationId) -> Option<CancellationToken> {
        let seen = self.read();
        let shown = seen.tasks.get(&run.task).filter(|shown| shown.task.latest.id == run);
        shown.map(|shown| shown.over.clone())
    }

    /// A living task.
    pub(super) fn task(&self, id: TaskId) -> Option<Arc<Task>> {
        self.read().tasks.get(&id).map(|shown| Arc::clone(&shown.task))
    }
}

impl Scheduler {
    /// Why a task waits, and for how many others.
    pub(crate) fn waits_for(&self, task: TaskId) -> Option<Wait> {
        self.0.view.read().waits.get(&task).cloned()
    }

    /// Resolves when no task lives, but on agents that are away.
    pub(crate) async fn all_ended(&self) {
        loop {
            let fewer = self.0.view.fewer.notified();
            if !self.0.view.read().has_work_here() {
                return;
            }
            fewer.await;
        }
    }

    /// Living tasks in short: there may be very many.
    pub(crate) fn queue(&self) -> Vec<Queued> {
        let seen = self.0.view.read();
        let queued = |task: &Task| Queued {
            id: task.id,
            owner: task.owner,
            workspace: task.workspace,
            placed: task.latest.phase.placement().is_some(),
            ahead: seen.waits.get(&task.id).map(|wait| wait.ahead),
            priority: task.priority,
            seq: task.seq,
        };
        seen.tasks.values().map(|shown| queued(&shown.task)).collect()
    }

    /// Those of these that live.
    pub(crate) fn still_living(&self, ids: &[TaskId]) -> Vec<Arc<Task>> {
        let seen = self.0.view.read();
        ids.iter().filter_map(|id| seen.tasks.get(id)).map(|shown| Arc::clone(&shown.task)).collect()
    }

    /// The living tasks of an account that have files on the master's disk.
    pub(crate) fn with_context(&self, owner: UserId) -> Vec<TaskId> {
        let seen = self.0.view.read();
        let tasks = seen.tasks.values().map(|shown| &shown.task);
        tasks.filter(|task| task.owner == owner && task.has_context).map(|task| task.id).collect()
    }

    /// How many tasks live.
    pub(crate) fn count_living(&self) -> usize {
        self.0.view.read().tasks.len()
    }

    /// Enrolled agents.
    pub(crate) fn agents(&self) -> Vec<AgentView> {
        let seen = self.0.view.read();
        let agents: Vec<_> = seen.agents.iter().map(|(id, agent)| (id.clone(), agent.clone())).collect();
        let tasks: Vec<_> = seen
            .tasks
            .values()
            .filter(|shown| {
                shown.is_of_agents()
                    && shown.task.latest.phase.placement().is_some()
                    && !shown.task.latest.phase.is_over()
            })
            .map(|shown| Arc::clone(&shown.task))
            .collect();
        drop(seen);
        // Each task is looked at once, however many agents there are.
        let mut running: BTreeMap<&AgentId, Vec<_>> = BTreeMap::new();
        for task in &tasks {
            for part in task.latest.phase.parts() {
                running.entry(&part.agent).or_default().push((Arc::clone(task), part.slots.clone()));
            }
        }
        let view =
            |(id, (agent, presence)): &(AgentId, (Arc<store::agent::Agent>, Option<Arc<AgentPresence>>))| {
                AgentView {
                    agent: agent.as_ref().clone(),
                    connected: presence.as_deref().cloned(),
                    running: running.remove(id).unwrap_or_default(),
                }
            };
        agents.iter().map(view).collect()
    }

    /// Whether a pool's largest agent could ever give that many slots; `true` while one isn't connected, for nobody knows what
    /// that has (MM4), and where somebody else gives the places.
    pub(crate) fn could_fit(&self, pool: &ResourcePool, wanted: u32) -> bool {
        let config = &self.0.parts.config;
        if self.0.parts.managers.elsewhere().any(|other| other == pool) {
            return true;
        }
        let seen = self.0.view.read();
        let of_pool = seen
            .agents
            .iter()
            .filter(|(id, (agent, _))| agent.revoked_at.is_none() && config.pool_of(id) == *pool);
        let slots = |presence: &AgentPresence| {
            presence.devices.iter().map(|device| device.id).collect::<BTreeSet<_>>().len()
        };
        let all: Option<Vec<usize>> =
            of_pool.map(|(_, (_, presence))| presence.as_deref().map(slots)).collect();
        // Where it has none at all, one may still be let in.
        let most = all.and_then(|all| all.into_iter().max());
        most.is_none_or(|most| usize::try_from(wanted).is_ok_and(|wanted| wanted <= most))
    }

    /// Whether an agent that is here has no such slot. What one has that is away isn't known.
    pub(crate) fn lacks_slot(&self, agent: &AgentId, slot: u32) -> bool {
        let seen = self.0.view.read();
        let there = seen.agents.get(agent).and_then(|(_, presence)| presence.as_ref());
        there.is_some_and(|there| there.devices.iter().all(|device| device.id != slot))
    }

    /// Whether a living run was given to an agent: cancelled when it isn't any more.
    pub(crate) fn held(&self, agent: &AgentId, run: AllocationId) -> Option<CancellationToken> {
        let seen = self.0.view.read();
        let shown = seen.tasks.get(&run.task)?;
        let latest = &shown.task.latest;
        (shown.is_of_agents() && latest.id == run && latest.has_open_part(agent)).then(|| shown.over.clone())
    }
}
