//! The scheduler: an actor that owns what lives (`mailbox`, `state`), and the loop that brings tasks and agents together.
//!
//! Every change of a living task goes through here, database first: the memory never knows more than what is stored,
//! but for kills (`kill`), which are done first. Deciding is done in `domain::scheduler`, on a copy. Who only reads doesn't
//! come here: `view` is how things are after the last change, and each piece of a log finds its file there.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::allocation::{Cause, Event, Placement};
use domain::audit::Entry;
use domain::authz::System;
use domain::capability::Capabilities;
use domain::config::Unhonoured;
use domain::hash::IdMap;
use domain::id::{AgentId, AllocationId, TaskId};
use domain::identity::UnixIdentity;
use domain::scheduler::{Decision, Snapshot, Why};
use domain::task::{Fault, Task};
use store::Store;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::context::Contexts;
use crate::log::{Logs, TaskLog};
use crate::manager::Managers;
use crate::system::{Clock, Entropy};
use crate::{Config, Error, secret};

mod agents;
mod environment;
mod held;
mod kill;
mod mailbox;
mod number;
mod over;
mod parts;
mod pause;
mod quotas;
mod snapshot;
mod state;
mod strange;
mod tasks;
mod told;
mod truth;
mod view;

pub(crate) use agents::Arrival;
pub use agents::{Had, Heard};
pub(crate) use state::At;
use state::{Connected, How, Live, State};
use tasks::Wants;
use view::View;
pub use view::{AgentPresence, AgentView, Queued, Wait};

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
    /// Who gives the places.
    pub(crate) managers: Managers,
    /// The right to act for Muster itself.
    pub(crate) system: System,
}

#[derive(Clone)]
pub(crate) struct Scheduler(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// To the owner of the state.
    mail: mpsc::UnboundedSender<mailbox::Change>,
    view: Arc<View>,
    wake: Notify,
    /// A commit may have happened that the memory doesn't know of.
    doubt: AtomicBool,
    /// What those that wait were told.
    told: Mutex<told::Told>,
    /// Who of those that wait may start now, as it was asked last.
    may: AsyncMutex<held::Memory>,
    /// How often an end couldn't be written down.
    failures: tokio::sync::watch::Sender<u64>,
    /// Who writes down all ends that are decided: one at a time. It guards nothing else, and nobody waits for it who wants
    /// one thing.
    writes_ends: AsyncMutex<()>,
}

/// What the database is asked about what waits.
struct Asked {
    wants: Vec<Wants>,
    /// Tasks whose needs aren't known yet.
    unread: Vec<TaskId>,
}

/// What is decided of a run that can't stay.
enum Early {
    /// It is over.
    Over(Fault),
    /// It is to end.
    Asked(Cause),
}

impl Scheduler {
    pub(crate) fn new(parts: Parts) -> Self {
        let (mail, read) = mpsc::unbounded_channel();
        let view = Arc::new(View::default());
        let state = State::new(snapshot::limits(&parts.config));
        tokio::spawn(mailbox::own(read, Arc::clone(&view), state));
        Self(Arc::new(Inner {
            parts,
            mail,
            view,
            wake: Notify::new(),
            doubt: AtomicBool::new(false),
            told: Mutex::default(),
            may: AsyncMutex::default(),
            failures: tokio::sync::watch::Sender::new(0),
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
        let warnings: Vec<String> = unhonoured.iter().map(|setting| format!("warning: {setting}")).collect();
        let this = self.clone();
        self.note(move |state| {
            // Somebody's kill may have taken it up from the database meanwhile.
            if state.tasks.contains_key(&task.id) {
                return;
            }
            let log = this.0.parts.logs.begin(task.id);
            warnings.iter().for_each(|warning| this.say(&log, warning));
            this.say(&log, &format!("Scheduling {} (id: {})", task.description, task.latest.id));
            state.tasks.insert(task.id, this.live(task, log));
        })
        .await;
        self.wake();
    }

    /// Writes a living task's priority.
    pub(crate) async fn set_priority(&self, id: TaskId, priority: i64, entry: &Entry) -> Result<(), Error> {
        let (this, entry) = (self.clone(), entry.clone());
        let written = self.change(move |state| {
            Box::pin(async move {
                let mut tx = this.0.parts.store.write().await?;
                store::task::set_priority(&mut tx, id, priority).await?;
                let committed = tx.commit(&entry, this.0.parts.clock.now()).await;
                match &committed {
                    Err(error) => this.doubt_after(error),
                    Ok(()) => {
                        if let Some(live) = state.tasks.get_mut(&id) {
                            live.task.priority = priority;
                        }
                    }
                }
                Ok(committed?)
            })
        });
        let written = written.await;
        self.wake();
        written
    }

    /// From now on managers may report.
    pub(crate) fn begin_managers(&self, stop: &CancellationToken) {
        self.0.parts.managers.begin(self, stop);
    }

    /// A task that lives, and whose its pool is.
    fn live(&self, task: Task, log: Arc<TaskLog>) -> Live {
        let manager = Arc::clone(self.0.parts.managers.name(&task.pool));
        Live::new(task, log, manager)
    }

    /// Something changed that decides who may run.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// A task whose end is in the database lives no more.
    fn forget(&self, state: &mut State, id: TaskId) {
        let ended = state.tasks.remove(&id);
        if ended.is_some_and(|live| live.task.has_context) {
            self.0.parts.contexts.remove(id);
        }
        self.0.parts.logs.close(id);
        self.wake();
    }

    fn say(&self, log: &TaskLog, text: &str) {
        if let Err(error) = log.append_own(self.0.parts.clock.now(), text) {
            tracing::warn!(%error, "a line of the master's own was not written to a task's log");
        }
    }

    /// One round: looks at what there is, decides on a copy of it, and carries that out as far as it still can be.
    async fn round(&self) -> Result<(), Error> {
        self.write_ends().await?;
        let (mut snapshot, asked, began, unwritten) = self.look().await?;
        self.ask(&mut snapshot, asked).await?;
        let (mut placed, mut ends, mut waits) = (Vec::new(), Vec::new(), IdMap::default());
        waits.reserve(snapshot.waiting.len());
        let mut said: Option<(Why, Arc<str>)> = None;
        for decision in self.0.parts.managers.decide(&snapshot) {
            match decision {
                Decision::Place { allocation, on } => {
                    if let Ok(on) = Placement::try_from(on) {
                        placed.push((allocation, on));
                    }
                }
                Decision::Wait { allocation, why, ahead } => {
                    // Thousands in a row wait for the same.
                    let words = match &said {
                        Some((last, words)) if *last == why => Arc::clone(words),
                        _ => Arc::from(why.to_string()),
                    };
                    waits.insert(allocation.task, Wait { why: Arc::clone(&words), ahead });
                    said = Some((why, words));
                }
                Decision::Refuse { allocation, reason } => {
                    ends.push((allocation, Early::Over(Fault::Task), reason));
                }
                Decision::Lost { allocation, reason } => {
                    ends.push((allocation, Early::Over(Fault::Lost), reason));
                }
                Decision::Preempt { allocation, favoured } => {
                    ends.push((allocation, Early::Asked(Cause::Preempted), format!("for {favoured}")));
                }
                Decision::Expire { allocation } => {
                    ends.push((allocation, Early::Asked(Cause::Expired), "time limit".to_owned()));
                }
            }
        }
        let waiting = waits.len();
        self.note_waits(waits);
        // The benchmark reads this.
        tracing::debug!(waiting, placed = placed.len(), took_us = began.elapsed().as_micros(), "a round");
        self.carry_out(placed, ends).await?;
        unwritten.map_or(Ok(()), Err)
    }

    /// Settles what is open, and copies what is decided on. Tells when its turn came, and why a kill can't be written down: that
    /// is no reason to start nothing (MM2).
    async fn look(&self) -> Result<(Snapshot, Asked, Instant, Option<Error>), Error> {
        let this = self.clone();
        let look = self.change(move |state| {
            Box::pin(async move {
                let began = Instant::now();
                this.resolve_doubt(state).await?;
                let unwritten = this.finish_kills(state).await.err();
                this.give_up_lost(state);
                this.end_overdue(state);
                let mut snapshot = snapshot::snapshot(state, &this.0.parts.config, this.0.parts.clock.now());
                snapshot.default_user = Some(this.0.parts.cluster.default_user());
                snapshot.elsewhere = this.0.parts.managers.elsewhere().cloned().collect();
                let asked = Asked { wants: state.tasks.wants(), unread: state.tasks.unread() };
                Ok((snapshot, asked, began, unwritten))
            })
        });
        look.await
    }

    /// Notes who may not start now whatever is free, and what new ones need.
    async fn ask(&self, snapshot: &mut Snapshot, Asked { wants, unread }: Asked) -> Result<(), Error> {
        if snapshot.waiting.is_empty() {
            return Ok(());
        }
        let default = self.default_identity()?;
        let generation = *self.0.parts.store.rights().borrow();
        let mut may = self.0.may.lock().await;
        let mut conn = self.0.parts.store.read().await?;
        let pairs = wants.iter().map(|wants| (wants.owner, wants.workspace));
        if !may.refresh(&mut conn, &default, generation, pairs).await? {
            self.wake();
        }
        snapshot.held = may.held(&wants, &snapshot.waiting);
        drop(may);
        snapshot.quotas = quotas::of(&mut conn, &self.0.parts.config.quotas, snapshot).await?;
        if unread.is_empty() {
            return Ok(());
        }
        let mut needs = IdMap::default();
        for id in unread {
            needs.insert(id, Capabilities::needed_by(&store::task::config(&mut conn, id).await?));
        }
        drop(conn);
        for run in &mut snapshot.waiting {
            if let Some(needs) = needs.get(&run.allocation.task) {
                let run = Arc::make_mut(run);
                run.needs = run.needs.and(*needs);
            }
        }
        self.note(move |state| {
            for (id, needs) in needs {
                if let Some(live) = state.tasks.get_mut(&id) {
                    live.needs = Some(needs);
                }
            }
        })
        .await;
        Ok(())
    }

    /// Starts what has its place, and ends what can't stay.
    async fn carry_out(
        &self,
        placed: Vec<(AllocationId, Placement)>,
        ends: Vec<(AllocationId, Early, String)>,
    ) -> Result<(), Error> {
        if placed.is_empty() && ends.is_empty() {
            return Ok(());
        }
        let this = self.clone();
        let carry_out = self.change(move |state| {
            Box::pin(async move {
                let ends_early = ends.iter().any(|(_, how, _)| matches!(how, Early::Asked(_)));
                for (run, how, why) in ends {
                    match how {
                        Early::Over(fault) => this.end_unheard(state, run, fault, &why),
                        Early::Asked(cause) => this.end_early(state, run, cause, &why),
                    }
                }
                if ends_early {
                    this.record(state).await;
                }
                // Agents may have left since that was decided, or be closed: the next round sees it.
                let (placed, late): (Vec<_>, Vec<_>) =
                    placed.into_iter().partition(|(run, on)| state.takes(run.task, on));
                if !late.is_empty() {
                    this.wake();
                }
                this.start(state, placed).await
            })
        });
        carry_out.await
    }

    /// A run is over, as whoever gives its place says, and nothing is heard from it any more.
    fn end_unheard(&self, state: &mut State, run: AllocationId, fault: Fault, why: &str) {
        let Some(live) = state.tasks.get(&run.task).filter(|live| live.run() == run) else { return };
        let reason = match live.killers.first() {
            // That is what it was ended for.
            Some(name) if live.task.is_killed() => format!("allocation was killed by {name}"),
            _ if live.task.is_killed() => live.end_reason.unwrap_or("allocation was killed").to_owned(),
            _ => format!("resources failed with non-zero exit code: {why}"),
        };
        let fault = if live.task.is_killed() { Fault::Ended } else { fault };
        self.decide_end(state, run.task, How::unheard(fault, reason));
    }

    /// Tells tasks why they wait, in their logs: once for each kind of reason.
    fn note_waits(&self, waits: IdMap<TaskId, Wait>) {
        let waits = self.0.view.set_waits(waits);
        let news = self.0.told.lock().unwrap_or_else(PoisonError::into_inner).news(&waits, Instant::now());
        for id in news {
            if let (Some(log), Some(wait)) = (self.0.view.log(id), waits.get(&id)) {
                self.say(&log, &format!("queued: {}", wait.why));
            }
        }
    }

    fn default_identity(&self) -> Result<UnixIdentity, Error> {
        self.0.parts.config.default_task().map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Stores where tasks were placed, in one transaction, and tells the agents.
    async fn start(&self, state: &mut State, placed: Vec<(AllocationId, Placement)>) -> Result<(), Error> {
        if placed.is_empty() {
            return Ok(());
        }
        let parts = &self.0.parts;
        let default = self.default_identity()?;
        let mut rules = held::Rules::new(&default);
        let mut tx = parts.store.write_urgent().await?;
        let (mut tokens, mut is_astray) = (Vec::with_capacity(placed.len()), false);
        for (run, on) in placed {
            let id = run.task;
            let Some(live) = state.tasks.get(&id).filter(|live| live.run() == run) else { continue };
            // It may be withdrawn since.
            if live.phase().next(&Event::Placed(on.clone())).is_none() {
                continue;
            }
            // Since it was asked for the place, its owner may have lost the right.
            if rules
                .why_held(&mut tx, live.task.owner, live.task.workspace, &live.task.identity)
                .await?
                .is_some()
            {
                is_astray = true;
                continue;
            }
            let Some(owner) = number::of(&mut tx, live.task.owner, parts.entropy.as_ref()).await? else {
                is_astray = true;
                continue;
            };
            let token = secret::token(parts.entropy.as_ref(), "mtt");
            let digest = secret::digest(&token);
            if store::allocation::place(&mut tx, run, on.clone(), &digest).await?.is_some() {
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
            let manager = parts.managers.get(&live.manager);
            for part in on.parts() {
                let Some(around) = manager.around(live.run(), &part.agent) else { continue };
                let start = environment::start_message(&live.task, part, &config, &around, parts, &of_its);
                for name in environment::overruled(&config, &around, &start) {
                    self.say(
                        &live.log,
                        &format!("warning: {name} of the configuration is passed over: Muster sets it"),
                    );
                }
                manager.launch(&part.agent, start);
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
