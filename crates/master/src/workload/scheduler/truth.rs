//! What the database says lives, against what the memory knows: taken up at the start, after every commit of which
//! nobody knows whether it happened, and when somebody asks for a task that only the database knows (B1, B3, B4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use domain::allocation::{Cause, Phase};
use domain::id::TaskId;
use domain::task::{Standing, Task};
use store::StoreError;
use tokio::time::Instant;

use super::{Scheduler, State};
use crate::Error;

impl Scheduler {
    /// Takes up what lived when the last master ended.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        let this = self.clone();
        let load = self.change(move |state| {
            Box::pin(async move {
                this.take_up(state).await?;
                let now = Instant::now();
                state.gone = state.service.keys().map(|agent| (agent.clone(), now)).collect();
                let with_context = state.tasks.values().filter(|live| live.task.has_context);
                let with_context = with_context.map(|live| live.task.id).collect();
                this.0.parts.contexts.keep_only(with_context).await;
                if state.tasks.len() > 0 {
                    tracing::info!(tasks = state.tasks.len(), "living tasks taken up");
                }
                Ok(())
            })
        });
        load.await
    }

    /// A commit failed. Unless it was refused before it began it can have happened all the same: the answer may be what got
    /// lost. Looking costs as much as there are living tasks, so nobody brings that about who is only refused (MM3).
    pub(crate) fn doubt_after(&self, failed: &StoreError) {
        if !failed.is_refusal() {
            self.doubt();
        }
    }

    /// What is here may not be what the database says. The next round looks.
    pub(crate) fn doubt(&self) {
        self.0.doubt.store(true, Ordering::SeqCst);
        self.0.wake.notify_one();
    }

    /// Looks at the database if there is a doubt.
    pub(super) async fn resolve_doubt(&self, state: &mut State) -> Result<(), Error> {
        if self.0.doubt.swap(false, Ordering::SeqCst)
            && let Err(error) = self.take_up(state).await
        {
            self.0.doubt.store(true, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    /// Takes the database's word for which tasks live, and for the service of agents.
    async fn take_up(&self, state: &mut State) -> Result<(), Error> {
        let parts = &self.0.parts;
        let mut conn = parts.store.read().await?;
        let tasks = store::task::alive(&mut conn).await?;
        let agents = store::agent::list(&mut conn).await?;
        drop(conn);
        let stored: BTreeSet<TaskId> = tasks.iter().map(|task| task.id).collect();
        // Whatever is here was in the database before: what lives there no more has ended.
        let ended: Vec<TaskId> = state.tasks.keys().filter(|id| !stored.contains(id)).copied().collect();
        for id in ended {
            self.forget(state, id);
        }
        for task in tasks {
            self.take_up_task(state, task)?;
        }
        for agent in agents {
            if agent.revoked_at.is_some() {
                state.connected.remove(&agent.id);
            }
            state.service.insert(agent.id.clone(), agent);
        }
        Ok(())
    }

    /// What is known already goes on as it is, but for what people asked for.
    fn take_up_task(&self, state: &mut State, task: Task) -> Result<(), Error> {
        if let Some(live) = state.tasks.get_mut(&task.id) {
            live.task.priority = task.priority;
            if task.is_killed() && !live.task.is_killed() {
                self.act_on(state, task.id, Cause::Killed, "user requested kill");
            }
            return Ok(());
        }
        let log = self.0.parts.logs.open(task.id).map_err(Error::io("opening a log"))?;
        let mut live = self.live(task, log);
        let ran = live.phase().since().map(|since| self.0.parts.clock.now().since(since));
        live.ran = ran.map(|ran| (ran, Instant::now()));
        // It may have asked for signals before.
        live.listens = live.phase().since().is_some();
        let until = live.phase().asked().and_then(|asked| asked.until).filter(|_| !live.phase().is_over());
        live.deadline = until.map(|until| Instant::now() + until.since(self.0.parts.clock.now()));
        state.tasks.insert(live.task.id, live);
        Ok(())
    }

    /// Takes up a task that lives in the database, if the memory doesn't know it.
    pub(super) async fn take_up_if_missing(&self, state: &mut State, id: TaskId) -> Result<(), Error> {
        if state.tasks.contains_key(&id) {
            return Ok(());
        }
        let mut conn = self.0.parts.store.read().await?;
        let stored = store::task::by_id(&mut conn, id).await?;
        drop(conn);
        match stored.filter(|task| task.standing != Standing::Over) {
            Some(task) => {
                tracing::error!(task = %id, "a living task was not known to the scheduler: taken up");
                self.take_up_task(state, task)
            }
            None => Ok(()),
        }
    }

    /// Where memory and database say different things, in words. Of a master at rest there is nothing to say.
    pub(crate) async fn disagreements(&self) -> Result<Vec<String>, Error> {
        let this = self.clone();
        self.change(move |state| Box::pin(async move { this.compare(state).await })).await
    }

    async fn compare(&self, state: &mut State) -> Result<Vec<String>, Error> {
        let mut conn = self.0.parts.store.read().await?;
        let stored = store::task::alive(&mut conn).await?;
        let agents = store::agent::list(&mut conn).await?;
        drop(conn);
        let facts = |task: &Task| {
            let Task { priority, standing, restarts, latest, .. } = task;
            format!(
                "{standing:?}, {restarts} restarts, priority {priority}, {} {:?}",
                latest.id, latest.phase
            )
        };
        let of = |tasks: &mut dyn Iterator<Item = &Task>| -> BTreeMap<String, String> {
            tasks.map(|task| (format!("task {}", task.id), facts(task))).collect()
        };
        let mut memory = of(&mut state.tasks.values().map(|live| &live.task));
        let mut database = of(&mut stored.iter());
        let service = |agent: &store::agent::Agent| {
            let facts = (agent.enabled, agent.draining, &agent.disabled_slots);
            (format!("agent {}", agent.id), format!("{facts:?}"))
        };
        memory.extend(state.service.values().map(service));
        database.extend(agents.iter().map(service));
        let waits = state.tasks.values().filter(|live| matches!(live.phase(), Phase::Withdrawn(_)));
        let mut found: Vec<String> =
            waits.map(|live| format!("task {} is killed and waits", live.task.id)).collect();
        found.extend(
            state.tasks.misplaced().iter().map(|id| format!("task {id} isn't where it belongs in the queue")),
        );
        found.extend(differences(&memory, &database));
        Ok(found)
    }
}

/// Keys with different values, and keys on one side only.
fn differences(memory: &BTreeMap<String, String>, database: &BTreeMap<String, String>) -> Vec<String> {
    let all = memory.keys().chain(database.keys().filter(|key| !memory.contains_key(*key)));
    let different = all.filter(|key| memory.get(*key) != database.get(*key));
    let told = |key: &String| {
        format!("{key}: the memory has {:?}, the database {:?}", memory.get(key), database.get(key))
    };
    different.map(told).collect()
}
