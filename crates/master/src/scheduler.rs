//! The living tasks and the connected agents, in memory, and the loop that brings them together.
//!
//! Every change of a living task goes through here, database first: the memory never knows more than what is stored.
//! Deciding is done in `domain::scheduler`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::agent::{Register, ToAgent};
use domain::agent::{Device, Power};
use domain::id::{AgentId, TaskId};
use domain::scheduler::{Decision, Machine, Waiting, schedule};
use domain::task::{Ending, Exit, State as TaskState, Task};
use domain::time::Timestamp;
use store::Store;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::log::{Logs, TaskLog};
use crate::system::{Clock, Entropy};
use crate::{Config, Error, secret};

mod environment;

/// How often the loop looks around without being told to.
const TICK: Duration = Duration::from_secs(5);

/// What the scheduler works with.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: Arc<Config>,
    pub(crate) cluster: Cluster,
    pub(crate) logs: Logs,
}

#[derive(Clone)]
pub(crate) struct Scheduler(Arc<Inner>);

struct Inner {
    parts: Parts,
    state: AsyncMutex<State>,
    /// Why tasks wait, for readers that can't wait for the state.
    reasons: Mutex<HashMap<TaskId, String>>,
    wake: Notify,
    /// A task ended.
    ended: Notify,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<TaskId, Live>,
    /// Enrolled agents: whether they and their slots take tasks.
    service: BTreeMap<AgentId, store::agent::Agent>,
    connected: BTreeMap<AgentId, Connected>,
    /// When agents went away.
    gone: BTreeMap<AgentId, Timestamp>,
    connections: u64,
}

struct Live {
    task: Task,
    log: Arc<TaskLog>,
}

/// An agent that is connected now.
struct Connected {
    connection: u64,
    link: mpsc::UnboundedSender<ToAgent>,
    about: Register,
    version: String,
    since: Timestamp,
}

/// An agent, for lists.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// What is stored of it.
    pub agent: store::agent::Agent,
    /// What it told of itself, when connected.
    pub connected: Option<AgentPresence>,
    /// Its tasks with their slots.
    pub running: Vec<(Task, Vec<u32>)>,
}

/// A connected agent.
#[derive(Debug, Clone)]
pub struct AgentPresence {
    /// Its slots.
    pub devices: Vec<Device>,
    /// Its version.
    pub version: String,
    /// Its machine.
    pub hostname: String,
    /// Since when.
    pub since: Timestamp,
    /// Which identities it can give.
    pub power: Power,
}

impl Scheduler {
    pub(crate) fn new(parts: Parts) -> Self {
        let (state, reasons) = (AsyncMutex::default(), Mutex::default());
        let (wake, ended) = (Notify::new(), Notify::new());
        Self(Arc::new(Inner { parts, state, reasons, wake, ended }))
    }

    /// Takes up what lived when the last master ended.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        let parts = &self.0.parts;
        let mut conn = parts.store.read().await?;
        let tasks = store::task::alive(&mut conn).await?;
        let agents = store::agent::list(&mut conn).await?;
        drop(conn);
        let mut state = self.0.state.lock().await;
        let now = parts.clock.now();
        for task in tasks {
            let log = parts.logs.open(task.id).map_err(Error::io("opening a log"))?;
            state.tasks.insert(task.id, Live { task, log });
        }
        state.gone = agents.iter().map(|agent| (agent.id.clone(), now)).collect();
        state.service = agents.into_iter().map(|agent| (agent.id.clone(), agent)).collect();
        if !state.tasks.is_empty() {
            tracing::info!(tasks = state.tasks.len(), "living tasks taken up");
        }
        Ok(())
    }

    /// The loop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            if let Err(error) = self.round().await {
                tracing::error!(%error, "scheduling failed; it is tried again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(500)) => self.0.wake.notify_one(),
                }
            }
        }
    }

    /// A task that was just stored joins the queue.
    pub(crate) async fn submit(&self, task: Task) -> Result<(), Error> {
        let parts = &self.0.parts;
        let log = parts.logs.open(task.id).map_err(Error::io("opening a log"))?;
        self.say(&log, &format!("Scheduling {} (id: {})", task.description, task.allocation));
        self.0.state.lock().await.tasks.insert(task.id, Live { task, log });
        self.0.wake.notify_one();
        Ok(())
    }

    /// Why a task waits.
    pub(crate) fn waits_for(&self, task: TaskId) -> Option<String> {
        self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    /// Ends a task, now if it only waits.
    pub(crate) async fn kill(&self, id: TaskId) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        let Some(live) = state.tasks.get_mut(&id) else {
            return Ok(());
        };
        let mut tx = self.0.parts.store.write().await?;
        store::task::set_kill_requested(&mut tx, id).await?;
        tx.commit().await?;
        live.task.kill_requested = true;
        if live.task.state == TaskState::Queued {
            return self.end(&mut state, id, None, "allocation was killed before it started").await;
        }
        live.task.state = TaskState::Terminating;
        let text = "forcibly killing allocation's remaining resources (reason: user requested kill)";
        self.say(&live.log, text);
        let allocation = live.task.allocation;
        let agent = live.task.agent.clone();
        if let Some(connected) = agent.and_then(|agent| state.connected.get(&agent)) {
            let _ = connected.link.send(ToAgent::Kill { allocation });
        }
        Ok(())
    }

    /// Writes a living task's priority.
    pub(crate) async fn set_priority(&self, id: TaskId, priority: i64) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        let mut tx = self.0.parts.store.write().await?;
        store::task::set_priority(&mut tx, id, priority).await?;
        tx.commit().await?;
        if let Some(live) = state.tasks.get_mut(&id) {
            live.task.priority = priority;
        }
        self.0.wake.notify_one();
        Ok(())
    }

    /// Resolves when no task lives.
    pub(crate) async fn all_ended(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.0.state.lock().await.tasks.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Living tasks.
    pub(crate) async fn living(&self) -> Vec<Task> {
        self.0.state.lock().await.tasks.values().map(|live| live.task.clone()).collect()
    }

    /// An agent was enrolled, or its service changed.
    pub(crate) async fn agent_changed(&self, agent: store::agent::Agent) {
        self.0.state.lock().await.service.insert(agent.id.clone(), agent);
        self.0.wake.notify_one();
    }

    /// Enrolled agents.
    pub(crate) async fn agents(&self) -> Vec<AgentView> {
        let state = self.0.state.lock().await;
        let view = |agent: &store::agent::Agent| AgentView {
            agent: agent.clone(),
            connected: state.connected.get(&agent.id).map(|c| AgentPresence {
                devices: c.about.devices.clone(),
                version: c.version.clone(),
                hostname: c.about.hostname.clone(),
                since: c.since,
                power: c.about.power,
            }),
            running: state
                .tasks
                .values()
                .filter(|live| live.task.agent.as_ref() == Some(&agent.id))
                .map(|live| (live.task.clone(), live.task.slot_ids.clone()))
                .collect(),
        };
        state.service.values().map(view).collect()
    }

    /// Whether the largest connected agent could ever give that many slots; `true` while none is connected.
    pub(crate) async fn could_fit(&self, slots: u32) -> bool {
        let state = self.0.state.lock().await;
        let most = state.connected.values().map(|c| c.about.devices.len()).max();
        most.is_none_or(|most| usize::try_from(slots).is_ok_and(|slots| slots <= most))
    }

    /// An agent is connected and says what it holds. The newest connection under a name counts.
    pub(crate) async fn connect(
        &self,
        agent: &AgentId,
        about: Register,
        version: String,
        link: mpsc::UnboundedSender<ToAgent>,
    ) -> Result<u64, Error> {
        let mut state = self.0.state.lock().await;
        state.connections += 1;
        let connection = state.connections;
        let held: BTreeSet<TaskId> = about.held.iter().map(|allocation| allocation.task).collect();
        let _ = link.send(ToAgent::Welcome {});
        for allocation in &about.held {
            let live = state.tasks.get(&allocation.task);
            let ours = live.filter(|live| {
                live.task.allocation == *allocation && live.task.agent.as_ref() == Some(agent)
            });
            let offset = ours.map_or(0, |live| live.log.received());
            let _ = link.send(ToAgent::LogsReceived { allocation: *allocation, offset });
            // What isn't known here any more must not go on there.
            if ours.is_none_or(|live| live.task.kill_requested) {
                let _ = link.send(ToAgent::Kill { allocation: *allocation });
            }
        }
        let since = self.0.parts.clock.now();
        state.gone.remove(agent);
        state.connected.insert(agent.clone(), Connected { connection, link, about, version, since });
        let assigned = |live: &&Live| live.task.agent.as_ref() == Some(agent);
        let missing: Vec<(TaskId, TaskState, bool)> = state
            .tasks
            .values()
            .filter(assigned)
            .filter(|live| !held.contains(&live.task.id))
            .map(|live| (live.task.id, live.task.state, live.task.started_at.is_some()))
            .collect();
        for (id, task_state, started) in missing {
            match (task_state, started) {
                (TaskState::Starting, false) => self.start(&mut state, &[id]).await?,
                (_, true) => {
                    let reason =
                        format!("resources failed with non-zero exit code: agent {agent} lost the task");
                    self.end(&mut state, id, None, &reason).await?;
                }
                _ => self.end(&mut state, id, None, "allocation was killed before it started").await?,
            }
        }
        self.0.wake.notify_one();
        Ok(connection)
    }

    /// A connection is over; its tasks go on where they are.
    pub(crate) async fn disconnect(&self, agent: &AgentId, connection: u64) {
        let mut state = self.0.state.lock().await;
        if state.connected.get(agent).is_none_or(|connected| connected.connection != connection) {
            return;
        }
        state.connected.remove(agent);
        state.gone.insert(agent.clone(), self.0.parts.clock.now());
        let text = format!("agent {agent} went away; the task goes on there and is taken up when it is back");
        for live in state.tasks.values().filter(|live| live.task.agent.as_ref() == Some(agent)) {
            self.say(&live.log, &text);
        }
    }

    /// An agent has the task in hand.
    pub(crate) async fn started(&self, agent: &AgentId, id: TaskId) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        let Some(live) = state.tasks.get_mut(&id) else {
            return Ok(());
        };
        if live.task.agent.as_ref() != Some(agent) || live.task.started_at.is_some() {
            return Ok(());
        }
        let now = self.0.parts.clock.now();
        let mut tx = self.0.parts.store.write().await?;
        store::task::set_running(&mut tx, id, now).await?;
        tx.commit().await?;
        live.task.started_at = Some(now);
        if live.task.state == TaskState::Starting {
            live.task.state = TaskState::Running;
        }
        self.say(&live.log, &format!("Resources for {} have started", live.task.description));
        Ok(())
    }

    /// A piece of a task's log. Answers how far the master has it.
    pub(crate) async fn logged(
        &self,
        agent: &AgentId,
        id: TaskId,
        offset: u64,
        records: Vec<u8>,
    ) -> Result<u64, Error> {
        let state = self.0.state.lock().await;
        let live = state.tasks.get(&id).filter(|live| live.task.agent.as_ref() == Some(agent));
        let log = live.map(|live| Arc::clone(&live.log));
        drop(state);
        // A run that is no longer known only has to come to its end.
        let Some(log) = log else {
            return Ok(offset.saturating_add(records.len() as u64));
        };
        let append = move || log.append_from_agent(offset, &records);
        let appended = tokio::task::spawn_blocking(append).await;
        appended.map_err(std::io::Error::other).flatten().map_err(Error::io("keeping a task's log"))
    }

    /// A task is over, and its log was sent up to `log_bytes`. Answers whether the agent may forget it; else it has to
    /// send the log from the given offset again.
    pub(crate) async fn exited(
        &self,
        agent: &AgentId,
        id: TaskId,
        exit: Exit,
        log_bytes: u64,
    ) -> Result<Result<(), u64>, Error> {
        let mut state = self.0.state.lock().await;
        let live = state.tasks.get(&id).filter(|live| live.task.agent.as_ref() == Some(agent));
        let Some(live) = live else { return Ok(Ok(())) };
        let known = live.log.received();
        if known < log_bytes {
            return Ok(Err(known));
        }
        let reason = exit.reason();
        if live.task.started_at.is_none() && exit.failure.is_none() {
            let mut tx = self.0.parts.store.write().await?;
            store::task::set_running(&mut tx, id, self.0.parts.clock.now()).await?;
            tx.commit().await?;
        }
        self.end(&mut state, id, Some(exit.code), &reason).await?;
        Ok(Ok(()))
    }

    /// The end of a task: log complete and durable, then the database, then the memory.
    async fn end(&self, state: &mut State, id: TaskId, code: Option<i32>, reason: &str) -> Result<(), Error> {
        let parts = &self.0.parts;
        let Some(live) = state.tasks.get(&id) else {
            return Ok(());
        };
        let last = match code {
            Some(0) => "resources exited successfully with a zero exit code".to_owned(),
            _ if reason.starts_with("resources failed") => format!("crashed: {reason}"),
            _ => format!("{} was terminated: {reason}", live.task.description),
        };
        self.say(&live.log, &last);
        let log = Arc::clone(&live.log);
        let synced = tokio::task::spawn_blocking(move || log.sync()).await;
        synced.map_err(std::io::Error::other).flatten().map_err(Error::io("keeping a task's log"))?;
        let ending = Ending { at: parts.clock.now(), exit_code: code, reason: reason.to_owned() };
        let mut tx = parts.store.write().await?;
        store::task::set_ended(&mut tx, id, &ending).await?;
        tx.commit().await?;
        state.tasks.remove(&id);
        self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        parts.logs.close(id);
        self.0.wake.notify_one();
        self.0.ended.notify_waiters();
        Ok(())
    }

    fn say(&self, log: &TaskLog, text: &str) {
        if let Err(error) = log.append_own(self.0.parts.clock.now(), text) {
            tracing::warn!(%error, "a line of the master's own was not written to a task's log");
        }
    }

    async fn round(&self) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        self.give_up_lost(&mut state).await?;
        let queue: Vec<Waiting> = state.tasks.values().filter_map(|live| waiting(&live.task)).collect();
        if queue.is_empty() {
            return Ok(());
        }
        let machines = machines(&state);
        let mut placed = Vec::new();
        let mut refused = Vec::new();
        let mut reasons = HashMap::new();
        for decision in schedule(queue, &machines, Some(self.0.parts.cluster.default_user())) {
            match decision {
                Decision::Place { allocation, agent, slots } => {
                    if let Some(live) = state.tasks.get_mut(&allocation.task) {
                        live.task.agent = Some(agent);
                        live.task.slot_ids = slots;
                        placed.push(allocation.task);
                    }
                }
                Decision::Wait { allocation, reason } => {
                    reasons.insert(allocation.task, reason);
                }
                Decision::Refuse { allocation, reason } => refused.push((allocation.task, reason)),
            }
        }
        self.note_reasons(&state, reasons);
        if let Err(error) = self.start(&mut state, &placed).await {
            // Back into the queue: nothing was stored.
            for live in placed
                .iter()
                .filter_map(|id| state.tasks.get(id))
                .map(|live| live.task.id)
                .collect::<Vec<_>>()
            {
                if let Some(live) = state.tasks.get_mut(&live) {
                    live.task.agent = None;
                    live.task.slot_ids.clear();
                }
            }
            return Err(error);
        }
        for (id, reason) in refused {
            let reason = format!("resources failed with non-zero exit code: {reason}");
            self.end(&mut state, id, None, &reason).await?;
        }
        Ok(())
    }

    /// Tells a task once why it waits, in its log.
    fn note_reasons(&self, state: &State, reasons: HashMap<TaskId, String>) {
        let mut known = self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, reason) in &reasons {
            if !known.contains_key(id)
                && let Some(live) = state.tasks.get(id)
            {
                self.say(&live.log, &format!("queued: {reason}"));
            }
        }
        *known = reasons;
    }

    /// Stores where tasks were placed, in one transaction, and tells the agents.
    async fn start(&self, state: &mut State, ids: &[TaskId]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let parts = &self.0.parts;
        let mut tx = parts.store.write().await?;
        let mut tokens = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(live) = state.tasks.get(id) else { continue };
            let Some(agent) = &live.task.agent else { continue };
            let token = secret::token(parts.entropy.as_ref(), "mtt");
            let digest = secret::digest(&token);
            store::task::set_placed(&mut tx, *id, agent, &live.task.slot_ids, &digest).await?;
            tokens.push((*id, token));
        }
        tx.commit().await?;
        for (id, token) in tokens {
            let Some(live) = state.tasks.get_mut(&id) else {
                continue;
            };
            live.task.state = TaskState::Starting;
            self.say(&live.log, &format!("{} was assigned to an agent", live.task.description));
            let Some(connected) = live.task.agent.as_ref().and_then(|agent| state.connected.get(agent))
            else {
                continue;
            };
            let start = environment::start_message(&live.task, &connected.about, parts, token);
            let _ = connected.link.send(ToAgent::Start(Box::new(start)));
        }
        Ok(())
    }

    /// Tasks of agents that stay away too long are over.
    async fn give_up_lost(&self, state: &mut State) -> Result<(), Error> {
        let now = self.0.parts.clock.now();
        let patience = Duration::from_secs(self.0.parts.config.agent_lost_after);
        let lost: Vec<AgentId> = state
            .gone
            .iter()
            .filter(|(_, since)| now.since(**since) > patience)
            .map(|(id, _)| id.clone())
            .collect();
        for agent in lost {
            let mine = |live: &&Live| live.task.agent.as_ref() == Some(&agent);
            let tasks: Vec<TaskId> = state.tasks.values().filter(mine).map(|live| live.task.id).collect();
            for id in tasks {
                let seconds = patience.as_secs();
                let reason = format!(
                    "resources failed with non-zero exit code: agent {agent} has been away for more than {seconds} s"
                );
                self.end(state, id, None, &reason).await?;
            }
            state.gone.remove(&agent);
        }
        Ok(())
    }
}

fn waiting(task: &Task) -> Option<Waiting> {
    (task.state == TaskState::Queued && task.agent.is_none()).then(|| Waiting {
        allocation: task.allocation,
        slots: task.config.resources.slots,
        priority: task.priority,
        seq: task.seq,
        owner: task.owner,
        identity: task.identity.clone(),
    })
}

fn machines(state: &State) -> Vec<Machine> {
    let machine = |(id, connected): (&AgentId, &Connected)| {
        let service = state.service.get(id)?;
        let on_it = || state.tasks.values().filter(move |live| live.task.agent.as_ref() == Some(id));
        let slots = connected.about.devices.iter().map(|device| device.id);
        Some(Machine {
            id: id.clone(),
            open: service.enabled && !service.draining,
            slots: slots.filter(|slot| !service.disabled_slots.contains(slot)).collect(),
            used: on_it().flat_map(|live| live.task.slot_ids.iter().copied()).collect(),
            aux: on_it().filter(|live| live.task.slot_ids.is_empty()).count(),
            power: connected.about.power,
        })
    };
    state.connected.iter().filter_map(machine).collect()
}
