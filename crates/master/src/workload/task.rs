//! Tasks: starting, finding, ending commands; their logs and contexts.

use std::collections::HashSet;
use std::sync::Arc;

use api::command::ContextFile;
use domain::allocation::{Allocation, Phase};
use domain::audit::{Entry, Who};
use domain::authz::{
    Actor, ChangeTask, Permit, ReadContext, ReadTask, StartTask, TaskActor, UseTemplate, Visible,
};
use domain::config::layer;
use domain::config::secrets::{Shown, masked_words};
use domain::config::{
    DEFAULT_PRIORITY, InvalidConfig, PRIORITIES, TaskConfig, Unhonoured, layered, unhonoured,
};
use domain::id::{AllocationId, ResourcePool, TaskId, UserId, WorkspaceId};
use domain::identity::{self, UnixIdentity};
use domain::kind::Kind;
use domain::log::Lines;
use domain::scheduler::Weight;
use domain::task::{Standing, Task};
use domain::user::User;
use serde_json::{Value, json};
pub use store::task::Filter as TaskFilter;
use store::{Conn, Store, Tx};
use uuid::Uuid;

use crate::config::DEFAULT_POOL;
use crate::context::{Contexts, Packed};
use crate::log::{Backward, Follower, Logs};
pub use crate::scheduler::Queued;
use crate::scheduler::Scheduler;
use crate::system::Clock;
use crate::template::Templates;
use crate::{Config, Error, again, secret, workspace};

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

    /// Starts a command for `owner`: stored, then queued. Its configuration is laid over that of the template, and that
    /// over the installation's defaults.
    ///
    /// # Errors
    /// When the configuration or the context isn't acceptable.
    pub async fn start_command(
        &self,
        permit: Permit<StartTask>,
        owner: &User,
        template: Option<Permit<UseTemplate>>,
        request: Option<&str>,
        files: Vec<ContextFile>,
    ) -> Result<Started, Error> {
        let kind = Kind::Command;
        let invalid = |e: InvalidConfig| Error::Invalid(e.to_string());
        let limits = self.config.limits.of_configs();
        let request = limits.read(request).map_err(invalid)?;
        layer::refuse_lists(&request).map_err(invalid)?;
        // What its owner says, in a template or here: the defaults under it are the installation's.
        let wanted = match &template {
            Some(template) => layered(&Templates::for_command(template), request.clone()),
            None => request.clone(),
        };
        let unhonoured = unhonoured(&wanted);
        let defaults = self.config.defaults_in(pool_of(&wanted));
        let mut config = TaskConfig::resolve(&defaults, wanted).map_err(invalid)?;
        if !files.is_empty() && request.get("work_dir").is_some_and(|dir| !dir.is_null()) {
            let text = "cannot set work_dir and context directory at the same time";
            return Err(Error::Invalid(text.to_owned()));
        }
        if !files.is_empty() {
            config.work_dir = None;
        }
        let slots = config.resources.slots;
        if !self.scheduler.could_fit(slots).await {
            return Err(Error::Invalid(format!(
                "request unfulfillable: it asks for {slots} slots, and no connected agent has as many"
            )));
        }
        if !matches!(config.resources.resource_pool.as_str(), "" | DEFAULT_POOL) {
            let pool = &config.resources.resource_pool;
            return Err(Error::Invalid(format!(
                "resource pool '{pool}' does not exist: leave it out, or use {DEFAULT_POOL}"
            )));
        }
        config.resources.resource_pool = DEFAULT_POOL.to_owned();
        if config.description.is_empty() {
            config.description = format!("{} ({})", kind.about().title, three_words());
        }
        let id = TaskId(Uuid::new_v4());
        let default = self.config.default_task().map_err(|e| Error::Invalid(e.to_string()))?;
        let stored = serde_json::to_string(&config).unwrap_or_default();
        limits.check_merged(&stored).map_err(invalid)?;
        let has_context = !files.is_empty();
        let workspace = permit.target().workspace;
        // Asked before anything is written, and again when it is stored.
        let mut conn = self.store.read().await?;
        self.runs_as(&mut conn, owner.id, workspace, &default).await?;
        drop(conn);
        // Held until the scheduler has the task.
        let place = has_context.then(|| self.contexts.comes(owner.id, &files));
        let context = if let Some(place) = &place {
            // Before the living ones are looked for, so that what comes to life meanwhile is seen in one of both.
            let earlier = place.earlier();
            let others = self.scheduler.with_context(owner.id).await;
            self.contexts.check_sum(earlier, others, self.config.limits.contexts_bytes).await?;
            Some(self.contexts.put(id, files, self.config.max_context_bytes).await?)
        } else {
            None
        };
        let now = self.clock.now();
        let task = Task {
            id,
            kind,
            seq: 0,
            owner: owner.id,
            owner_name: owner.username.clone(),
            owner_display_name: owner.display_name.clone(),
            workspace,
            description: config.description.as_str().into(),
            identity: default.clone(),
            has_context,
            pool: ResourcePool::default(),
            slots,
            weight: Weight::ONE,
            max_slots: None,
            priority: config.resources.priority.unwrap_or(DEFAULT_PRIORITY),
            created_at: now,
            standing: Standing::Active,
            restarts: 0,
            max_restarts: 0,
            log_removed_at: None,
            latest: Allocation::waiting(AllocationId::first(id), now),
        };
        // Files may have taken seconds to pack.
        let mut tx = again::begin(&self.store, &permit).await?;
        if let Some(template) = &template {
            again::ask(&mut tx, template).await?;
        }
        let identity = self.runs_as(&mut tx, owner.id, workspace, &default).await?;
        self.check_number(&mut tx, owner.id).await?;
        let task = store::task::insert(&mut tx, Task { identity, ..task }, &config).await?;
        let facts = json!({
            "description": task.description,
            "entrypoint": masked_words(&config.entrypoint),
            "workspace": task.workspace,
            "runsAs": task.identity.to_string(),
        });
        let entry = Entry::done(permit.by(), "task.start", target(&task)).made(facts);
        if let Err(error) = tx.commit(&entry, self.clock.now()).await {
            // If it happened all the same, the task says that its files are gone; it was answered as an error.
            self.scheduler.doubt();
            return Err(error.into());
        }
        if let Some(context) = context {
            context.stays();
        }
        self.scheduler.submit(task.clone(), &unhonoured).await;
        drop(place);
        // To its owner, whoever asks.
        let config = Shown::own(&config);
        Ok(Started { task, config, unhonoured })
    }

    /// One account's tasks, living and in all, have limits (A6).
    async fn check_number(&self, tx: &mut Tx, owner: UserId) -> Result<(), Error> {
        let limits = &self.config.limits;
        let refuse = |text: String| Err(Error::Precondition(text));
        let living = store::task::count_living(tx, owner).await?;
        if living >= i64::from(limits.living_tasks) {
            return refuse(format!(
                "you have {living} tasks that aren't over, and {} is the limit: wait until some end, or kill some",
                limits.living_tasks
            ));
        }
        if store::task::has_made(tx, owner, i64::from(limits.tasks)).await? {
            return refuse(format!(
                "you have made {} tasks, which is the limit: an administrator can raise it (limits.tasks)",
                limits.tasks
            ));
        }
        Ok(())
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

    /// As whom a task of that owner's runs in that workspace: account and workspace as they are in the database now (D3,
    /// R25).
    async fn runs_as(
        &self,
        conn: &mut Conn,
        owner: UserId,
        workspace: WorkspaceId,
        default: &UnixIdentity,
    ) -> Result<UnixIdentity, Error> {
        let owner = store::user::by_id(conn, owner).await?.filter(User::is_active);
        let owner = owner.ok_or_else(|| Error::Forbidden("user does not have permission".to_owned()))?;
        let workspace = workspace::open(conn, workspace).await?;
        let identity = identity::effective(owner.identity.as_ref(), &workspace.identity, default);
        identity.map_err(|e| {
            Error::Precondition(format!("the Unix identity of workspace '{}': {e}", workspace.name))
        })
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

    /// Why a task waits, while it does.
    #[must_use]
    pub fn waits_for(&self, task: &Task) -> Option<String> {
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
        let id = permit.target().id;
        let entry = Entry::done(permit.by(), "task.set_priority", target(permit.target()));
        let before = json!({ "priority": permit.target().priority });
        let entry = entry.changed(before, json!({ "priority": priority }));
        self.scheduler.set_priority(id, priority, &entry).await?;
        self.find(id).await
    }

    /// A task's log from byte `offset` on.
    #[must_use]
    pub fn log(&self, permit: &Permit<ReadTask>, offset: u64, follow: bool) -> Follower {
        let task = &permit.target().0;
        match task.log_removed_at {
            Some(at) => Follower::removed(at, offset),
            None => self.logs.read(task.id, offset, follow),
        }
    }

    /// What there is of a task's log, backwards.
    #[must_use]
    pub fn log_back(&self, permit: &Permit<ReadTask>) -> Backward {
        let task = &permit.target().0;
        match task.log_removed_at {
            Some(at) => Backward::removed(task.id, at),
            None => self.logs.read_back(task.id),
        }
    }

    /// A task's log from about its last `last` lines on, and the state of the lines there.
    ///
    /// # Errors
    /// When it can't be read.
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
        read.map_err(Error::io("reading a task's log"))
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
        let mut queue = self.scheduler.queue().await;
        let seen = self.seen_in(scope).await?;
        queue.retain(|task| seen(task.owner, task.workspace));
        queue.sort_unstable_by_key(|task| (!task.placed, task.priority, task.seq));
        Ok(queue)
    }

    /// Those of these that aren't over, in their order.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn still_living(&self, scope: Visible<Task>, ids: &[TaskId]) -> Result<Vec<Task>, Error> {
        let mut living = self.scheduler.still_living(ids).await;
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
    pub async fn count_living(&self) -> usize {
        self.scheduler.count_living().await
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

/// The pool that a configuration names.
fn pool_of(config: &Value) -> &str {
    let named = config.pointer("/resources/resource_pool").and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_POOL)
}

fn three_words() -> String {
    petname::petname(3, "-").unwrap_or_else(|| "unnamed".to_owned())
}
