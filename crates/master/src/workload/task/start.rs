//! Starting a task: its configuration laid over template and defaults, its identity settled, its files packed, stored, queued.

use api::command::ContextFiles;
use domain::allocation::Allocation;
use domain::audit::Entry;
use domain::authz::{Permit, StartTask, UseTemplate};
use domain::config::secrets::{Shown, masked_words};
use domain::config::{
    DEFAULT_PRIORITY, InvalidConfig, Resources, TaskConfig, WEIGHT, layer, layered, unhonoured,
};
use domain::id::{AllocationId, ResourcePool, TaskId, UserId, WorkspaceId};
use domain::identity::{self, UnixIdentity};
use domain::kind::Kind;
use domain::scheduler::Weight;
use domain::task::{Standing, Task};
use domain::user::User;
use serde_json::{Value, json};
use store::{Conn, Tx};
use uuid::Uuid;

use super::{Started, Tasks, target};
use crate::config::DEFAULT_POOL;
use crate::config_policy;
use crate::template::Templates;
use crate::{Error, again, workspace};

impl Tasks {
    /// Starts a command for who may: stored, then queued. Its configuration is laid over that of the template, and that
    /// over the installation's defaults.
    ///
    /// # Errors
    /// When the configuration or the context isn't acceptable.
    pub async fn start_command(
        &self,
        permit: Permit<StartTask>,
        template: Option<Permit<UseTemplate>>,
        request: Option<&str>,
        files: Option<ContextFiles>,
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
        let mut unhonoured = unhonoured(&wanted);
        if self.config.is_shared_by_weight(pool_of(&wanted)) {
            unhonoured.retain(|setting| setting.key != WEIGHT);
        }
        let defaults = self.config.defaults_in(pool_of(&wanted));
        let mut config = TaskConfig::resolve(&defaults, wanted).map_err(invalid)?;
        let files = files.filter(|files| !files.is_empty());
        if files.is_some() && request.get("work_dir").is_some_and(|dir| !dir.is_null()) {
            let text = "cannot set work_dir and context directory at the same time";
            return Err(Error::Invalid(text.to_owned()));
        }
        if files.is_some() {
            config.work_dir = None;
        }
        let slots = config.resources.slots;
        let pool = self.pool(&config.resources)?;
        if !self.scheduler.could_fit(&pool, slots) {
            return Err(Error::Invalid(format!(
                "request unfulfillable: it asks for {slots} slots, and no connected agent has as many"
            )));
        }
        config.resources.resource_pool = pool.to_string();
        if config.description.is_empty() {
            config.description = format!("{} ({})", kind.about().title, three_words());
        }
        let id = TaskId(Uuid::new_v4());
        let default = self.config.default_task().map_err(|e| Error::Invalid(e.to_string()))?;
        let stored = serde_json::to_string(&config).unwrap_or_default();
        limits.check_merged(&stored).map_err(invalid)?;
        let has_context = files.is_some();
        let workspace = permit.target().workspace;
        // Asked before anything is written, and again when it is stored.
        let nobody = || Error::Forbidden("only accounts have tasks".to_owned());
        let owner = permit.actor().ok_or_else(nobody)?;
        let mut conn = self.store.read().await?;
        let (owner, _) = self.runs_as(&mut conn, owner, workspace, &default).await?;
        drop(conn);
        // Held until the scheduler has the task.
        let place = files.as_ref().map(|files| self.contexts.comes(owner.id, files.bytes()));
        let context = if let (Some(place), Some(files)) = (&place, files) {
            // Before the living ones are looked for, so that what comes to life meanwhile is seen in one of both.
            let earlier = place.earlier();
            let others = self.scheduler.with_context(owner.id);
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
            pool,
            slots,
            weight: Weight::new(config.resources.weight),
            max_slots: config.resources.max_slots,
            priority: DEFAULT_PRIORITY,
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
        let (_, identity) = self.runs_as(&mut tx, owner.id, workspace, &default).await?;
        self.check_number(&mut tx, owner.id).await?;
        let priority = config_policy::priority(&mut tx, workspace, &config.resources).await?;
        let task = store::task::insert(&mut tx, Task { identity, priority, ..task }, &config).await?;
        let facts = json!({
            "description": task.description,
            "entrypoint": masked_words(&config.entrypoint),
            "workspace": task.workspace,
            "runsAs": task.identity.to_string(),
        });
        let entry = Entry::done(permit.by(), "task.start", target(&task)).made(facts);
        if let Err(error) = tx.commit(&entry, self.clock.now()).await {
            // If it happened all the same, the task says that its files are gone; it was answered as an error.
            self.scheduler.doubt_after(&error);
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

    /// The pool of a task that asks for this.
    fn pool(&self, asked: &Resources) -> Result<ResourcePool, Error> {
        let Resources { slots, max_slots, .. } = *asked;
        if let Some(most) = max_slots.filter(|most| *most < slots) {
            return Err(Error::Invalid(format!(
                "request unfulfillable: it asks for {slots} slots, and resources.max_slots is {most}"
            )));
        }
        let pool = Some(asked.resource_pool.as_str()).filter(|pool| !pool.is_empty()).unwrap_or(DEFAULT_POOL);
        let known = self.config.has_pool(pool).then(|| pool.parse().ok()).flatten();
        known.ok_or_else(|| {
            let pools: Vec<String> = self.config.pools().into_iter().map(|pool| pool.pool_name).collect();
            let pools = pools.join(", ");
            Error::Invalid(format!("resource pool '{pool}' does not exist: leave it out, or use {pools}"))
        })
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

    /// A task's owner, and as whom it runs in that workspace: account and workspace as they are in the database now (D3,
    /// R25).
    async fn runs_as(
        &self,
        conn: &mut Conn,
        owner: UserId,
        workspace: WorkspaceId,
        default: &UnixIdentity,
    ) -> Result<(User, UnixIdentity), Error> {
        let owner = store::user::by_id(conn, owner).await?.filter(User::is_active);
        let owner = owner.ok_or_else(|| Error::Forbidden("user does not have permission".to_owned()))?;
        let workspace = workspace::open(conn, workspace).await?;
        let identity = identity::effective(owner.identity.as_ref(), &workspace.identity, default);
        let identity = identity.map_err(|e| {
            Error::Precondition(format!("the Unix identity of workspace '{}': {e}", workspace.name))
        })?;
        Ok((owner, identity))
    }
}

/// The pool that a configuration names.
fn pool_of(config: &Value) -> &str {
    let named = config.pointer("/resources/resource_pool").and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_POOL)
}

fn three_words() -> String {
    petname::petname(3, "-").unwrap_or_else(|| "unnamed".to_owned())
}
