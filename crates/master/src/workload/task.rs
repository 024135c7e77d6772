//! Tasks: finding, changing, ending them; their logs and contexts. Starting one is in `start`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::allocation::{Allocation, Phase};
use domain::audit::{Entry, Who};
use domain::authz::{
    AnswerSignals, ChangeTask, HearSignals, Permit, ReadContext, ReadTask, System, TaskActor, Visible,
};
use domain::config::secrets::Shown;
use domain::config::{PRIORITIES, Unhonoured};
use domain::id::{AllocationId, TaskId, UserId, WorkspaceId};
use domain::log::Lines;
use domain::task::Task;
use domain::time::Timestamp;
use domain::user::User;
use serde_json::json;
use store::Store;
pub use store::task::Filter as TaskFilter;

use crate::config_policy;
use crate::context::{Contexts, Packed};
use crate::log::{Backward, Follower, Logs};
use crate::open::Key as _;
use crate::scheduler::Scheduler;
pub use crate::scheduler::{Queued, Wait};
use crate::system::Clock;
use crate::{Config, Error, secret};

mod pages;
mod start;

/// Of a task's runs so many are shown: who resumes may have very many (MK2).
const RUNS: i64 = 100;

/// What fails when a log can't be read.
const READING: &str = "reading a task's log";

/// Tasks.
#[derive(Clone)]
pub struct Tasks {
    store: Store,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    logs: Logs,
    contexts: Contexts,
    scheduler: Scheduler,
    pages: pages::Pages,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tasks")
    }
}

/// A task that was just made.
#[derive(Debug)]
pub struct Started {
    /// The task.
    pub task: Task,
    /// Its configuration, fully merged, for its owner.
    pub config: Shown,
    /// What its owner set that has no effect.
    pub unhonoured: Vec<Unhonoured>,
}

/// A running task that showed its own token.
#[derive(Debug, Clone)]
pub struct TaskCaller {
    /// For the policy.
    pub actor: TaskActor,
    /// Its owner.
    pub owner: User,
}

impl TaskCaller {
    /// The same, for a request from that peer.
    #[must_use]
    pub fn from_address(mut self, address: Option<IpAddr>) -> Self {
        self.actor.address = address;
        self
    }
}

impl Tasks {
    pub(crate) fn new(
        store: Store,
        config: Arc<Config>,
        clock: Arc<dyn Clock>,
        logs: Logs,
        contexts: Contexts,
        scheduler: Scheduler,
    ) -> Self {
        Self { store, config, clock, logs, contexts, scheduler, pages: pages::Pages::default() }
    }

    /// A task's latest runs, the last one first; of very many those of before aren't shown.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn runs(&self, permit: &Permit<ReadTask>) -> Result<Vec<Allocation>, Error> {
        let mut conn = self.store.read().await?;
        Ok(store::allocation::of_task(&mut conn, permit.target().0.id, RUNS).await?)
    }

    /// A task's configuration, for the eyes of who may read it.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn config(&self, permit: &Permit<ReadTask>) -> Result<Shown, Error> {
        let task = &permit.target().0;
        let mut conn = self.store.read().await?;
        let nobody = || Error::Forbidden("configurations are for people's eyes".to_owned());
        let reader = permit.by().as_actor().ok_or_else(nobody)?;
        Ok(Shown::task(&reader, task.owner, &store::task::config(&mut conn, task.id).await?))
    }

    /// The task as it is now.
    ///
    /// # Errors
    /// When it was forgotten meanwhile.
    pub async fn again(&self, permit: &Permit<ReadTask>) -> Result<Task, Error> {
        self.now(permit.target().0.id).await
    }

    async fn now(&self, id: TaskId) -> Result<Task, Error> {
        let mut conn = self.store.read().await?;
        let found = store::task::by_id(&mut conn, id).await?;
        found.ok_or_else(|| Error::NotFound(TaskId::missing(&id)))
    }

    /// Why a task waits and for how many others, while it does.
    #[must_use]
    pub fn waits_for(&self, task: &Task) -> Option<Wait> {
        (task.latest.phase == Phase::Waiting).then(|| self.scheduler.waits_for(task.id)).flatten()
    }

    /// Ends a task; one that is over stays as it is. It is done at once, and written down as soon as it can be (A4).
    ///
    /// # Errors
    /// When the database can't be reached and the task isn't known without it.
    pub async fn kill(&self, permit: Permit<ChangeTask>) -> Result<Task, Error> {
        let task = &permit.target().0;
        let entry = Entry::done(permit.by(), "task.kill", target(task));
        match self.scheduler.kill(task.id, &entry, "user requested kill").await? {
            Some(living) => Ok(living),
            None => self.now(task.id).await,
        }
    }

    /// Pauses a task that can go on later.
    ///
    /// # Errors
    /// When it can't, or doesn't go on now.
    pub async fn pause(&self, permit: Permit<ChangeTask>) -> Result<(), Error> {
        let task = &permit.target().0;
        self.scheduler.pause(task.id, &Entry::done(permit.by(), "task.pause", target(task))).await
    }

    /// Has a paused task go on.
    ///
    /// # Errors
    /// When it isn't paused.
    pub async fn resume(&self, permit: Permit<ChangeTask>) -> Result<(), Error> {
        let task = &permit.target().0;
        self.scheduler.resume(task.id, &Entry::done(permit.by(), "task.unpause", target(task))).await
    }

    /// Waits until one of a task's runs is to save what it has and end, so long at most; answers whether it is. Of a run that isn't
    /// its latest one it isn't.
    pub async fn is_signalled(&self, permit: &Permit<HearSignals>, run: u32, patience: Duration) -> bool {
        let run = AllocationId { task: permit.target().0.id, run };
        self.scheduler.is_signalled(run, patience).await
    }

    /// One of a task's runs has heard that it is to end.
    ///
    /// # Errors
    /// When the database doesn't take it.
    pub async fn signal_heard(&self, permit: &Permit<AnswerSignals>, run: u32) -> Result<(), Error> {
        self.scheduler.signal_heard(AllocationId { task: permit.target().0.id, run }).await
    }

    /// One of a task's runs is told elsewhere that it will be preempted.
    ///
    /// # Errors
    /// When it can't go on later.
    pub async fn signal_pending(&self, permit: &Permit<AnswerSignals>, run: u32) -> Result<(), Error> {
        self.scheduler.signal_pending(AllocationId { task: permit.target().0.id, run }).await
    }

    /// Writes a task's priority.
    ///
    /// # Errors
    /// When it is none.
    pub async fn set_priority(&self, permit: Permit<ChangeTask>, priority: i64) -> Result<Task, Error> {
        if !PRIORITIES.contains(&priority) {
            return Err(Error::Invalid(format!("priority {priority} is not between 1 and 99")));
        }
        let task = &permit.target().0;
        let mut conn = self.store.read().await?;
        config_policy::check_priority(&mut conn, task.workspace, priority).await?;
        drop(conn);
        let entry = Entry::done(permit.by(), "task.set_priority", target(task));
        let before = json!({ "priority": task.priority });
        let entry = entry.changed(before, json!({ "priority": priority }));
        self.scheduler.set_priority(task.id, priority, &entry).await?;
        self.now(task.id).await
    }

    /// A task's log from byte `offset` on.
    ///
    /// # Errors
    /// When it can't be read, or was removed with its task since that was looked up.
    pub async fn log(&self, permit: &Permit<ReadTask>, offset: u64, follow: bool) -> Result<Follower, Error> {
        let task = &permit.target().0;
        if let Some(at) = task.log_removed_at {
            return Ok(Follower::removed(at, offset));
        }
        self.begun(task.id, offset, self.logs.read(task.id, offset, follow)).await
    }

    async fn begun(&self, task: TaskId, offset: u64, reading: Follower) -> Result<Follower, Error> {
        let (reading, is_there) = reading.begun().await.map_err(Error::io(READING))?;
        let removed = if is_there { None } else { self.log_removed_at(task).await? };
        Ok(removed.map_or(reading, |at| Follower::removed(at, offset)))
    }

    /// When a log was removed of which there is no file; `None` is of one that never was. That it goes is written down
    /// before it goes.
    async fn log_removed_at(&self, task: TaskId) -> Result<Option<Timestamp>, Error> {
        let mut conn = self.store.read().await?;
        let there = store::task::by_id(&mut conn, task).await?;
        let gone =
            || Error::NotFound(format!("the log of task {task} was removed just now, and the task with it"));
        Ok(there.ok_or_else(gone)?.log_removed_at)
    }

    /// What there is of a task's log, backwards.
    ///
    /// # Errors
    /// As for [`Self::log`].
    pub async fn log_back(&self, permit: &Permit<ReadTask>) -> Result<Backward, Error> {
        let task = &permit.target().0;
        if let Some(at) = task.log_removed_at {
            return Ok(Backward::removed(task.id, at));
        }
        let (reading, is_there) = self.logs.read_back(task.id).begun().await.map_err(Error::io(READING))?;
        let removed = if is_there { None } else { self.log_removed_at(task.id).await? };
        Ok(removed.map_or(reading, |at| Backward::removed(task.id, at)))
    }

    /// A task's log from about its last `last` lines on, and the state of the lines there.
    ///
    /// # Errors
    /// As for [`Self::log`].
    pub async fn log_last(
        &self,
        permit: &Permit<ReadTask>,
        last: u64,
        follow: bool,
    ) -> Result<(Follower, Lines), Error> {
        let task = &permit.target().0;
        if let Some(at) = task.log_removed_at {
            return Ok((Follower::removed(at, 0), Lines::default()));
        }
        let read = self.logs.read_last(task.id, last, follow).await;
        let (reading, lines) = read.map_err(Error::io(READING))?;
        Ok((self.begun(task.id, 0, reading).await?, lines))
    }

    /// A task's packed context directory.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn context(&self, permit: &Permit<ReadContext>) -> Result<Option<Packed>, Error> {
        self.contexts.open(permit.target().0.id).await
    }

    /// A page of the tasks that match; `page` turns their number into offset and limit.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list<P>(
        &self,
        scope: Visible<Task>,
        filter: TaskFilter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Arc<[Task]>, P), Error> {
        let filter = TaskFilter { seen_by: (!scope.everything()).then(|| scope.actor()), ..filter };
        self.pages.read(&self.store, &filter, page).await
    }

    /// Some of the tasks that match: those that come after number `last`, in the order of the list.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn after(
        &self,
        scope: Visible<Task>,
        filter: &TaskFilter,
        last: Option<i64>,
        skip: i64,
        limit: i64,
    ) -> Result<Vec<Task>, Error> {
        let seen_by = (!scope.everything()).then(|| scope.actor());
        let filter = TaskFilter { seen_by, after: last, ..filter.clone() };
        let mut conn = self.store.read().await?;
        Ok(store::task::list(&mut conn, &filter, skip, limit).await?)
    }

    /// Tasks that aren't over, those that run first: of each as much as an order and a count need, for there may be very
    /// many (A5).
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn queue(&self, scope: Visible<Task>) -> Result<Vec<Queued>, Error> {
        let mut queue = self.scheduler.queue();
        let seen = self.seen_in(scope).await?;
        queue.retain(|task| seen(task.owner, task.workspace));
        // Who has its place first; then as it is decided; then those that nothing is decided of yet.
        queue.sort_unstable_by_key(|task| {
            (!task.placed, task.ahead.is_none(), task.ahead, task.priority, task.seq)
        });
        Ok(queue)
    }

    /// Those of these that aren't over, in their order.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn still_living(&self, scope: Visible<Task>, ids: &[TaskId]) -> Result<Vec<Arc<Task>>, Error> {
        let mut living = self.scheduler.still_living(ids);
        let seen = self.seen_in(scope).await?;
        living.retain(|task| seen(task.owner, task.workspace));
        Ok(living)
    }

    /// Which of these the actor sees.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn seen<'a>(
        &self,
        scope: Visible<Task>,
        of: impl Iterator<Item = &'a Task>,
    ) -> Result<HashSet<TaskId>, Error> {
        let seen = self.seen_in(scope).await?;
        Ok(of.filter(|task| seen(task.owner, task.workspace)).map(|task| task.id).collect())
    }

    /// Whether the actor sees an account's task in a workspace.
    async fn seen_in(
        &self,
        scope: Visible<Task>,
    ) -> Result<impl Fn(UserId, WorkspaceId) -> bool + use<>, Error> {
        let (everything, actor) = (scope.everything(), scope.actor());
        let hidden = if everything {
            HashSet::new()
        } else {
            let mut conn = self.store.read().await?;
            store::workspace::hidden(&mut conn, actor).await?.into_iter().collect()
        };
        Ok(move |owner, workspace| everything || owner == actor || !hidden.contains(&workspace))
    }

    /// Ends every task that lives in the database, for `muster down` (B1). Answers how many there were.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn end_all(&self, system: &System) -> Result<usize, Error> {
        let mut conn = self.store.read().await?;
        let living = store::task::alive(&mut conn).await?;
        drop(conn);
        let count = living.len();
        let by = system.by("`muster down` ends all tasks");
        for task in living {
            let entry = Entry::done(&by, "task.kill", target(&task));
            self.scheduler.kill(task.id, &entry, "user requested kill").await?;
        }
        Ok(count)
    }

    /// Resolves when no task lives, but on agents that are away.
    pub async fn all_ended(&self) {
        self.scheduler.all_ended().await;
    }

    /// How many tasks live.
    #[must_use]
    pub fn count_living(&self) -> usize {
        self.scheduler.count_living()
    }

    /// The running task that a token belongs to; dies with the run.
    ///
    /// # Errors
    /// When there is none.
    pub async fn authenticate(&self, token: &str) -> Result<TaskCaller, Error> {
        let invalid = Error::Unauthenticated(crate::session::INVALID_CREDENTIALS);
        let mut conn = self.store.read().await?;
        let task = store::task::by_token_hash(&mut conn, &secret::digest(token)).await?;
        let Some(task) = task else { return Err(invalid) };
        let owner = store::user::by_id(&mut conn, task.owner).await?;
        let owner = owner.ok_or(invalid)?;
        let username = owner.username.clone();
        let actor = TaskActor { task: task.id, owner: task.owner, username, address: None };
        Ok(TaskCaller { actor, owner })
    }
}

/// A task as an audit entry's target.
pub(crate) fn target(task: &Task) -> Who {
    Who::named("task", &task.id, &task.description)
}
