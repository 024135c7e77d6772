//! How a task ends: its log complete and on the disk (as far as that takes it), then the database, then the memory.
//!
//! Thousands can end at once, when an agent is lost or shut out. That such a task is over is decided at once and in the
//! memory; it is written down some at a time, and nobody who needs the state waits for all of them, or for a log's way to
//! the disk.

use std::sync::Arc;

use domain::allocation::{Event, PartEnding};
use domain::id::{AgentId, AllocationId, TaskId};
use domain::task::{Ending, Fault, Standing, Task};
use domain::time::Timestamp;
use store::{StoreError, Tx};

use super::{How, Live, Scheduler, State};
use crate::Error;
use crate::log::TaskLog;

/// Ends that one transaction writes down.
const AT_ONCE: usize = 64;

/// An end that is being written down.
struct Decided {
    run: AllocationId,
    log: Arc<TaskLog>,
    exits: Vec<PartEnding>,
    name: String,
    how: How,
}

impl Scheduler {
    /// A task's run is over; that is written down by the loop, or by who calls [`Self::write_ends`] or [`Self::write_end`]
    /// first. What its agent says counts more than what was decided without it.
    pub(super) fn decide_end(&self, state: &mut State, id: TaskId, how: How) {
        let Some(live) = state.tasks.get_mut(&id) else { return };
        if live.is_over.is_some() && how.code.is_none() {
            return;
        }
        if live.is_over.replace(how).is_none() {
            state.decided.push_back(id);
        }
        self.wake();
    }

    /// All that was given to an agent is over.
    pub(super) fn decide_ends_on(&self, state: &mut State, agent: &AgentId, reason: &str) {
        let mine = |live: &&Live| live.is_on(agent);
        let tasks: Vec<TaskId> = state.tasks.busy().filter(mine).map(|live| live.task.id).collect();
        for id in tasks {
            self.lose_part(state, id, agent, How::unheard(Fault::Lost, reason.to_owned()));
        }
    }

    /// Writes down all ends that were decided until now.
    ///
    /// # Errors
    /// When the database doesn't take them; they are tried again.
    pub(super) async fn write_ends(&self) -> Result<(), Error> {
        let _mine = self.0.writes_ends.lock().await;
        loop {
            let some = self.note(|state| take(state, None)).await;
            if some.is_empty() {
                return Ok(());
            }
            self.write_down(some).await?;
        }
    }

    /// Writes down the end of one run that is decided, and waits for no others (A5).
    ///
    /// # Errors
    /// When the database doesn't take it; it is tried again.
    pub(super) async fn write_end(&self, run: AllocationId) -> Result<(), Error> {
        let mut failures = self.0.failures.subscribe();
        let Some(over) = self.0.view.over(run) else { return Ok(()) };
        let one = self.note(move |state| take(state, Some(run.task))).await;
        if !one.is_empty() {
            return self.write_down(one).await;
        }
        // Somebody is writing it.
        tokio::select! {
            () = over.cancelled() => Ok(()),
            _ = failures.changed() => Err(Error::Store(StoreError::Unavailable(
                "the end of a task couldn't be recorded yet".to_owned(),
            ))),
        }
    }

    /// Their logs first, which nobody waits for but who asked for this; then the database, all together; then the memory.
    async fn write_down(&self, some: Vec<Decided>) -> Result<(), Error> {
        let at = self.0.parts.clock.now();
        let some = Arc::new(some);
        let finished = Arc::clone(&some);
        let finish = move || finished.iter().for_each(|end| end.finish_log(at));
        if let Err(error) = tokio::task::spawn_blocking(finish).await {
            tracing::error!(%error, "the ends of tasks' logs may be lost");
        }
        let this = self.clone();
        let write = self.change(move |state| {
            Box::pin(async move {
                let written = async {
                    let mut tx = this.0.parts.store.write_urgent().await?;
                    let mut ended = Vec::with_capacity(some.len());
                    for end in some.iter() {
                        ended.push((end.run.task, end.write(&mut tx, state, at).await?));
                    }
                    tx.commit_unaudited("what a task does is in its own log").await.map(|()| ended)
                };
                match written.await {
                    Ok(ended) => ended.into_iter().for_each(|(id, task)| this.ended(state, id, task)),
                    Err(error) => {
                        some.iter().rev().for_each(|end| state.decided.push_front(end.run.task));
                        this.doubt();
                        return Err(error.into());
                    }
                }
                Ok(())
            })
        });
        let written = write.await;
        if written.is_err() {
            self.0.failures.send_modify(|failures| *failures += 1);
        }
        written
    }

    /// A task's run is over, and that is in the database: so is the task, or it goes on as that says.
    fn ended(&self, state: &mut State, id: TaskId, ended: Option<Task>) {
        let goes_on = ended.filter(|task| task.standing != Standing::Over);
        let Some(task) = goes_on else { return self.forget(state, id) };
        self.next_run(state, task);
    }
}

/// The next ends that are to be written down, or one task's.
fn take(state: &mut State, only: Option<TaskId>) -> Vec<Decided> {
    let mut some = Vec::new();
    if let Some(only) = only {
        let Some(at) = state.decided.iter().position(|id| *id == only) else { return some };
        state.decided.remove(at);
        some.extend(Decided::of(state, only));
        return some;
    }
    while some.len() < AT_ONCE {
        let Some(id) = state.decided.pop_front() else { break };
        some.extend(Decided::of(state, id));
    }
    some
}

impl Decided {
    fn of(state: &State, id: TaskId) -> Option<Self> {
        let live = state.tasks.get(&id)?;
        let how = live.is_over.clone()?;
        Some(Self {
            run: live.run(),
            log: Arc::clone(&live.log),
            exits: live.task.latest.exits.clone(),
            name: live.task.description.to_string(),
            how,
        })
    }

    async fn write(&self, tx: &mut Tx, state: &State, at: Timestamp) -> Result<Option<Task>, StoreError> {
        let How { code, signal, fault, reason, began } = &self.how;
        note_kill(tx, state, self.run.task).await?;
        if *began {
            store::allocation::advance(tx, self.run, &Event::Started(at)).await?;
        }
        store::allocation::note_exits(tx, self.run, &self.exits).await?;
        let reason = reason.as_str().into();
        let ending = Ending { at, exit_code: *code, exit_signal: *signal, fault: *fault, reason };
        store::allocation::end(tx, self.run, &ending).await
    }

    /// A disk that doesn't take it won't take it later either, and the end counts more (A4).
    fn finish_log(&self, at: Timestamp) {
        let (task, last) = (self.run.task, last_line(&self.name, self.how.code, &self.how.reason));
        if let Err(error) = self.log.append_end(at, &last) {
            tracing::warn!(%task, %error, "the end of a task was not written to its log");
        }
        if let Err(error) = self.log.sync() {
            tracing::error!(%task, %error, "the end of a task's log may be lost");
        }
    }
}

/// A kill that was done and isn't written down yet counts in what becomes of a task.
async fn note_kill(tx: &mut Tx, state: &State, id: TaskId) -> Result<(), StoreError> {
    for kill in state.unrecorded.iter().filter(|kill| kill.run.task == id) {
        store::task::set_asked(tx, kill.run, kill.cause, kill.until).await?;
    }
    Ok(())
}

/// What the log says last.
fn last_line(name: &str, code: Option<i32>, reason: &str) -> String {
    match code {
        Some(0) if reason == "allocation exited successfully" => {
            "resources exited successfully with a zero exit code".to_owned()
        }
        _ if reason.starts_with("resources failed") => format!("crashed: {reason}"),
        _ => format!("{name} was terminated: {reason}"),
    }
}
