//! How a task ends: its log complete and on the disk (as far as that takes it), then the database, then the memory.
//!
//! Thousands can end at once, when an agent is lost or shut out. That such a task is over is decided at once and in the
//! memory; it is written down some at a time, and nobody who needs the state waits for all of them, or for a log's way to
//! the disk.

use std::sync::Arc;

use domain::id::{AgentId, AllocationId, TaskId};
use domain::task::{Ending, Standing, Task};
use domain::time::Timestamp;
use store::{StoreError, Tx};

use super::{Live, Scheduler, State};
use crate::Error;
use crate::log::TaskLog;

/// Ends that one transaction writes down.
const AT_ONCE: usize = 64;

impl Scheduler {
    /// A task is over; that is written down by the loop, or by who calls [`Self::write_ends`] first.
    pub(super) fn decide_end(&self, state: &mut State, id: TaskId, reason: String) {
        let Some(live) = state.tasks.get_mut(&id).filter(|live| live.is_over.is_none()) else { return };
        live.is_over = Some(reason);
        state.decided.push_back(id);
        self.0.wake.notify_one();
    }

    /// All that was given to an agent is over.
    pub(super) fn decide_ends_on(&self, state: &mut State, agent: &AgentId, reason: &str) {
        let mine = |live: &&Live| live.is_on(agent);
        let tasks: Vec<TaskId> = state.tasks.values().filter(mine).map(|live| live.task.id).collect();
        tasks.into_iter().for_each(|id| self.decide_end(state, id, reason.to_owned()));
    }

    /// Writes down all ends that were decided until now.
    ///
    /// # Errors
    /// When the database doesn't take them; they are tried again.
    pub(super) async fn write_ends(&self) -> Result<(), Error> {
        let _mine = self.0.writes_ends.lock().await;
        loop {
            let some = self.next_decided().await;
            if some.is_empty() {
                return Ok(());
            }
            let at = self.0.parts.clock.now();
            let logs: Vec<(TaskId, Arc<TaskLog>, String)> = some
                .iter()
                .map(|(run, log, name, reason)| (run.task, Arc::clone(log), last_line(name, None, reason)))
                .collect();
            let finish = move || logs.into_iter().for_each(|(id, log, last)| finish_log(id, &log, at, &last));
            if let Err(error) = tokio::task::spawn_blocking(finish).await {
                tracing::error!(%error, "the ends of tasks' logs may be lost");
            }
            let mut state = self.0.state.lock().await;
            let written = async {
                let mut tx = self.0.parts.store.write_urgent().await?;
                let mut ended = Vec::with_capacity(some.len());
                for (run, _, _, reason) in &some {
                    let ending =
                        Ending { at, exit_code: None, exit_signal: None, reason: reason.as_str().into() };
                    note_kill(&mut tx, &state, run.task).await?;
                    ended.push((run.task, store::allocation::end(&mut tx, *run, &ending).await?));
                }
                tx.commit_unaudited("what a task does is in its own log").await.map(|()| ended)
            };
            match written.await {
                Ok(ended) => ended.into_iter().for_each(|(id, task)| self.ended(&mut state, id, task)),
                Err(error) => {
                    some.iter().rev().for_each(|(run, ..)| state.decided.push_front(run.task));
                    self.doubt();
                    return Err(error.into());
                }
            }
        }
    }

    /// A task's run is over, and that is in the database: so is the task, or it goes on as that says.
    fn ended(&self, state: &mut State, id: TaskId, ended: Option<Task>) {
        let goes_on = ended.filter(|task| task.standing != Standing::Over);
        let Some((task, live)) = goes_on.zip(state.tasks.get_mut(&id)) else { return self.forget(state, id) };
        let next = Live::new(task, Arc::clone(&live.log));
        *live = next;
        self.0.wake.notify_one();
    }

    /// The next ones, with log, name and reason.
    async fn next_decided(&self) -> Vec<(AllocationId, Arc<TaskLog>, String, String)> {
        let mut state = self.0.state.lock().await;
        let mut some = Vec::new();
        while some.len() < AT_ONCE {
            let Some(id) = state.decided.pop_front() else { break };
            // One that its agent told of meanwhile is over by that.
            let Some(live) = state.tasks.get(&id) else { continue };
            let Some(reason) = &live.is_over else { continue };
            some.push((live.run(), Arc::clone(&live.log), live.task.description.to_string(), reason.clone()));
        }
        some
    }

    /// The end of one task, told by its agent or of one that never ran.
    ///
    /// # Errors
    /// When the database doesn't take it.
    pub(super) async fn end(
        &self,
        state: &mut State,
        id: TaskId,
        code: Option<i32>,
        reason: &str,
    ) -> Result<(), Error> {
        self.end_by(state, id, code, None, reason).await
    }

    /// The same; `signal` is what ended the process.
    pub(super) async fn end_by(
        &self,
        state: &mut State,
        id: TaskId,
        code: Option<i32>,
        signal: Option<i32>,
        reason: &str,
    ) -> Result<(), Error> {
        let parts = &self.0.parts;
        let Some(live) = state.tasks.get(&id) else {
            return Ok(());
        };
        let at = parts.clock.now();
        let run = live.run();
        let last = last_line(&live.task.description, code, reason);
        let log = Arc::clone(&live.log);
        let finish = move || finish_log(id, &log, at, &last);
        if let Err(error) = tokio::task::spawn_blocking(finish).await {
            tracing::error!(task = %id, %error, "the end of a task's log may be lost");
        }
        let ending = Ending { at, exit_code: code, exit_signal: signal, reason: reason.into() };
        let mut tx = parts.store.write_urgent().await?;
        note_kill(&mut tx, state, id).await?;
        let ended = store::allocation::end(&mut tx, run, &ending).await?;
        tx.commit_unaudited("what a task does is in its own log").await?;
        self.ended(state, id, ended);
        Ok(())
    }
}

/// A kill that was done and isn't written down yet counts in what becomes of a task.
async fn note_kill(tx: &mut Tx, state: &State, id: TaskId) -> Result<(), StoreError> {
    if state.unrecorded.iter().any(|kill| kill.task == id) {
        store::task::set_killed(tx, id).await?;
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

/// A disk that doesn't take it won't take it later either, and the end counts more (A4).
fn finish_log(task: TaskId, log: &TaskLog, at: Timestamp, last: &str) {
    if let Err(error) = log.append_end(at, last) {
        tracing::warn!(%task, %error, "the end of a task was not written to its log");
    }
    if let Err(error) = log.sync() {
        tracing::error!(%task, %error, "the end of a task's log may be lost");
    }
}
