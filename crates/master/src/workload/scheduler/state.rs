//! What the scheduler's owner has in its hands: living tasks, enrolled and connected agents.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::agent::{Register, ToAgent};
use domain::allocation::{Allocation, Cause, Event, Part, Phase, Placement};
use domain::capability::Capabilities;
use domain::id::{AgentId, AllocationId, TaskId};
use domain::identity::UnixIdentity;
use domain::log::Output;
use domain::task::{Fault, Task};
use domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tasks::{Limits, Tasks};
use super::{kill, strange};
use crate::log::TaskLog;
use crate::manager::AGENTS;

/// A map that knows what was touched in it, so that only that has to be published. Of tasks there is more to know
/// ([`Tasks`]).
pub(super) struct Tracked<K, V> {
    all: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K: Ord + Clone, V> Tracked<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.all.get(key)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.all.contains_key(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let found = self.all.get_mut(key);
        if found.is_some() {
            self.touched.insert(key.clone());
        }
        found
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.touched.insert(key.clone());
        self.all.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.touched.insert(key.clone());
        self.all.remove(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.all.iter()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.all.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.all.values()
    }

    /// What was touched since it was asked last.
    pub(super) fn take_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

pub(super) struct State {
    pub(super) tasks: Tasks,
    /// Enrolled agents: whether they and their slots take tasks.
    pub(super) service: Tracked<AgentId, store::agent::Agent>,
    pub(super) connected: Tracked<AgentId, Connected>,
    /// When agents went away.
    /// By the clock that only goes forward: setting the machine's time ends no task (L04).
    pub(super) gone: BTreeMap<AgentId, Instant>,
    /// Runs without a record that agents were told to keep, and the audit log told of.
    pub(super) disowned: strange::Disowned,
    /// What was killed and isn't in the database yet, oldest first.
    pub(super) unrecorded: VecDeque<kill::Unrecorded>,
    /// Tasks whose end is decided and isn't in the database yet, oldest first.
    pub(super) decided: VecDeque<TaskId>,
    pub(super) connections: u64,
}

impl State {
    /// Nothing yet; `limits` is how long runs may take, by pool.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            tasks: Tasks::new(limits),
            service: Tracked::default(),
            connected: Tracked::default(),
            gone: BTreeMap::new(),
            disowned: strange::Disowned::default(),
            unrecorded: VecDeque::new(),
            decided: VecDeque::new(),
            connections: 0,
        }
    }

    /// An agent's connection is over; the given one, or whichever it has.
    pub(super) fn leave(&mut self, agent: &AgentId, connection: Option<u64>) -> Option<Connected> {
        let there = self.connected.get(agent)?;
        if connection.is_some_and(|connection| connection != there.connection) {
            return None;
        }
        self.gone.insert(agent.clone(), Instant::now());
        self.connected.remove(agent)
    }

    /// Whether all agents of a task's place are here and take tasks, on those slots. What isn't theirs isn't asked here.
    pub(super) fn takes(&self, task: TaskId, on: &Placement) -> bool {
        let is_ours = self.tasks.get(&task).is_some_and(|live| *live.manager == *AGENTS);
        !is_ours
            || on.parts().all(|part| {
                let is_there = self.connected.contains_key(&part.agent);
                let service = self.service.get(&part.agent).filter(|agent| agent.enabled && !agent.draining);
                let is_open = |agent: &store::agent::Agent| {
                    part.slots.iter().all(|slot| !agent.disabled_slots.contains(slot))
                };
                is_there && service.is_some_and(is_open)
            })
    }
}

pub(super) struct Live {
    pub(super) task: Task,
    /// Its identity, which stays: each round looks at those of all that wait.
    pub(super) identity: Arc<UnixIdentity>,
    /// Who gives its runs their places.
    pub(super) manager: Arc<str>,
    pub(super) log: Arc<TaskLog>,
    /// The names of who asked for its end, as far as this master knows, the first one first.
    pub(super) killers: Vec<String>,
    /// How its end is explained, when it is one that we brought about.
    pub(super) end_reason: Option<&'static str>,
    /// Its run is over, and how; that is to be written down (`over`).
    pub(super) is_over: Option<How>,
    /// Its agent said that it ended, and the disk had no space for the rest of its log.
    pub(super) log_is_lost: bool,
    /// How long its process had run at a moment, by the clock that only goes forward: setting the machine's time ends no run
    /// (L04).
    pub(super) ran: Option<(Duration, Instant)>,
    /// Cancelled with its run's end: what is open for it alone ends then.
    pub(super) over: Over,
    /// Cancelled when it is to save what it has and end: what runs of it asks for that.
    pub(super) signal: CancellationToken,
    /// It asks for that. One that was taken up may have, before.
    pub(super) listens: bool,
    /// When the time is over that it has to end by itself, by the clock that only goes forward.
    pub(super) deadline: Option<Instant>,
    /// What its agents have to be able to do, once that has been read of its configuration.
    pub(super) needs: Option<Capabilities>,
}

/// A node of a manager's, which says what happens there: an agent of ours, or what a batch system calls so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) manager: Arc<str>,
    pub(crate) node: AgentId,
}

impl At {
    /// An agent of ours.
    pub(crate) fn agent(agent: &AgentId) -> Self {
        Self { manager: Arc::from(AGENTS), node: agent.clone() }
    }
}

/// Whose output a run's on a node is.
pub(super) fn output_of(run: &Allocation, node: &AgentId) -> Output {
    let several = run.phase.placement().filter(|on| on.is_of_several());
    let rank = several.and_then(|on| on.parts().position(|part| part.agent == *node));
    Output { run: run.id.run, rank: rank.and_then(|rank| u16::try_from(rank).ok()) }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) struct How {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) fault: Option<Fault>,
    pub(super) reason: String,
    /// Its process ran, and that wasn't told.
    pub(super) began: bool,
}

impl How {
    /// Without a word from its agent.
    pub(super) fn unheard(fault: Fault, reason: String) -> Self {
        Self { code: None, signal: None, fault: Some(fault), reason, began: false }
    }
}

impl Live {
    pub(super) fn new(task: Task, log: Arc<TaskLog>, manager: Arc<str>) -> Self {
        let (killers, over) = (Vec::new(), Over::default());
        let (end_reason, is_over, log_is_lost, ran) = (None, None, false, None);
        let identity = Arc::new(task.identity.clone());
        let (signal, listens, deadline, needs) = (CancellationToken::new(), false, None, None);
        if task.latest.phase.asked().is_some_and(|asked| asked.cause <= Cause::Paused) {
            signal.cancel();
        }
        Self {
            task,
            identity,
            manager,
            log,
            killers,
            end_reason,
            is_over,
            log_is_lost,
            ran,
            over,
            signal,
            listens,
            deadline,
            needs,
        }
    }

    /// Its latest run.
    pub(super) fn run(&self) -> AllocationId {
        self.task.latest.id
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.task.latest.phase
    }

    /// Takes its run on by what happened to it.
    pub(super) fn step(&mut self, event: &Event) {
        if let Some(next) = self.task.latest.phase.next(event) {
            self.task.latest.phase = next;
            if matches!(event, Event::Started(_)) {
                self.ran = Some((Duration::ZERO, Instant::now()));
            }
        }
    }

    /// How long its process has run.
    pub(super) fn has_run(&self) -> Option<Duration> {
        self.ran.map(|(before, then)| before + then.elapsed())
    }

    /// What it has of an agent of ours.
    pub(super) fn part_on(&self, agent: &AgentId) -> Option<&Part> {
        self.open_part_on(agent).filter(|_| *self.manager == *AGENTS)
    }

    /// Whether it has a place on an agent of ours.
    pub(super) fn is_on(&self, agent: &AgentId) -> bool {
        self.part_on(agent).is_some()
    }

    /// Whether it has a place there.
    pub(super) fn is_at(&self, at: &At) -> bool {
        self.manager == at.manager && self.open_part_on(&at.node).is_some()
    }

    fn open_part_on(&self, node: &AgentId) -> Option<&Part> {
        self.phase().part_on(node).filter(|_| !self.task.latest.has_exit(node))
    }

    /// Whose output that of its run on a node is.
    pub(super) fn output_of(&self, node: &AgentId) -> Output {
        output_of(&self.task.latest, node)
    }

    /// Whether what runs of it is to end: that was asked for, or one of its parts failed.
    pub(super) fn is_ending(&self) -> bool {
        self.phase().asked().is_some() || self.task.latest.has_failed_part()
    }

    /// The same of what isn't left to end by itself.
    pub(super) fn is_being_ended(&self) -> bool {
        let has_time = self.deadline.is_some_and(|deadline| deadline > Instant::now());
        (self.phase().asked().is_some() && !has_time) || self.task.latest.has_failed_part()
    }

    /// Somebody asks for its end. Whether that is to be written down: who goes on asking, of a task that can't end now,
    /// would make the audit log grow (KX4).
    pub(super) fn killed_by(&mut self, name: &str) -> bool {
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
pub(super) struct Over(pub(super) CancellationToken);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An agent that is connected now.
pub(super) struct Connected {
    pub(super) connection: u64,
    pub(super) link: mpsc::UnboundedSender<ToAgent>,
    pub(super) about: Register,
    pub(super) version: String,
    /// Of the agent's process (B5).
    pub(super) instance: String,
    /// How far its clock was ahead when it came, in microseconds (B20).
    pub(super) skew: i64,
    pub(super) since: Timestamp,
    /// The last ping that it answered.
    pub(super) pongs: watch::Sender<u64>,
}
