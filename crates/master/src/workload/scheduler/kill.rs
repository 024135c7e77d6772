//! Ending a task because somebody says so. It is done first and written down as soon as that can be: a full disk, or a
//! database that is away, keeps nobody from ending what runs (A4).

use domain::allocation::{Cause, Event, Phase};
use domain::audit::Entry;
use domain::id::{AgentId, TaskId};
use domain::task::Task;

use api::agent::ToAgent;

use super::{KILLED_IN_QUEUE, Live, Scheduler, State};
use crate::Error;

/// How a task ended whose agent was taken out of service.
const AGENT_DISABLED: &str = "agent disabled";

/// How a task ended whose log was too much for the master's disk.
const NO_ROOM: &str = "allocation was killed: the master's disk is nearly full, and of the accounts with logs on it this task's has most";

/// A kill that was done and couldn't be written down yet.
pub(super) struct Unrecorded {
    pub(super) task: TaskId,
    /// What the audit log says; `None` when it has an entry of what led to it.
    entry: Option<Entry>,
}

impl Scheduler {
    /// Ends a task, for the reason that its log says; answers it as it is then, while it lives. One that is over stays as
    /// it is, and nothing happened. One that lives in the database alone is taken up first: a kill acts on what is stored
    /// (B1).
    ///
    /// # Errors
    /// When the task isn't known here and the database can't be asked.
    pub(crate) async fn kill(&self, id: TaskId, entry: &Entry, why: &str) -> Result<Option<Task>, Error> {
        let mut state = self.0.state.lock().await;
        self.take_up_if_missing(&mut state, id).await?;
        if !state.tasks.contains_key(&id) {
            return Ok(None);
        }
        let killer = entry.account();
        let told =
            killer.is_none_or(|name| state.tasks.get_mut(&id).is_some_and(|live| live.killed_by(name)));
        let why = killer.map_or_else(|| why.to_owned(), |name| format!("{why}: {name}"));
        self.act_on_kill(&mut state, id, &why);
        if told {
            state.unrecorded.push(Unrecorded { task: id, entry: Some(entry.clone().after_the_fact()) });
        }
        if let Err(error) = self.finish_kills(&mut state).await {
            tracing::warn!(task = %id, %error, "a task was killed; that is written down as soon as it can be");
            self.0.wake.notify_one();
        }
        Ok(state.tasks.get(&id).map(|live| live.task.clone()))
    }

    /// Ends what runs on an agent, or on one of its slots, which was taken out of service (B23).
    pub(crate) async fn end_on(&self, agent: &AgentId, slot: Option<u32>) {
        let mut state = self.0.state.lock().await;
        let there = |live: &&Live| {
            let part = live.phase().part_on(agent);
            part.is_some_and(|part| slot.is_none_or(|slot| part.slots.contains(&slot)))
        };
        let runs = state.tasks.values().filter(there).filter(|live| !live.task.is_killed());
        let tasks: Vec<TaskId> = runs.map(|live| live.task.id).collect();
        for id in tasks {
            self.act_on_kill(&mut state, id, AGENT_DISABLED);
            if let Some(live) = state.tasks.get_mut(&id) {
                live.end_reason = Some(AGENT_DISABLED);
            }
            state.unrecorded.push(Unrecorded { task: id, entry: None });
        }
        if let Err(error) = self.finish_kills(&mut state).await {
            tracing::warn!(%agent, %error, "what ran there was ended; that is written down as soon as it can be");
            self.0.wake.notify_one();
        }
    }

    /// Ends these, whose logs the master's disk has no room for, and which hold most of it (A4).
    pub(crate) async fn end_for_room(&self, tasks: &[TaskId]) {
        let mut state = self.0.state.lock().await;
        for id in tasks {
            let Some(live) = state.tasks.get_mut(id).filter(|live| !live.task.is_killed()) else {
                continue;
            };
            live.end_reason = Some(NO_ROOM);
            self.act_on_kill(&mut state, *id, NO_ROOM);
            state.unrecorded.push(Unrecorded { task: *id, entry: None });
        }
        if let Err(error) = self.finish_kills(&mut state).await {
            tracing::warn!(%error, "tasks were ended to make room; that is written down as soon as it can be");
            self.0.wake.notify_one();
        }
    }

    /// From now on the task isn't placed any more, and its agent is told.
    pub(super) fn act_on_kill(&self, state: &mut State, id: TaskId, why: &str) {
        let Some(live) = state.tasks.get_mut(&id) else { return };
        // Who asks again doesn't want to wait.
        let now = live.task.is_killed();
        live.step(&Event::Asked(Cause::Killed));
        if !matches!(live.phase(), Phase::Ending { .. }) {
            return;
        }
        let text = format!("forcibly killing allocation's remaining resources (reason: {why})");
        self.say(&live.log, &text);
        let allocation = live.run();
        for part in live.phase().parts() {
            if let Some(connected) = state.connected.get(&part.agent) {
                let _ = connected.link.send(ToAgent::Kill { allocation, now });
            }
        }
    }

    /// Writes down what was killed, then the ends of what only waited.
    pub(super) async fn finish_kills(&self, state: &mut State) -> Result<(), Error> {
        while let Some(kill) = state.unrecorded.first() {
            let mut tx = self.0.parts.store.write_urgent().await?;
            store::task::set_killed(&mut tx, kill.task).await?;
            match &kill.entry {
                Some(entry) => tx.commit(entry, self.0.parts.clock.now()).await?,
                None => tx.commit_unaudited("the agent's entry says it").await?,
            }
            state.unrecorded.remove(0);
        }
        let withdrawn = |live: &&Live| matches!(live.phase(), Phase::Withdrawn(_));
        let tasks: Vec<TaskId> = state.tasks.values().filter(withdrawn).map(|live| live.task.id).collect();
        for id in tasks {
            self.end(state, id, None, KILLED_IN_QUEUE).await?;
        }
        Ok(())
    }
}
