//! Runs that go on later: pausing a task and resuming it, and how what runs of it is told to save what it has and end, and answers.
//! What can't go on later is ended at once, as a kill would.

use std::time::Duration;

use domain::allocation::{Cause, Event, PREEMPTION_TIMEOUT, Phase};
use domain::audit::Entry;
use domain::id::{AllocationId, TaskId};
use domain::task::{Standing, Task};
use domain::time::Timestamp;
use tokio::time::Instant;

use super::kill::Unrecorded;
use super::{Live, Scheduler, State};
use crate::Error;

impl Scheduler {
    /// Pauses a task that runs or waits: its run ends, and the next one begins when somebody asks for it.
    ///
    /// # Errors
    /// When it can't go on later, or doesn't go on now.
    pub(crate) async fn pause(&self, id: TaskId, entry: &Entry) -> Result<(), Error> {
        let (this, entry) = (self.clone(), entry.clone());
        let paused = self.change(move |state| {
            Box::pin(async move {
                this.take_up_if_missing(state, id).await?;
                let live = state.tasks.get(&id).ok_or_else(|| cannot("pause", id, "OVER"))?;
                resumes(&live.task)?;
                let standing = standing(&live.task);
                if standing != "ACTIVE" {
                    return Err(cannot("pause", id, standing));
                }
                let run = live.run();
                let until = this.act_on(state, id, Cause::Paused, "the task is paused");
                let entry = Some(entry.after_the_fact());
                state.unrecorded.push_back(Unrecorded { run, cause: Cause::Paused, until, entry });
                this.record(state).await;
                Ok(run)
            })
        });
        let run = paused.await?;
        self.finish_withdrawn(&[run]).await;
        Ok(())
    }

    /// Has a paused task go on, with another run.
    ///
    /// # Errors
    /// When it isn't paused.
    pub(crate) async fn resume(&self, id: TaskId, entry: &Entry) -> Result<(), Error> {
        let (this, entry) = (self.clone(), entry.clone());
        let resumed = self.change(move |state| {
            Box::pin(async move {
                this.take_up_if_missing(state, id).await?;
                let live = state.tasks.get(&id).ok_or_else(|| cannot("unpause", id, "OVER"))?;
                resumes(&live.task)?;
                let now = this.0.parts.clock.now();
                let mut tx = this.0.parts.store.write().await?;
                let Some(task) = store::task::resume(&mut tx, id, now).await? else {
                    return Err(cannot("unpause", id, standing(&live.task)));
                };
                tx.commit(&entry, now).await.inspect_err(|error| this.doubt_after(error))?;
                this.next_run(state, task);
                Ok(())
            })
        });
        resumed.await
    }

    /// A task has another run, which is in the database.
    pub(super) fn next_run(&self, state: &mut State, task: Task) {
        let Some(live) = state.tasks.get_mut(&task.id) else { return };
        *live = self.live(task, std::sync::Arc::clone(&live.log));
        if live.task.standing == Standing::Active {
            // Its first piece begins it, too.
            if let Err(error) = live.log.begin_run(live.run().run) {
                tracing::warn!(%error, "a task's log doesn't say yet that another run begins");
            }
            self.say(&live.log, &format!("Scheduling {} (id: {})", live.task.description, live.run()));
        }
        self.wake();
    }

    /// How long a run may take to end by itself; nothing for one that can't go on later, or doesn't listen.
    pub(super) fn time_for(&self, live: &Live, cause: Cause) -> Option<Timestamp> {
        let listens = live.listens && matches!(live.phase(), Phase::Running { .. } | Phase::Ending { .. });
        let has_time = listens && live.task.kind.resumes() && cause <= Cause::Paused;
        has_time.then(|| self.0.parts.clock.now().plus(PREEMPTION_TIMEOUT))
    }

    /// Ends what had time to end by itself and didn't.
    pub(super) fn end_overdue(&self, state: &mut State) {
        let is_late = |live: &&Live| live.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let late: Vec<TaskId> = state.tasks.busy().filter(is_late).map(|live| live.task.id).collect();
        for id in late {
            let Some(live) = state.tasks.get_mut(&id) else { continue };
            live.deadline = None;
            let text = "forcibly killing allocation's remaining resources (reason: it hasn't ended in the time that it had)";
            self.say(&live.log, text);
            self.cancel(live, false);
        }
    }

    /// Waits until a run is to save what it has and end, so long at most; answers whether it is. Who asks listens.
    pub(crate) async fn is_signalled(&self, run: AllocationId, patience: Duration) -> bool {
        let listening = self.note(move |state| {
            let ours = |live: &&Live| live.run() == run;
            let live = state.tasks.get(&run.task).filter(ours)?;
            let tokens = (live.signal.clone(), live.over.0.clone());
            if !live.listens
                && let Some(live) = state.tasks.get_mut(&run.task)
            {
                live.listens = true;
            }
            Some(tokens)
        });
        let Some((signal, over)) = listening.await else { return false };
        tokio::select! {
            biased;
            () = signal.cancelled() => true,
            () = over.cancelled() => false,
            () = tokio::time::sleep(patience) => false,
        }
    }

    /// A run says that it heard: what it ends with from now on is no failure, and it goes on later.
    ///
    /// # Errors
    /// When the database doesn't take it.
    pub(crate) async fn signal_heard(&self, run: AllocationId) -> Result<(), Error> {
        let this = self.clone();
        let heard = self.change(move |state| {
            Box::pin(async move {
                let is_news = |live: &&Live| live.run() == run && live.phase().next(&Event::Heard).is_some();
                if state.tasks.get(&run.task).filter(is_news).is_none() {
                    return Ok(());
                }
                // What it is asked for may not be written down yet.
                this.finish_kills(state).await?;
                let mut tx = this.0.parts.store.write_urgent().await?;
                store::allocation::advance(&mut tx, run, &Event::Heard).await?;
                tx.commit_unaudited("what a task does is in its own log").await?;
                if let Some(live) = state.tasks.get_mut(&run.task) {
                    live.step(&Event::Heard);
                }
                Ok(())
            })
        });
        heard.await
    }

    /// A run says that whoever gives its place is going to end it: all of it is told to save what it has.
    ///
    /// # Errors
    /// When it can't go on later.
    pub(crate) async fn signal_pending(&self, run: AllocationId) -> Result<(), Error> {
        let this = self.clone();
        let pending = self.change(move |state| {
            Box::pin(async move {
                let Some(live) = state.tasks.get(&run.task).filter(|live| live.run() == run) else {
                    return Ok(());
                };
                resumes(&live.task)?;
                this.end_early(state, run, Cause::Preempted, "it is told that it will be preempted");
                this.record(state).await;
                Ok(())
            })
        });
        pending.await
    }
}

/// Whether a task can go on later.
fn resumes(task: &Task) -> Result<(), Error> {
    if task.kind.resumes() {
        return Ok(());
    }
    let noun = task.kind.about().noun;
    Err(Error::Invalid(format!(
        "a {noun} can't go on later from where it was, so it can't be paused or preempted: kill it, or let it run"
    )))
}

fn cannot(what: &str, id: TaskId, standing: &str) -> Error {
    Error::Invalid(format!("cannot {what} task {id} as it is in state '{standing}'"))
}

/// In the word that Determined has for it (contract "rest", section 5).
fn standing(task: &Task) -> &'static str {
    match (task.standing, task.latest.phase.asked().map(|asked| asked.cause)) {
        (Standing::Over, _) => "OVER",
        (Standing::Paused, _) => "PAUSED",
        (Standing::Active, Some(Cause::Paused)) => "STOPPING_PAUSED",
        (Standing::Active, Some(Cause::Killed | Cause::Expired)) => "STOPPING_CANCELED",
        (Standing::Active, Some(Cause::Preempted) | None) => "ACTIVE",
    }
}
