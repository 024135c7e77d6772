//! The agents' side of the scheduler: who is connected, what they hold, what they report.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::agent::{Register, ToAgent};
use domain::agent::{Device, Power};
use domain::id::{AgentId, TaskId};
use domain::task::{Exit, State as TaskState, Task};
use domain::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

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
    /// Since when.
    pub since: Timestamp,
    /// Which identities it can give.
    pub power: Power,
}

/// Longest trouble that is shown, in characters.
const MAX_TROUBLE: usize = 2000;

/// What an agent says, for a terminal or a page.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TROUBLE).collect()
}

impl Scheduler {
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
                trouble: c.about.trouble.as_deref().map(plain),
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
        self.resolve_doubt(&mut state).await?;
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
        if let Err(error) = self.settle_missing(&mut state, agent, &held).await {
            // It connects again, and is asked again.
            state.connected.remove(agent);
            state.gone.insert(agent.clone(), Instant::now());
            return Err(error);
        }
        self.0.wake.notify_one();
        Ok(connection)
    }

    /// What is assigned to an agent that doesn't hold it is started there, or is over.
    async fn settle_missing(
        &self,
        state: &mut State,
        agent: &AgentId,
        held: &BTreeSet<TaskId>,
    ) -> Result<(), Error> {
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
                (TaskState::Starting, false) => self.start(state, &[id]).await?,
                (_, true) => {
                    let reason =
                        format!("resources failed with non-zero exit code: agent {agent} lost the task");
                    self.end(state, id, None, &reason).await?;
                }
                _ => self.end(state, id, None, KILLED_IN_QUEUE).await?,
            }
        }
        Ok(())
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
        let mut tx = self.0.parts.store.write_urgent().await?;
        store::task::set_running(&mut tx, id, now).await?;
        tx.commit_unaudited("what a task does is in its own log").await?;
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
            let mut tx = self.0.parts.store.write_urgent().await?;
            store::task::set_running(&mut tx, id, self.0.parts.clock.now()).await?;
            tx.commit_unaudited("what a task does is in its own log").await?;
        }
        self.end(&mut state, id, Some(exit.code), &reason).await?;
        Ok(Ok(()))
    }
}
