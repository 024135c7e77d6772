//! The agents' side of the scheduler: who is connected, what they hold, what they report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::agent::{Register, Remedy, ToAgent, Welcome};
use domain::agent::{Device, Power};
use domain::allocation::{Event, Phase, Placement};
use domain::capability::Capabilities;
use domain::id::{AgentId, AllocationId, TaskId};
use domain::task::{Exit, Task};
use domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Connected, KILLED_IN_QUEUE, Live, Scheduler, State};
use crate::Error;

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

/// A connection that wants to be an agent's.
pub(crate) struct Arrival {
    /// That it proved, as it is stored.
    pub(crate) key: String,
    pub(crate) about: Register,
    pub(crate) version: String,
    pub(crate) instance: String,
    pub(crate) skew: i64,
    pub(crate) link: mpsc::UnboundedSender<ToAgent>,
}

/// The connection that has the place.
pub(crate) struct Rival {
    pub(crate) connection: u64,
    pub(crate) hostname: String,
    ping: u64,
    pongs: watch::Receiver<u64>,
}

impl Rival {
    /// Whether it answers; `false` when it ends first. Waits without end for one that does neither.
    pub(crate) async fn answers(&self) -> bool {
        self.pongs.clone().wait_for(|pong| *pong >= self.ping).await.is_ok()
    }
}

/// How far the master is with a run's log, in bytes of the agent's.
pub(crate) struct Had {
    /// It has what is before this.
    pub(crate) offset: u64,
    /// And this for certain: it is on the disk.
    pub(crate) kept: u64,
    /// There is no space for more.
    pub(crate) full: bool,
}

/// What an agent is told of a run that it says is over.
pub(crate) enum Heard {
    /// Its end is recorded.
    Forget,
    /// Some of its log is missing, from here on.
    SendFrom(u64),
    /// Nothing; it says it again in a while.
    Later,
}

impl Scheduler {
    /// An agent's service changed.
    pub(crate) async fn agent_changed(&self, agent: store::agent::Agent) {
        self.0.state.lock().await.service.insert(agent.id.clone(), agent);
        self.0.wake.notify_one();
    }

    /// Enrolled agents.
    pub(crate) async fn agents(&self) -> Vec<AgentView> {
        let state = self.0.state.lock().await;
        // Each task is looked at once, however many agents there are.
        let mut running: BTreeMap<&AgentId, Vec<_>> = BTreeMap::new();
        for task in state.tasks.values().map(|live| &live.task) {
            if !task.latest.phase.is_over() {
                for part in task.latest.phase.parts() {
                    running.entry(&part.agent).or_default().push((task.clone(), part.slots.clone()));
                }
            }
        }
        let mut view = |agent: &store::agent::Agent| AgentView {
            agent: agent.clone(),
            connected: state.connected.get(&agent.id).map(|c| AgentPresence {
                devices: c.about.devices.clone(),
                trouble: c.about.trouble.as_ref().map(ToString::to_string),
                version: c.version.clone(),
                hostname: c.about.hostname.to_string(),
                since: c.since,
                power: c.about.power,
                can: c.about.can,
                skew: c.skew,
            }),
            running: running.remove(&agent.id).unwrap_or_default(),
        };
        state.service.values().map(&mut view).collect()
    }

    /// Whether the largest connected agent could ever give that many slots; `true` while none is connected.
    pub(crate) async fn could_fit(&self, slots: u32) -> bool {
        let state = self.0.state.lock().await;
        let most = state.connected.values().map(|c| c.about.devices.len()).max();
        most.is_none_or(|most| usize::try_from(slots).is_ok_and(|slots| slots <= most))
    }

    /// An agent is connected and says what it holds. A connection of the same process is replaced; one of another
    /// process has the place until it is known to be dead (B5): then the arrival comes back with it.
    pub(crate) async fn connect(
        &self,
        agent: &AgentId,
        arrival: Arrival,
    ) -> Result<Result<u64, Box<(Arrival, Rival)>>, Error> {
        let unknown = self.unknown_tasks(&arrival.about.held).await?;
        let mut state = self.0.state.lock().await;
        self.resolve_doubt(&mut state).await?;
        // Since it was asked, the agent may have been shut out.
        let good =
            |known: &store::agent::Agent| known.revoked_at.is_none() && known.public_key == arrival.key;
        if !state.service.get(agent).is_some_and(good) {
            return Err(Error::Unauthenticated("this agent's key doesn't count any more"));
        }
        state.connections += 1;
        let connection = state.connections;
        if let Some(there) = state.connected.get(agent).filter(|there| there.instance != arrival.instance)
            && there.link.send(ToAgent::Ping { number: connection }).is_ok()
        {
            let rival = Rival {
                connection: there.connection,
                hostname: there.about.hostname.to_string(),
                ping: connection,
                pongs: there.pongs.subscribe(),
            };
            return Ok(Err(Box::new((arrival, rival))));
        }
        let Arrival { mut about, version, instance, skew, link, .. } = arrival;
        let held: BTreeSet<AllocationId> = std::mem::take(&mut about.held).into_iter().collect();
        let given = std::mem::take(&mut about.given);
        let sorted = self.sort_out(&mut state, agent, (&held, &given), &unknown)?;
        self.end_begun(&mut state, agent, &sorted).await?;
        let welcome = Welcome { version: env!("CARGO_PKG_VERSION").into(), can: Some(Capabilities::ALL) };
        let _ = link.send(ToAgent::Welcome(welcome));
        self.disown(&mut state, agent, &sorted, &link).await;
        for allocation in &held {
            let live = state.tasks.get(&allocation.task);
            let ours =
                live.filter(|live| live.run() == *allocation && live.is_on(agent) && live.is_over.is_none());
            let offset = ours.map_or(0, |live| live.log.received());
            let _ =
                link.send(ToAgent::LogsReceived { allocation: *allocation, offset, kept: 0, full: false });
            // What isn't known here any more must not go on there.
            if ours.is_none_or(|live| live.phase().asked().is_some()) {
                let _ = link.send(ToAgent::Kill { allocation: *allocation, now: false });
            }
        }
        let since = self.0.parts.clock.now();
        state.gone.remove(agent);
        let pongs = watch::Sender::new(0);
        let connected = Connected { connection, link, about, version, instance, skew, since, pongs };
        state.connected.insert(agent.clone(), connected);
        if let Err(error) = self.settle_missing(&mut state, agent, &held).await {
            // It connects again, and is asked again.
            state.connected.remove(agent);
            state.gone.insert(agent.clone(), Instant::now());
            return Err(error);
        }
        self.0.wake.notify_one();
        Ok(Ok(connection))
    }

    /// What is assigned to an agent that doesn't hold it is started there, or is over.
    async fn settle_missing(
        &self,
        state: &mut State,
        agent: &AgentId,
        held: &BTreeSet<AllocationId>,
    ) -> Result<(), Error> {
        let is_missing =
            |live: &&Live| live.is_on(agent) && live.is_over.is_none() && !held.contains(&live.run());
        let missing: Vec<(TaskId, Phase)> = state
            .tasks
            .values()
            .filter(is_missing)
            .map(|live| (live.task.id, live.phase().clone()))
            .collect();
        let mut start: Vec<(TaskId, Placement)> = Vec::new();
        for (id, phase) in missing {
            match phase {
                Phase::Assigned(on) => start.push((id, on)),
                _ if phase.since().is_some() => {
                    let reason =
                        format!("resources failed with non-zero exit code: agent {agent} lost the task");
                    self.decide_end(state, id, reason);
                }
                _ => self.decide_end(state, id, KILLED_IN_QUEUE.to_owned()),
            }
        }
        self.start(state, start).await
    }

    /// An agent answered a ping.
    pub(crate) async fn ponged(&self, agent: &AgentId, connection: u64, number: u64) {
        let state = self.0.state.lock().await;
        if let Some(there) = state.connected.get(agent).filter(|there| there.connection == connection) {
            there.pongs.send_replace(number);
        }
    }

    /// Takes a dead connection's place away.
    pub(crate) async fn drop_connection(&self, agent: &AgentId, connection: u64) {
        let mut state = self.0.state.lock().await;
        if state.connected.get(agent).is_some_and(|there| there.connection == connection) {
            state.connected.remove(agent);
            state.gone.insert(agent.clone(), Instant::now());
        }
    }

    /// Whether a living run was given to an agent: cancelled when it isn't any more.
    pub(crate) async fn held(&self, agent: &AgentId, allocation: AllocationId) -> Option<CancellationToken> {
        let state = self.0.state.lock().await;
        let live = state.tasks.get(&allocation.task)?;
        let holds = live.run() == allocation && live.is_on(agent);
        holds.then(|| live.over.0.clone())
    }

    /// Whether an agent that is here has no such slot. What one has that is away isn't known.
    pub(crate) async fn lacks_slot(&self, agent: &AgentId, slot: u32) -> bool {
        let state = self.0.state.lock().await;
        let there = state.connected.get(agent);
        there.is_some_and(|there| there.about.devices.iter().all(|device| device.id != slot))
    }

    /// An agent came or left.
    pub(crate) async fn agent_seen(&self, agent: &AgentId, address: Option<String>, now: Timestamp) {
        let mut state = self.0.state.lock().await;
        if let Some(known) = state.service.get_mut(agent) {
            known.last_seen_at = Some(now);
            known.last_address = address.or(known.last_address.take());
        }
    }

    /// An agent has a key, maybe another one: a connection by the key before is over.
    pub(crate) async fn agent_enrolled(&self, agent: store::agent::Agent) {
        let mut state = self.0.state.lock().await;
        if state.connected.remove(&agent.id).is_some() {
            state.gone.insert(agent.id.clone(), Instant::now());
        }
        state.service.insert(agent.id.clone(), agent);
        self.0.wake.notify_one();
    }

    /// An agent was shut out: it is told to end its tasks, for as far as it still obeys, and they are over here at once.
    pub(crate) async fn agent_revoked(&self, agent: store::agent::Agent) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        let id = agent.id.clone();
        let mine = |live: &&Live| live.is_on(&id);
        let tasks: Vec<_> = state.tasks.values().filter(mine).map(Live::run).collect();
        if let Some(there) = state.connected.remove(&id) {
            for allocation in &tasks {
                let _ = there.link.send(ToAgent::Kill { allocation: *allocation, now: false });
            }
            let reason = format!("agent {id} was revoked by an administrator");
            let _ = there.link.send(ToAgent::Refused { reason, remedy: Remedy::Enrol });
        }
        // Whatever can't be ended now is when its time is over.
        state.gone.insert(id.clone(), Instant::now());
        state.service.insert(id.clone(), agent);
        let reason = format!("resources failed with non-zero exit code: agent {id} was revoked");
        self.decide_ends_on(&mut state, &id, &reason);
        drop(state);
        self.write_ends().await
    }

    /// A connection is over; its tasks go on where they are.
    pub(crate) async fn disconnect(&self, agent: &AgentId, connection: u64) {
        let mut state = self.0.state.lock().await;
        if state.connected.get(agent).is_none_or(|connected| connected.connection != connection) {
            return;
        }
        state.connected.remove(agent);
        state.gone.insert(agent.clone(), Instant::now());
        let text = format!("agent {agent} went away; the task goes on there and is taken up when it is back");
        for live in state.tasks.values().filter(|live| live.is_on(agent)) {
            self.say(&live.log, &text);
        }
    }

    /// An agent has the task in hand.
    pub(crate) async fn started(&self, agent: &AgentId, run: AllocationId) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        let Some(live) = state.tasks.get_mut(&run.task).filter(|live| live.run() == run) else {
            return Ok(());
        };
        let started = Event::Started(self.0.parts.clock.now());
        if !live.is_on(agent) || live.phase().next(&started).is_none() {
            return Ok(());
        }
        let mut tx = self.0.parts.store.write_urgent().await?;
        store::allocation::advance(&mut tx, run, &started).await?;
        tx.commit_unaudited("what a task does is in its own log").await?;
        live.step(&started);
        self.say(&live.log, &format!("Resources for {} have started", live.task.description));
        Ok(())
    }

    /// A piece of a task's log. Answers how far the master has it. While the disk has no space for it the agent keeps it
    /// and sends it again a little later, and the connection stays for what is more important (A4).
    pub(crate) async fn logged(
        &self,
        agent: &AgentId,
        id: TaskId,
        offset: u64,
        records: Vec<u8>,
    ) -> Result<Had, Error> {
        let state = self.0.state.lock().await;
        let live = state.tasks.get(&id).filter(|live| live.is_on(agent));
        let log = live.map(|live| Arc::clone(&live.log));
        drop(state);
        // A run that is no longer known only has to come to its end.
        let Some(log) = log else {
            return Ok(Had { offset: offset.saturating_add(records.len() as u64), kept: 0, full: false });
        };
        let append = move || {
            let was_starved = log.is_starved();
            let appended = log.append_from_agent(offset, &records);
            if appended.is_err() && log.is_starved() {
                // What is here for certain can go at the agent, which may be on the same disk.
                log.secure();
                if !was_starved && let Err(error) = appended {
                    tracing::warn!(task = %id, %error, "no space for a task's log: its agent keeps the rest for now");
                }
                return Ok(Had { offset: log.received(), kept: log.kept(), full: true });
            }
            let offset = appended?;
            if log.is_due() {
                let log = Arc::clone(&log);
                tokio::task::spawn_blocking(move || log.secure());
            }
            // A piece behind one that found no space is passed over.
            Ok(Had { offset, kept: log.kept(), full: log.is_starved() })
        };
        let appended = tokio::task::spawn_blocking(append).await;
        appended.map_err(std::io::Error::other).flatten().map_err(Error::io("keeping a task's log"))
    }

    /// A part of a task's log is with nobody any more: it goes on behind that (KP2). Answers as [`Self::logged`].
    pub(crate) async fn log_missing(
        &self,
        agent: &AgentId,
        allocation: AllocationId,
        from: u64,
        to: u64,
    ) -> Result<Had, Error> {
        let state = self.0.state.lock().await;
        let live = state.tasks.get(&allocation.task);
        let live = live.filter(|live| live.is_on(agent));
        let log = live.map(|live| Arc::clone(&live.log));
        drop(state);
        let Some(log) = log else { return Ok(Had { offset: to, kept: 0, full: false }) };
        let now = self.0.parts.clock.now();
        let passed = move || {
            let passed = log.append_gap(now, from, to);
            if passed.is_err() && !log.is_starved() {
                return passed.map(|offset| Had { offset, kept: 0, full: false });
            }
            Ok(Had { offset: log.received(), kept: log.kept(), full: log.is_starved() })
        };
        let passed = tokio::task::spawn_blocking(passed).await;
        passed.map_err(std::io::Error::other).flatten().map_err(Error::io("keeping a task's log"))
    }

    /// A task is over, and its log was sent up to `log_bytes`. Answers whether the agent may forget it; else it has to
    /// send the log from the given offset again. When the disk has no space for the log, the end waits until the agent
    /// says it again, and then counts more than the log (A4).
    pub(crate) async fn exited(
        &self,
        agent: &AgentId,
        allocation: AllocationId,
        exit: Exit,
        log_bytes: u64,
    ) -> Result<Heard, Error> {
        let mut state = self.0.state.lock().await;
        let id = allocation.task;
        let ours = |live: &&mut Live| live.is_on(agent) && live.run() == allocation;
        let live = state.tasks.get_mut(&id).filter(ours);
        let Some(live) = live else { return Ok(Heard::Forget) };
        let known = live.log.received();
        if known < log_bytes {
            if !live.log.is_starved() {
                return Ok(Heard::SendFrom(known));
            }
            if !std::mem::replace(&mut live.log_is_lost, true) {
                return Ok(Heard::Later);
            }
            let lost = log_bytes - known;
            tracing::warn!(task = %id, bytes = lost, "the end of a task's log is lost: the disk is full");
            let text = format!("the last {lost} bytes of this log are lost: the master's disk is full");
            self.say(&live.log, &text);
        }
        let Some(live) = state.tasks.get(&id) else { return Ok(Heard::Forget) };
        let ours = live.end_reason.filter(|_| exit.killed);
        let reason =
            ours.map_or_else(|| exit.reason(live.killers.first().map(String::as_str)), str::to_owned);
        // Its start wasn't told.
        if matches!(live.phase(), Phase::Assigned(_)) && exit.failure.is_none() {
            let started = Event::Started(self.0.parts.clock.now());
            let mut tx = self.0.parts.store.write_urgent().await?;
            store::allocation::advance(&mut tx, allocation, &started).await?;
            tx.commit_unaudited("what a task does is in its own log").await?;
        }
        self.end_by(&mut state, id, Some(exit.code), exit.signal, &reason).await?;
        Ok(Heard::Forget)
    }
}
