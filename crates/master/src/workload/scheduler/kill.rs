//! Ending a task because somebody says so. It is done first and written down as soon as that can be: a full disk, or a
//! database that is away, keeps nobody from ending what runs (A4).

use std::collections::BTreeSet;

use domain::allocation::{Cause, Event, PREEMPTION_TIMEOUT, Phase};
use domain::audit::Entry;
use domain::id::{AgentId, AllocationId, TaskId};
use domain::task::{Fault, Standing, Task};
use domain::time::Timestamp;
use tokio::time::Instant;

use super::{How, KILLED_IN_QUEUE, Live, Scheduler, State};
use crate::Error;

/// How a task ended whose agent was taken out of service.
const AGENT_DISABLED: &str = "agent disabled";

/// How a run ended whose task was paused while it waited.
const PAUSED_IN_QUEUE: &str = "allocation was paused before it started";

/// How a task ended that has had its time.
const TIME_IS_OVER: &str = "allocation was killed: it has run for as long as its resource pool allows";

/// How a task ended whose log was too much for the master's disk.
const NO_ROOM: &str = "allocation was killed: the master's disk is nearly full, and of the accounts with logs on it this task's has most";

/// A kill that was done and couldn't be written down yet.
pub(super) struct Unrecorded {
    pub(super) run: AllocationId,
    pub(super) cause: Cause,
    /// Until when it may end by itself.
    pub(super) until: Option<Timestamp>,
    /// What the audit log says; `None` when it has an entry of what led to it.
    pub(super) entry: Option<Entry>,
}

impl Scheduler {
    /// Ends a task, for the reason that its log says; answers it as it is then, while it lives. One that is over stays as
    /// it is, and nothing happened. One that lives in the database alone is taken up first: a kill acts on what is stored
    /// (B1).
    ///
    /// # Errors
    /// When the task isn't known here and the database can't be asked.
    pub(crate) async fn kill(&self, id: TaskId, entry: &Entry, why: &str) -> Result<Option<Task>, Error> {
        let (this, entry, why) = (self.clone(), entry.clone(), why.to_owned());
        let killed = self.change(move |state| {
            Box::pin(async move {
                this.take_up_if_missing(state, id).await?;
                let killer = entry.account().map(str::to_owned);
                let Some(live) = state.tasks.get_mut(&id) else { return Ok(None) };
                let run = live.run();
                let told = killer.as_deref().is_none_or(|name| live.killed_by(name));
                let why = killer.map_or_else(|| why.clone(), |name| format!("{why}: {name}"));
                this.act_on(state, id, Cause::Killed, &why);
                if told {
                    let entry = Some(entry.after_the_fact());
                    state.unrecorded.push_back(Unrecorded { run, cause: Cause::Killed, until: None, entry });
                }
                this.record(state).await;
                Ok(Some(run))
            })
        });
        let Some(run) = killed.await? else { return Ok(None) };
        self.finish_withdrawn(&[run]).await;
        Ok(self.0.view.task(id).map(|task| task.as_ref().clone()))
    }

    /// Ends what runs on an agent, or on one of its slots, which was taken out of service (B23).
    pub(crate) async fn end_on(&self, agent: &AgentId, slot: Option<u32>) {
        let (this, agent) = (self.clone(), agent.clone());
        let ended = self.change(move |state| {
            Box::pin(async move {
                let there = |live: &&Live| {
                    let part = live.part_on(&agent);
                    part.is_some_and(|part| slot.is_none_or(|slot| part.slots.contains(&slot)))
                };
                let runs = state.tasks.values().filter(there).filter(|live| !live.task.is_killed());
                let tasks: Vec<TaskId> = runs.map(|live| live.task.id).collect();
                this.end_for(state, &tasks, AGENT_DISABLED).await;
                Ok(())
            })
        });
        if let Err(error) = ended.await {
            tracing::error!(%error, "what ran on an agent without service may go on");
        }
    }

    /// Ends these, whose logs the master's disk has no room for, and which hold most of it (A4).
    pub(crate) async fn end_for_room(&self, tasks: &[TaskId]) {
        let (this, tasks) = (self.clone(), tasks.to_vec());
        let ended = self.change(move |state| {
            Box::pin(async move {
                let lives = |id: &TaskId| state.tasks.get(id).filter(|live| !live.task.is_killed());
                let living: Vec<_> = tasks.into_iter().filter_map(|id| lives(&id).map(Live::run)).collect();
                let ids: Vec<TaskId> = living.iter().map(|run| run.task).collect();
                this.end_for(state, &ids, NO_ROOM).await;
                Ok(living)
            })
        });
        match ended.await {
            Ok(runs) => self.finish_withdrawn(&runs).await,
            Err(error) => tracing::error!(%error, "tasks whose logs have no room may go on"),
        }
    }

    /// Ends these for a reason of ours.
    async fn end_for(&self, state: &mut State, tasks: &[TaskId], reason: &'static str) {
        for id in tasks {
            let Some(live) = state.tasks.get_mut(id) else { continue };
            live.end_reason = Some(reason);
            let run = live.run();
            self.act_on(state, *id, Cause::Killed, reason);
            let cause = Cause::Killed;
            state.unrecorded.push_back(Unrecorded { run, cause, until: None, entry: None });
        }
        self.record(state).await;
    }

    /// Has a run end for another one, or because its time is over. It is to be recorded, as a kill is.
    pub(super) fn end_early(&self, state: &mut State, run: AllocationId, cause: Cause, why: &str) {
        let is_news =
            |live: &&Live| live.run() == run && live.phase().asked().is_none_or(|asked| asked.cause < cause);
        if state.tasks.get(&run.task).filter(is_news).is_none() {
            return;
        }
        if let Some(live) = state.tasks.get_mut(&run.task).filter(|_| cause == Cause::Expired) {
            live.end_reason = Some(TIME_IS_OVER);
        }
        let until = self.act_on(state, run.task, cause, why);
        state.unrecorded.push_back(Unrecorded { run, cause, until, entry: None });
    }

    pub(super) async fn record(&self, state: &mut State) {
        if let Err(error) = self.finish_kills(state).await {
            tracing::warn!(%error, "tasks were killed; that is written down as soon as it can be");
            self.wake();
        }
    }

    /// Waits until the ends of those of these that only waited are written down, if that can be.
    pub(super) async fn finish_withdrawn(&self, runs: &[AllocationId]) {
        for run in runs {
            let is_withdrawn = |task: &Task| matches!(task.latest.phase, Phase::Withdrawn(_));
            if self.0.view.task(run.task).is_some_and(|task| is_withdrawn(&task))
                && let Err(error) = self.write_end(*run).await
            {
                tracing::warn!(%run, %error, "a task was killed in the queue; that is written down as soon as it can be");
                self.wake();
            }
        }
    }

    /// From now on the task isn't placed any more. What runs of it is told to save what it has, if it can go on later and listens,
    /// and answered is how long it has for that; else its agents are told to end it.
    pub(super) fn act_on(&self, state: &mut State, id: TaskId, cause: Cause, why: &str) -> Option<Timestamp> {
        let live = state.tasks.get_mut(&id)?;
        // Who asks again doesn't want to wait.
        let now = live.task.is_killed() && cause == Cause::Killed;
        let until = self.time_for(live, cause);
        live.step(&until.map_or(Event::Asked(cause), |until| Event::Signalled { cause, until }));
        let Phase::Ending { asked, .. } = live.phase() else { return until };
        let has_time = asked.until.is_some();
        let how = if cause == Cause::Killed { "forcibly killing" } else { "gracefully terminating" };
        let text = format!("{how} allocation's remaining resources (reason: {why})");
        self.say(&live.log, &text);
        if has_time {
            live.deadline.get_or_insert(Instant::now() + PREEMPTION_TIMEOUT);
        } else {
            live.deadline = None;
            self.cancel(live, now);
        }
        if cause <= Cause::Paused {
            live.signal.cancel();
        }
        until
    }

    /// Has the agents of a run end what they have of it.
    pub(super) fn cancel(&self, live: &Live, now: bool) {
        if let Some(on) = live.phase().placement() {
            self.0.parts.managers.get(&live.manager).cancel(live.run(), on, now);
        }
    }

    /// Writes down what was killed, then the ends of what only waited.
    ///
    /// # Errors
    /// What kept the first of them from being written. It is the last one then, so that the next time others come before it.
    pub(super) async fn finish_kills(&self, state: &mut State) -> Result<(), Error> {
        let mut failed = None;
        while let Some(kill) = state.unrecorded.front() {
            if let Err(error) = self.write_kill(kill).await {
                state.unrecorded.rotate_left(1);
                failed = Some(error);
                break;
            }
            let Some(Unrecorded { run, cause, .. }) = state.unrecorded.pop_front() else { break };
            let paused = state.tasks.get(&run.task).filter(|live| live.task.standing == Standing::Paused);
            if cause == Cause::Killed && paused.is_some() {
                self.forget(state, run.task);
            }
        }
        let unwritten: BTreeSet<TaskId> = state.unrecorded.iter().map(|kill| kill.run.task).collect();
        let withdrawn =
            |live: &&Live| matches!(live.phase(), Phase::Withdrawn(_)) && !unwritten.contains(&live.task.id);
        let all = state.tasks.busy().filter(withdrawn).map(|live| (live.task.id, live.phase().asked()));
        for (id, asked) in all.collect::<Vec<_>>() {
            let is_paused = asked.is_some_and(|asked| asked.cause == Cause::Paused);
            let reason = if is_paused { PAUSED_IN_QUEUE } else { KILLED_IN_QUEUE };
            self.decide_end(state, id, How::unheard(Fault::Ended, reason.to_owned()));
        }
        failed.map_or(Ok(()), Err)
    }

    async fn write_kill(&self, kill: &Unrecorded) -> Result<(), Error> {
        let mut tx = self.0.parts.store.write_urgent().await?;
        store::task::set_asked(&mut tx, kill.run, kill.cause, kill.until).await?;
        match &kill.entry {
            Some(entry) => tx.commit(entry, self.0.parts.clock.now()).await?,
            None => tx.commit_unaudited("the agent's entry says it").await?,
        }
        Ok(())
    }
}
