//! The living tasks and the connected agents, in memory, and the loop that brings them together.
//!
//! Every change of a living task goes through here, database first: the memory never knows more than what is stored,
//! but for kills (`kill`), which are done first. Deciding is done in `domain::scheduler`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::agent::{Register, ToAgent};
use domain::allocation::{Event, Phase, Placement};
use domain::audit::Entry;
use domain::capability::{Capabilities, Capability};
use domain::config::Unhonoured;
use domain::id::{AgentId, AllocationId, TaskId, UserId, WorkspaceId};
use domain::identity::UnixIdentity;
use domain::scheduler::{Decision, Span, schedule};
use domain::task::Task;
use domain::time::Timestamp;
use store::Store;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::context::Contexts;
use crate::log::{Logs, TaskLog};
use crate::system::{Clock, Entropy};
use crate::{Config, Error, secret};

mod agents;
mod environment;
mod held;
mod kill;
mod number;
mod over;
mod snapshot;
mod strange;
mod truth;

pub use agents::{AgentPresence, AgentView};
pub(crate) use agents::{Arrival, Had, Heard};

/// How often the loop looks around without being told to.
const TICK: Duration = Duration::from_secs(5);

/// How a task ended that was killed while it waited.
const KILLED_IN_QUEUE: &str = "allocation was killed before it started";

/// What the scheduler works with.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: Arc<Config>,
    pub(crate) cluster: Cluster,
    pub(crate) logs: Logs,
    pub(crate) contexts: Contexts,
    /// The master's key on the link: by it the master knows what it gave to whom.
    pub(crate) key: link::Secret,
}

#[derive(Clone)]
pub(crate) struct Scheduler(Arc<Inner>);

struct Inner {
    parts: Parts,
    state: AsyncMutex<State>,
    /// Why tasks wait, for readers that can't wait for the state.
    reasons: Mutex<HashMap<TaskId, String>>,
    wake: Notify,
    /// A commit may have happened that the memory doesn't know of.
    doubt: AtomicBool,
    /// A task ended.
    ended: Notify,
    /// Who writes down ends that are decided: one at a time.
    writes_ends: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<TaskId, Live>,
    /// Enrolled agents: whether they and their slots take tasks.
    service: BTreeMap<AgentId, store::agent::Agent>,
    connected: BTreeMap<AgentId, Connected>,
    /// When agents went away.
    /// By the clock that only goes forward: setting the machine's time ends no task (L04).
    gone: BTreeMap<AgentId, Instant>,
    /// Runs without a record that agents were told to keep, and the audit log told of.
    disowned: strange::Disowned,
    /// What was killed and isn't in the database yet, oldest first.
    unrecorded: Vec<kill::Unrecorded>,
    /// Tasks whose end is decided and isn't in the database yet, oldest first.
    decided: VecDeque<TaskId>,
    connections: u64,
}

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
    /// 1 to 99; a lower number is more urgent.
    pub priority: i64,
    /// The order in which tasks were made.
    pub seq: i64,
}

struct Live {
    task: Task,
    log: Arc<TaskLog>,
    /// The names of who asked for its end, as far as this master knows, the first one first.
    killers: Vec<String>,
    /// How its end is explained, when it is one that we brought about.
    end_reason: Option<&'static str>,
    /// What its agent has to be able to do; read of its configuration once it is asked for.
    needs: Option<Capabilities>,
    /// It is over, for this reason; that is to be written down (`over`).
    is_over: Option<String>,
    /// Its agent said that it ended, and the disk had no space for the rest of its log.
    log_is_lost: bool,
    /// Cancelled with its end: what is open for it alone ends then.
    over: Over,
}

impl Live {
    fn new(task: Task, log: Arc<TaskLog>) -> Self {
        let (killers, over) = (Vec::new(), Over::default());
        Self { task, log, killers, end_reason: None, needs: None, is_over: None, log_is_lost: false, over }
    }

    /// Its latest run.
    fn run(&self) -> AllocationId {
        self.task.latest.id
    }

    fn phase(&self) -> &Phase {
        &self.task.latest.phase
    }

    /// Takes its run on by what happened to it.
    fn step(&mut self, event: &Event) {
        if let Some(next) = self.task.latest.phase.next(event) {
            self.task.latest.phase = next;
        }
    }

    /// Whether it has a place on an agent.
    fn is_on(&self, agent: &AgentId) -> bool {
        self.phase().part_on(agent).is_some()
    }

    /// Somebody asks for its end. Whether that is to be written down: who goes on asking, of a task that can't end now,
    /// would make the audit log grow (KX4).
    fn killed_by(&mut self, name: &str) -> bool {
        // The second time it is to end at once.
        let told = self.killers.iter().filter(|killer| *killer == name).count() < 2;
        if told {
            self.killers.push(name.to_owned());
        }
        told
    }
}

/// Cancelled when it is dropped.
#[derive(Default)]
struct Over(CancellationToken);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An agent that is connected now.
struct Connected {
    connection: u64,
    link: mpsc::UnboundedSender<ToAgent>,
    about: Register,
    version: String,
    /// Of the agent's process (B5).
    instance: String,
    /// How far its clock was ahead when it came, in microseconds (B20).
    skew: i64,
    since: Timestamp,
    /// The last ping that it answered.
    pongs: watch::Sender<u64>,
}

impl Scheduler {
    pub(crate) fn new(parts: Parts) -> Self {
        let (state, reasons) = (AsyncMutex::default(), Mutex::default());
        let (wake, ended) = (Notify::new(), Notify::new());
        let doubt = AtomicBool::new(false);
        Self(Arc::new(Inner {
            parts,
            state,
            reasons,
            wake,
            doubt,
            ended,
            writes_ends: AsyncMutex::default(),
        }))
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

    /// A task that was just stored joins the queue. Nothing can fail here: it is in the database. What of its configuration
    /// has no effect is said first of all.
    pub(crate) async fn submit(&self, task: Task, unhonoured: &[Unhonoured]) {
        let mut state = self.0.state.lock().await;
        // Somebody's kill may have taken it up from the database meanwhile.
        if state.tasks.contains_key(&task.id) {
            return;
        }
        let log = self.0.parts.logs.begin(task.id);
        for setting in unhonoured {
            self.say(&log, &format!("warning: {setting}"));
        }
        self.say(&log, &format!("Scheduling {} (id: {})", task.description, task.latest.id));
        state.tasks.insert(task.id, Live::new(task, log));
        self.0.wake.notify_one();
    }

    /// Why a task waits.
    pub(crate) fn waits_for(&self, task: TaskId) -> Option<String> {
        self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    /// Writes a living task's priority.
    pub(crate) async fn set_priority(&self, id: TaskId, priority: i64, entry: &Entry) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        let mut tx = self.0.parts.store.write().await?;
        store::task::set_priority(&mut tx, id, priority).await?;
        let committed = tx.commit(entry, self.0.parts.clock.now()).await;
        if committed.is_err() {
            self.doubt();
        } else if let Some(live) = state.tasks.get_mut(&id) {
            live.task.priority = priority;
        }
        self.0.wake.notify_one();
        Ok(committed?)
    }

    /// Something changed that decides who may run.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
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

    /// Living tasks in short: there may be very many, and others wait for the state.
    pub(crate) async fn queue(&self) -> Vec<Queued> {
        let queued = |task: &Task| Queued {
            id: task.id,
            owner: task.owner,
            workspace: task.workspace,
            placed: task.latest.phase.placement().is_some(),
            priority: task.priority,
            seq: task.seq,
        };
        self.0.state.lock().await.tasks.values().map(|live| queued(&live.task)).collect()
    }

    /// Those of these that live: few.
    pub(crate) async fn still_living(&self, ids: &[TaskId]) -> Vec<Task> {
        let state = self.0.state.lock().await;
        ids.iter().filter_map(|id| state.tasks.get(id)).map(|live| live.task.clone()).collect()
    }

    /// The living tasks of an account that have files on the master's disk.
    pub(crate) async fn with_context(&self, owner: UserId) -> Vec<TaskId> {
        let state = self.0.state.lock().await;
        let tasks = state.tasks.values().map(|live| &live.task);
        tasks.filter(|task| task.owner == owner && task.has_context).map(|task| task.id).collect()
    }

    /// How many tasks live.
    pub(crate) async fn count_living(&self) -> usize {
        self.0.state.lock().await.tasks.len()
    }

    /// A task whose end is in the database lives no more.
    fn forget(&self, state: &mut State, id: TaskId) {
        let ended = state.tasks.remove(&id);
        if ended.is_some_and(|live| live.task.has_context) {
            self.0.parts.contexts.remove(id);
        }
        self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.0.parts.logs.close(id);
        self.0.wake.notify_one();
        self.0.ended.notify_waiters();
    }

    fn say(&self, log: &TaskLog, text: &str) {
        if let Err(error) = log.append_own(self.0.parts.clock.now(), text) {
            tracing::warn!(%error, "a line of the master's own was not written to a task's log");
        }
    }

    async fn round(&self) -> Result<(), Error> {
        self.write_ends().await?;
        let mut state = self.0.state.lock().await;
        self.resolve_doubt(&mut state).await?;
        self.finish_kills(&mut state).await?;
        self.give_up_lost(&mut state);
        let mut snapshot = snapshot::snapshot(&state, self.0.parts.clock.now());
        if snapshot.waiting.is_empty() {
            return Ok(());
        }
        snapshot.default_user = Some(self.0.parts.cluster.default_user());
        let default = self.default_identity()?;
        let mut rules = held::Rules::new(&default);
        let mut conn = self.0.parts.store.read().await?;
        for waiting in &mut snapshot.waiting {
            let Some(live) = state.tasks.get_mut(&waiting.allocation.task) else { continue };
            waiting.held = rules.why_held(&mut conn, &live.task).await?;
            waiting.needs = match live.needs {
                Some(needs) => needs,
                None => Capabilities::needed_by(&store::task::config(&mut conn, live.task.id).await?),
            };
            live.needs = Some(waiting.needs);
            if waiting.span == Span::Several && waiting.slots > 1 {
                waiting.needs = waiting.needs.with(Capability::Gang);
            }
        }
        drop(conn);
        let mut placed = Vec::new();
        let mut refused = Vec::new();
        let mut reasons = HashMap::new();
        for decision in schedule(&snapshot) {
            match decision {
                Decision::Place { allocation, on } => {
                    if let Ok(on) = Placement::try_from(on) {
                        placed.push((allocation.task, on));
                    }
                }
                Decision::Wait { allocation, why, .. } => {
                    reasons.insert(allocation.task, why.to_string());
                }
                Decision::Refuse { allocation, reason } => refused.push((allocation.task, reason)),
                // No pool allows the one, no task has the other.
                Decision::Preempt { .. } | Decision::Expire { .. } => {}
            }
        }
        self.note_reasons(&state, reasons);
        self.start(&mut state, placed).await?;
        for (id, reason) in refused {
            self.decide_end(&mut state, id, format!("resources failed with non-zero exit code: {reason}"));
        }
        Ok(())
    }

    /// Tells a task why it waits, in its log: once for each kind of reason.
    fn note_reasons(&self, state: &State, reasons: HashMap<TaskId, String>) {
        let mut known = self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes behind a colon are numbers, which change often.
        let kind = |reason: &str| reason.split(':').next().map(str::to_owned);
        for (id, reason) in &reasons {
            if known.get(id).and_then(|known| kind(known)) != kind(reason)
                && let Some(live) = state.tasks.get(id)
            {
                self.say(&live.log, &format!("queued: {reason}"));
            }
        }
        *known = reasons;
    }

    fn default_identity(&self) -> Result<UnixIdentity, Error> {
        self.0.parts.config.default_task().map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Stores where tasks were placed, in one transaction, and tells the agents.
    async fn start(&self, state: &mut State, placed: Vec<(TaskId, Placement)>) -> Result<(), Error> {
        if placed.is_empty() {
            return Ok(());
        }
        let parts = &self.0.parts;
        let default = self.default_identity()?;
        let mut rules = held::Rules::new(&default);
        let mut tx = parts.store.write_urgent().await?;
        let (mut tokens, mut is_astray) = (Vec::with_capacity(placed.len()), false);
        for (id, on) in placed {
            let Some(live) = state.tasks.get(&id) else { continue };
            // Since it was asked for the place, its owner may have lost the right.
            if rules.why_held(&mut tx, &live.task).await?.is_some() {
                is_astray = true;
                continue;
            }
            let Some(owner) = number::of(&mut tx, live.task.owner, parts.entropy.as_ref()).await? else {
                is_astray = true;
                continue;
            };
            let token = secret::token(parts.entropy.as_ref(), "mtt");
            let digest = secret::digest(&token);
            if store::allocation::place(&mut tx, live.run(), on.clone(), &digest).await?.is_some() {
                let config = store::task::config(&mut tx, id).await?;
                tokens.push((id, on, (owner, token), config));
            } else {
                // The database knows of a kill, or of its end.
                is_astray = true;
            }
        }
        tx.commit_unaudited("what a task does is in its own log").await?;
        if is_astray {
            self.doubt();
        }
        for (id, on, of_its, config) in tokens {
            let Some(live) = state.tasks.get_mut(&id) else {
                continue;
            };
            self.say(&live.log, &format!("{} was assigned to an agent", live.task.description));
            for part in on.parts() {
                let Some(connected) = state.connected.get(&part.agent) else { continue };
                let start =
                    environment::start_message(&live.task, part, &config, &connected.about, parts, &of_its);
                for name in environment::overruled(&config, &connected.about, &start) {
                    self.say(
                        &live.log,
                        &format!("warning: {name} of the configuration is passed over: Muster sets it"),
                    );
                }
                let _ = connected.link.send(ToAgent::Start(Box::new(start)));
            }
            live.step(&Event::Placed(on));
        }
        Ok(())
    }

    /// Tasks of agents that stay away too long are over.
    fn give_up_lost(&self, state: &mut State) {
        let patience = Duration::from_secs(self.0.parts.config.agent_lost_after);
        let late = |(_, since): &(&AgentId, &Instant)| since.elapsed() > patience;
        let lost: Vec<AgentId> = state.gone.iter().filter(late).map(|(id, _)| id.clone()).collect();
        for agent in lost {
            let seconds = patience.as_secs();
            let reason = format!(
                "resources failed with non-zero exit code: agent {agent} has been away for more than {seconds} s"
            );
            self.decide_ends_on(state, &agent, &reason);
            state.gone.remove(&agent);
        }
    }
}
