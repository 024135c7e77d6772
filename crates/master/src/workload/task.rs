//! Tasks: finding, changing, ending them; their logs and contexts. Starting one is in `start`.

use std::collections::HashSet;
use std::sync::Arc;

use domain::allocation::{Allocation, Phase};
use domain::audit::{Entry, Who};
use domain::authz::{Actor, ChangeTask, Permit, ReadContext, ReadTask, TaskActor, Visible};
use domain::config::secrets::Shown;
use domain::config::{PRIORITIES, Unhonoured};
use domain::id::{TaskId, UserId, WorkspaceId};
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
use crate::scheduler::Scheduler;
pub use crate::scheduler::{Queued, Wait};
use crate::system::Clock;
use crate::{Config, Error, secret};

mod start;

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

fn not_found(id: &impl std::fmt::Display) -> Error {
    Error::NotFound(format!("command '{id}' not found"))
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
        Self { store, config, clock, logs, contexts, scheduler }
    }

    /// A task's runs, the latest one first.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn runs(&self, permit: &Permit<ReadTask>) -> Result<Vec<Allocation>, Error> {
        let mut conn = self.store.read().await?;
        Ok(store::allocation::of_task(&mut conn, permit.target().0.id).await?)
    }

    /// A task's configuration, for `actor`'s eyes.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn config(&self, permit: &Permit<ReadTask>, actor: &Actor) -> Result<Shown, Error> {
        let task = &permit.target().0;
        let mut conn = self.store.read().await?;
        Ok(Shown::task(actor, task.owner, &store::task::config(&mut conn, task.id).await?))
    }

    /// One task, for the policy to decide on.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find(&self, id: TaskId) -> Result<Task, Error> {
        let mut conn = self.store.read().await?;
        store::task::by_id(&mut conn, id).await?.ok_or_else(|| not_found(&id))
    }

    /// What is said of a task that isn't there for the caller.
    #[must_use]
    pub fn hidden(id: TaskId) -> String {
        not_found(&id).to_string()
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
        let id = permit.target().id;
        let entry = Entry::done(permit.by(), "task.kill", target(permit.target()));
        match self.scheduler.kill(id, &entry, "user requested kill").await? {
            Some(living) => Ok(living),
            None => self.find(id).await,
        }
    }

    /// Writes a task's priority.
    ///
    /// # Errors
    /// When it is none.
    pub async fn set_priority(&self, permit: Permit<ChangeTask>, priority: i64) -> Result<Task, Error> {
        if !PRIORITIES.contains(&priority) {
            return Err(Error::Invalid(format!("priority {priority} is not between 1 and 99")));
        }
        let mut conn = self.store.read().await?;
        config_policy::check_priority(&mut conn, permit.target().workspace, priority).await?;
        drop(conn);
        let id = permit.target().id;
        let entry = Entry::done(permit.by(), "task.set_priority", target(permit.target()));
        let before = json!({ "priority": permit.target().priority });
        let entry = entry.changed(before, json!({ "priority": priority }));
        self.scheduler.set_priority(id, priority, &entry).await?;
        self.find(id).await
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
    ) -> Result<(Vec<Task>, P), Error> {
        let filter = TaskFilter { seen_by: (!scope.everything()).then(|| scope.actor()), ..filter };
        let mut conn = self.store.read().await?;
        let total = store::task::count(&mut conn, &filter).await?;
        let (page, offset, limit) = page(total)?;
        let tasks = store::task::list(&mut conn, &filter, offset, limit).await?;
        Ok((tasks, page))
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

    /// The accounts with these names; unknown names are left out.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn owners_named(&self, _viewer: &Actor, names: &[String]) -> Result<Vec<UserId>, Error> {
        let mut conn = self.store.read().await?;
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let user = store::user::by_username_even_deleted(&mut conn, name).await?;
            ids.extend(user.map(|user| user.id));
        }
        Ok(ids)
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
    pub async fn end_all(&self) -> Result<usize, Error> {
        let mut conn = self.store.read().await?;
        let living = store::task::alive(&mut conn).await?;
        drop(conn);
        let count = living.len();
        for task in living {
            self.kill(Permit::system("`muster down` ends all tasks", task)).await?;
        }
        Ok(count)
    }

    /// Resolves when no task lives.
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
        Ok(TaskCaller { actor: TaskActor { task: task.id, owner: task.owner }, owner })
    }
}

/// A task as an audit entry's target.
pub(crate) fn target(task: &Task) -> Who {
    Who::named("task", &task.id, &task.description)
}
