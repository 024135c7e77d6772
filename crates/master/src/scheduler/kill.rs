//! Ending a task because somebody says so. It is done first and written down as soon as that can be: a full disk, or a
//! database that is away, keeps nobody from ending what runs (A4).

use domain::audit::Entry;
use domain::id::TaskId;
use domain::task::{State as TaskState, Task};

use api::agent::ToAgent;

use super::{KILLED_IN_QUEUE, Scheduler, State};
use crate::Error;

/// A kill that was done and couldn't be written down yet.
pub(super) struct Unrecorded {
    task: TaskId,
    entry: Entry,
}

impl Scheduler {
    /// Ends a task; answers it as it is then, while it lives. One that is over stays as it is, and nothing happened. One
    /// that lives in the database alone is taken up first: a kill acts on what is stored (B1).
    ///
    /// # Errors
    /// When the task isn't known here and the database can't be asked.
    pub(crate) async fn kill(&self, id: TaskId, entry: &Entry) -> Result<Option<Task>, Error> {
        let mut state = self.0.state.lock().await;
        self.take_up_if_missing(&mut state, id).await?;
        if !state.tasks.contains_key(&id) {
            return Ok(None);
        }
        let why = match (entry.account(), state.tasks.get_mut(&id)) {
            (Some(name), Some(live)) => {
                live.killer.get_or_insert_with(|| name.to_owned());
                format!("user requested kill: {name}")
            }
            _ => "user requested kill".to_owned(),
        };
        self.act_on_kill(&mut state, id, &why);
        state.unrecorded.retain(|kill| kill.task != id);
        state.unrecorded.push(Unrecorded { task: id, entry: entry.clone() });
        if let Err(error) = self.finish_kills(&mut state).await {
            tracing::warn!(task = %id, %error, "a task was killed; that is written down as soon as it can be");
            self.0.wake.notify_one();
        }
        Ok(state.tasks.get(&id).map(|live| live.task.clone()))
    }

    /// From now on the task isn't placed any more, and its agent is told.
    pub(super) fn act_on_kill(&self, state: &mut State, id: TaskId, why: &str) {
        let Some(live) = state.tasks.get_mut(&id) else { return };
        // Who asks again doesn't want to wait.
        let now = live.task.kill_requested && live.task.state == TaskState::Terminating;
        live.task.kill_requested = true;
        if live.task.state == TaskState::Queued {
            return;
        }
        live.task.state = TaskState::Terminating;
        let text = format!("forcibly killing allocation's remaining resources (reason: {why})");
        self.say(&live.log, &text);
        let allocation = live.task.allocation;
        let agent = live.task.agent.clone();
        if let Some(connected) = agent.and_then(|agent| state.connected.get(&agent)) {
            let _ = connected.link.send(ToAgent::Kill { allocation, now });
        }
    }

    /// Writes down what was killed, then the ends of what only waited.
    pub(super) async fn finish_kills(&self, state: &mut State) -> Result<(), Error> {
        while let Some(kill) = state.unrecorded.first() {
            let mut tx = self.0.parts.store.write_urgent().await?;
            store::task::set_kill_requested(&mut tx, kill.task).await?;
            tx.commit(&kill.entry, self.0.parts.clock.now()).await?;
            state.unrecorded.remove(0);
        }
        let killed = |live: &&super::Live| live.task.kill_requested && live.task.state == TaskState::Queued;
        let tasks: Vec<TaskId> = state.tasks.values().filter(killed).map(|live| live.task.id).collect();
        for id in tasks {
            self.end(state, id, None, KILLED_IN_QUEUE).await?;
        }
        Ok(())
    }
}
