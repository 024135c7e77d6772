//! The agents' side of the scheduler: who is connected, what they hold, what they report.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::agent::{Register, Remedy, ToAgent, Welcome};
use domain::allocation::{Asked, Cause, Event, Phase, Placement};
use domain::capability::Capabilities;
use domain::id::{AgentId, AllocationId, TaskId};
use domain::task::{Exit, Fault};
use domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{At, Connected, How, KILLED_IN_QUEUE, Live, Scheduler, State};
use crate::Error;

/// How a run ended that had heard that it was to make room, or to pause.
const PREEMPTED: &str = "allocation was preempted";

/// How a part of a run ended that was ended because another one failed.
const PART_FAILED: &str = "allocation was killed: another part of it failed";

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

/// How far the master is with a run's log, in bytes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Had {
    /// It has what is before this.
    pub offset: u64,
    /// And this for certain: it is on the disk.
    pub kept: u64,
    /// There is no space for more: send again in a while.
    pub full: bool,
}

/// What is answered to who says that a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Its end is recorded.
    Forget,
    /// Some of its log is missing, from here on.
    SendFrom(u64),
    /// Nothing; it says it again in a while.
    Later,
}

/// What follows when a run is said to be over.
#[derive(Default)]
enum Next {
    /// That is answered.
    Said(Heard),
    /// One of its parts is: where, and how.
    Part(AgentId, How),
    /// It is, and that is to be written down.
    #[default]
    Over,
}

impl Scheduler {
    /// An agent's service changed.
    pub(crate) async fn agent_changed(&self, agent: store::agent::Agent) {
        self.note(|state| state.service.insert(agent.id.clone(), agent)).await;
        self.wake();
    }

    /// An agent is connected and says what it holds. A connection of the same process is replaced; one of another
    /// process has the place until it is known to be dead (B5): then the arrival comes back with it.
    pub(crate) async fn connect(
        &self,
        agent: &AgentId,
        arrival: Arrival,
    ) -> Result<Result<u64, Box<(Arrival, Rival)>>, Error> {
        let unknown = self.unknown_tasks(&arrival.about.held).await?;
        let (this, agent) = (self.clone(), agent.clone());
        self.change(move |state| Box::pin(async move { this.take_in(state, &agent, arrival, unknown).await }))
            .await
    }

    async fn take_in(
        &self,
        state: &mut State,
        agent: &AgentId,
        arrival: Arrival,
        unknown: BTreeSet<TaskId>,
    ) -> Result<Result<u64, Box<(Arrival, Rival)>>, Error> {
        self.resolve_doubt(state).await?;
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
        let sorted = self.sort_out(state, agent, (&held, &given), &unknown)?;
        self.end_begun(state, agent, &sorted).await?;
        let welcome = Welcome { version: env!("CARGO_PKG_VERSION").into(), can: Some(Capabilities::ALL) };
        let _ = link.send(ToAgent::Welcome(welcome));
        self.disown(state, agent, &sorted, &link).await;
        for allocation in &held {
            let live = state.tasks.get(&allocation.task);
            let ours =
                live.filter(|live| live.run() == *allocation && live.is_on(agent) && live.is_over.is_none());
            let offset = ours.map_or(0, |live| live.log.received(live.output_of(agent)));
            let _ =
                link.send(ToAgent::LogsReceived { allocation: *allocation, offset, kept: 0, full: false });
            // What isn't known here any more must not go on there.
            if ours.is_none_or(Live::is_being_ended) {
                let _ = link.send(ToAgent::Kill { allocation: *allocation, now: false });
            }
        }
        let since = self.0.parts.clock.now();
        state.gone.remove(agent);
        let pongs = watch::Sender::new(0);
        self.0.parts.managers.agents.came(agent, &link, &about);
        let connected = Connected { connection, link, about, version, instance, skew, since, pongs };
        state.connected.insert(agent.clone(), connected);
        if let Err(error) = self.settle_missing(state, agent, &held).await {
            // It connects again, and is asked again.
            state.connected.remove(agent);
            state.gone.insert(agent.clone(), Instant::now());
            return Err(error);
        }
        self.wake();
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
        let missing: Vec<(AllocationId, Phase)> =
            state.tasks.values().filter(is_missing).map(|live| (live.run(), live.phase().clone())).collect();
        let mut start: Vec<(AllocationId, Placement)> = Vec::new();
        for (run, phase) in missing {
            let id = run.task;
            match phase {
                // What the others have of it is by a token that would count no more.
                Phase::Assigned(on) if !on.is_of_several() => start.push((run, on)),
                _ if phase.since().is_some() || phase.asked().is_none() => {
                    let reason =
                        format!("resources failed with non-zero exit code: agent {agent} lost the task");
                    self.lose_part(state, id, agent, How::unheard(Fault::Lost, reason));
                }
                _ => {
                    let how = How::unheard(Fault::Ended, KILLED_IN_QUEUE.to_owned());
                    self.lose_part(state, id, agent, how);
                }
            }
        }
        self.start(state, start).await
    }

    /// An agent answered a ping.
    pub(crate) async fn ponged(&self, agent: &AgentId, connection: u64, number: u64) {
        let agent = agent.clone();
        self.note(move |state| {
            if let Some(there) = state.connected.get(&agent).filter(|there| there.connection == connection) {
                there.pongs.send_replace(number);
            }
        })
        .await;
    }

    /// Takes a dead connection's place away.
    pub(crate) async fn drop_connection(&self, agent: &AgentId, connection: u64) {
        let agent = agent.clone();
        self.note(move |state| drop(state.leave(&agent, Some(connection)))).await;
    }

    /// An agent came or left.
    pub(crate) async fn agent_seen(&self, agent: &AgentId, address: Option<String>, now: Timestamp) {
        let agent = agent.clone();
        self.note(move |state| {
            if let Some(known) = state.service.get_mut(&agent) {
                known.last_seen_at = Some(now);
                known.last_address = address.or(known.last_address.take());
            }
        })
        .await;
    }

    /// An agent has a key, maybe another one: a connection by the key before is over.
    pub(crate) async fn agent_enrolled(&self, agent: store::agent::Agent) {
        self.note(move |state| {
            state.leave(&agent.id, None);
            state.service.insert(agent.id.clone(), agent);
        })
        .await;
        self.wake();
    }

    /// An agent was shut out: it is told to end its tasks, for as far as it still obeys, and they are over here at once.
    pub(crate) async fn agent_revoked(&self, agent: store::agent::Agent) -> Result<(), Error> {
        let this = self.clone();
        self.note(move |state| {
            let id = agent.id.clone();
            let mine = |live: &&Live| live.is_on(&id);
            let runs: Vec<_> = state.tasks.values().filter(mine).map(Live::run).collect();
            if let Some(there) = state.leave(&id, None) {
                for allocation in runs {
                    let _ = there.link.send(ToAgent::Kill { allocation, now: false });
                }
                let reason = format!("agent {id} was revoked by an administrator");
                let _ = there.link.send(ToAgent::Refused { reason, remedy: Remedy::Enrol });
            }
            // Whatever can't be ended now is when its time is over.
            state.gone.insert(id.clone(), Instant::now());
            state.service.insert(id.clone(), agent);
            let reason = format!("resources failed with non-zero exit code: agent {id} was revoked");
            this.decide_ends_on(state, &id, &reason);
        })
        .await;
        self.write_ends().await
    }

    /// A connection is over; its tasks go on where they are.
    pub(crate) async fn disconnect(&self, agent: &AgentId, connection: u64) {
        let (this, agent) = (self.clone(), agent.clone());
        self.note(move |state| {
            if state.leave(&agent, Some(connection)).is_none() {
                return;
            }
            let text =
                format!("agent {agent} went away; the task goes on there and is taken up when it is back");
            for live in state.tasks.values().filter(|live| live.is_on(&agent)) {
                this.say(&live.log, &text);
            }
        })
        .await;
    }

    /// A node has the task in hand.
    pub(crate) async fn started(&self, at: &At, run: AllocationId) -> Result<(), Error> {
        let (this, at) = (self.clone(), at.clone());
        let started = self.change(move |state| {
            Box::pin(async move {
                let started = Event::Started(this.0.parts.clock.now());
                let is_news = |live: &&Live| {
                    live.run() == run && live.is_at(&at) && live.phase().next(&started).is_some()
                };
                if state.tasks.get(&run.task).filter(is_news).is_none() {
                    return Ok(());
                }
                let mut tx = this.0.parts.store.write_urgent().await?;
                store::allocation::advance(&mut tx, run, &started).await?;
                tx.commit_unaudited("what a task does is in its own log").await?;
                if let Some(live) = state.tasks.get_mut(&run.task) {
                    live.step(&started);
                    this.say(&live.log, &format!("Resources for {} have started", live.task.description));
                }
                Ok(())
            })
        });
        started.await
    }

    /// A piece of a task's log. Answers how far the master has it. While the disk has no space for it the agent keeps it
    /// and sends it again a little later, and the connection stays for what is more important (A4).
    pub(crate) async fn logged(
        &self,
        at: &At,
        run: AllocationId,
        offset: u64,
        records: Vec<u8>,
    ) -> Result<Had, Error> {
        let log = self.0.view.log_at(at, run);
        // A run that is no longer known only has to come to its end.
        let Some((log, of)) = log else {
            return Ok(Had { offset: offset.saturating_add(records.len() as u64), kept: 0, full: false });
        };
        let append = move || {
            let was_starved = log.is_starved();
            let appended = log.append_from_agent(of, offset, &records);
            if appended.is_err() && log.is_starved() {
                // What is here for certain can go at the agent, which may be on the same disk.
                log.secure();
                if !was_starved && let Err(error) = appended {
                    tracing::warn!(task = %run.task, %error, "no space for a task's log: its agent keeps the rest for now");
                }
                return Ok(Had { offset: log.received(of), kept: log.kept(of), full: true });
            }
            let offset = appended?;
            if log.is_due() {
                let log = Arc::clone(&log);
                tokio::task::spawn_blocking(move || log.secure());
            }
            // A piece behind one that found no space is passed over.
            Ok(Had { offset, kept: log.kept(of), full: log.is_starved() })
        };
        let appended = tokio::task::spawn_blocking(append).await;
        appended.map_err(std::io::Error::other).flatten().map_err(Error::io("keeping a task's log"))
    }

    /// A part of a task's log is with nobody any more: it goes on behind that (KP2). Answers as [`Self::logged`].
    pub(crate) async fn log_missing(
        &self,
        at: &At,
        allocation: AllocationId,
        from: u64,
        to: u64,
    ) -> Result<Had, Error> {
        let log = self.0.view.log_at(at, allocation);
        let Some((log, of)) = log else { return Ok(Had { offset: to, kept: 0, full: false }) };
        let now = self.0.parts.clock.now();
        let passed = move || {
            let passed = log.append_gap(of, now, from, to);
            if passed.is_err() && !log.is_starved() {
                return passed.map(|offset| Had { offset, kept: 0, full: false });
            }
            Ok(Had { offset: log.received(of), kept: log.kept(of), full: log.is_starved() })
        };
        let passed = tokio::task::spawn_blocking(passed).await;
        passed.map_err(std::io::Error::other).flatten().map_err(Error::io("keeping a task's log"))
    }

    /// A task is over, and its log was sent up to `log_bytes`. Answers whether the agent may forget it; else it has to
    /// send the log from the given offset again. When the disk has no space for the log, the end waits until the agent
    /// says it again, and then counts more than the log (A4).
    pub(crate) async fn exited(
        &self,
        at: &At,
        allocation: AllocationId,
        exit: Exit,
        log_bytes: u64,
    ) -> Result<Heard, Error> {
        let (this, at) = (self.clone(), at.clone());
        let heard = self.note(move |state| this.hear_exit(state, &at, allocation, &exit, log_bytes)).await;
        match heard {
            Next::Said(heard) => return Ok(heard),
            Next::Part(agent, how) => {
                if !self.part_exited(allocation, agent, how).await? {
                    return Ok(Heard::Forget);
                }
            }
            Next::Over => {}
        }
        self.write_end(allocation).await?;
        Ok(Heard::Forget)
    }

    /// What comes of it that a run, or a part of one, is over.
    fn hear_exit(
        &self,
        state: &mut State,
        at: &At,
        allocation: AllocationId,
        exit: &Exit,
        log_bytes: u64,
    ) -> Next {
        let id = allocation.task;
        let ours = |live: &&mut Live| live.is_at(at) && live.run() == allocation;
        let Some(live) = state.tasks.get_mut(&id).filter(ours) else {
            return Next::Said(Heard::Forget);
        };
        let known = live.log.received(live.output_of(&at.node));
        if known < log_bytes {
            if !live.log.is_starved() {
                return Next::Said(Heard::SendFrom(known));
            }
            if !std::mem::replace(&mut live.log_is_lost, true) {
                return Next::Said(Heard::Later);
            }
            let lost = log_bytes - known;
            tracing::warn!(task = %id, bytes = lost, "the end of a task's log is lost: the disk is full");
            let text = format!("the last {lost} bytes of this log are lost: the master's disk is full");
            self.say(&live.log, &text);
        }
        let asked = live.phase().asked();
        let goes_on = |asked: &Asked| matches!(asked.cause, Cause::Preempted | Cause::Paused);
        let preempted = asked.filter(|asked| asked.heard && goes_on(asked)).map(|_| PREEMPTED);
        let for_another = live.phase().asked().is_none() && live.task.latest.has_failed_part();
        let ours = live.end_reason.or(for_another.then_some(PART_FAILED)).filter(|_| exit.killed);
        // What it ends with then is no failure (contract "runtime", section 4.1).
        let ours = ours.or(preempted.filter(|_| exit.failure.is_none() && exit.limit.is_none()));
        let reason =
            ours.map_or_else(|| exit.reason(live.killers.first().map(String::as_str)), str::to_owned);
        // Its start may not have been told.
        let began = matches!(live.phase(), Phase::Assigned(_)) && exit.failure.is_none();
        let how = How { code: Some(exit.code), signal: exit.signal, fault: exit.whose(), reason, began };
        if live.phase().placement().is_some_and(Placement::is_of_several) {
            return Next::Part(at.node.clone(), how);
        }
        self.decide_end(state, id, how);
        Next::Over
    }
}
