//! What the master does: services, one module per noun; the scheduler loop; the log store; the agents' side of the
//! protocol. A service takes a permit in place of an id, so that it can't be called without the policy having been
//! asked (`domain::authz`).
//!
//! There is deliberately no HTTP and no SQL here: `web` calls these services, and they call `store`.

pub mod error;
mod installation;
mod machines;
pub mod open;
mod people;
mod places;
mod record;
pub mod system;
pub mod unbroken;
mod workload;

use installation::reserve;
pub use installation::{bootstrap, cluster, cluster_message, config};
pub use machines::agent;
use machines::link_key;
pub use people::{account, group, password, registration, secret, session, setting, token};
use people::{fair, system_ids, throttle};
use places::{again, taken};
pub use places::{member, project, workspace};
pub use record::{audit, log, mail, own_log, retention};
use workload::scheduler;
pub use workload::{config_policy, context, manager, task, template};

use std::path::PathBuf;
use std::sync::Arc;

use domain::audit::Allowance;
use domain::authz::System;
use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;
pub use error::Error;

use crate::system::{Clock, Entropy};

/// What a master is made of.
pub struct Parts {
    /// The database, open and migrated.
    pub store: Store,
    /// Where blobs and logs are kept.
    pub data_dir: PathBuf,
    /// The configuration.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What this program says of itself.
    pub own_log: own_log::OwnLog,
    /// Where work runs besides our agents.
    pub managers: manager::Others,
    /// The right to act for Muster itself. It goes on to what needs it, and is handed out by nothing here.
    pub system: System,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// A running master. Cheap to clone; many fit in one process.
#[derive(Clone)]
pub struct Master {
    /// Accounts.
    pub accounts: account::Accounts,
    /// Login sessions.
    pub sessions: session::Sessions,
    /// Access tokens.
    pub tokens: token::Tokens,
    /// Groups of accounts.
    pub groups: group::Groups,
    /// What clients keep for their user.
    pub settings: setting::Settings,
    /// People who ask to be let in.
    pub registrations: registration::Registrations,
    /// Tasks.
    pub tasks: task::Tasks,
    /// What tasks' logs take of the disk.
    pub kept_logs: log::Kept,
    /// What removes what is over.
    pub retention: retention::Keeper,
    /// Workspaces.
    pub workspaces: workspace::Workspaces,
    /// Projects.
    pub projects: project::Projects,
    /// Templates.
    pub templates: template::Templates,
    /// Configuration policies.
    pub config_policies: config_policy::ConfigPolicies,
    /// Agents.
    pub agents: agent::Agents,
    /// The audit log.
    pub audit: audit::Audit,
    /// The installation.
    pub cluster: cluster::Cluster,
    /// The master's own log.
    pub log: own_log::MasterLog,
    /// What everybody is told.
    pub cluster_messages: cluster_message::ClusterMessages,
    /// The configuration.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is carried out to its end.
    pub unbroken: unbroken::Unbroken,
    store: Store,
    live: scheduler::Scheduler,
    background: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Master")
    }
}

impl Master {
    /// Makes a new installation where there is none, takes up living tasks again, and starts the scheduler.
    ///
    /// # Errors
    /// When the database or the data directory can't be used.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { store, data_dir, config, clock, entropy, own_log, managers, system } = parts;
        let default = &config.security.default_task;
        system_ids::check(&config.agent.allowed_ids, Some(default.uid), Some(default.gid))
            .map_err(|e| Error::Invalid(format!("security.default_task: {e}")))?;
        let managers = manager::Managers::new(&config, managers)?;
        let config = Arc::new(config);
        let hasher = password::Hasher::new();
        let cluster = cluster::Cluster::open(
            &store,
            &config,
            &data_dir,
            &hasher,
            clock.as_ref(),
            entropy.as_ref(),
            &system,
        )
        .await?;
        let link_key = link_key::open(&store, &data_dir, clock.as_ref(), entropy.as_ref(), &system).await?;
        store.limit_growth(Allowance(config.limits.stored_bytes_per_day));
        let (audit, refusals) = audit::Audit::new(store.clone(), Arc::clone(&clock));
        let sessions = session::Sessions::new(
            store.clone(),
            Arc::clone(&config),
            hasher.clone(),
            audit.clone(),
            cluster.initial_password().clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        );
        let mails = mail::Mails::new(store.clone(), Arc::clone(&config), Arc::clone(&clock));
        let registrations = registration::Registrations::new(registration::Parts {
            store: store.clone(),
            config: Arc::clone(&config),
            hasher: hasher.clone(),
            audit: audit.clone(),
            sessions: sessions.clone(),
            mails: mails.clone(),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
        });
        let tokens = token::Tokens::new(
            store.clone(),
            Arc::clone(&config),
            sessions.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        );
        let groups = group::Groups::new(store.clone(), Arc::clone(&clock), sessions.clone());
        let settings = setting::Settings::new(store.clone(), Arc::clone(&clock));
        let logs = log::Logs::new(data_dir.join("logs")).limited(config.log_bytes());
        let contexts = context::Contexts::new(data_dir.join("contexts"));
        let live = scheduler::Scheduler::new(scheduler::Parts {
            store: store.clone(),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            config: Arc::clone(&config),
            cluster: cluster.clone(),
            logs: logs.clone(),
            contexts: contexts.clone(),
            key: link_key.clone(),
            managers,
            system: system.clone(),
        });
        live.load().await?;
        let accounts = account::Accounts::new(
            store.clone(),
            hasher,
            Arc::clone(&clock),
            sessions.clone(),
            mails.clone(),
            cluster.clone(),
            Arc::clone(&config),
            live.clone(),
        );
        let tasks = task::Tasks::new(
            store.clone(),
            Arc::clone(&config),
            Arc::clone(&clock),
            logs.clone(),
            contexts,
            live.clone(),
        );
        let kept_logs = log::Kept::new(logs, store.clone(), live.clone(), Arc::clone(&clock));
        let unbroken = unbroken::Unbroken::default();
        let agents = agent::Agents::new(
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            cluster.clone(),
            link_key,
            live.clone(),
            unbroken.clone(),
        );
        let workspaces = workspace::Workspaces::new(store.clone(), Arc::clone(&clock), Arc::clone(&config));
        let projects = project::Projects::new(store.clone(), config.limits.clone(), Arc::clone(&clock));
        let templates = template::Templates::new(store.clone(), config.limits.clone(), Arc::clone(&clock));
        let config_policies =
            config_policy::ConfigPolicies::new(store.clone(), config.limits.clone(), Arc::clone(&clock));
        let log = own_log::MasterLog::new(own_log, store.clone(), Arc::clone(&clock));
        let cluster_messages = cluster_message::ClusterMessages::new(store.clone(), Arc::clone(&clock));
        let background = TaskTracker::new();
        let stop = CancellationToken::new();
        live.begin_managers(&stop);
        background.spawn(live.clone().run(stop.clone()));
        background.spawn(sessions.clone().sweep(stop.clone()));
        background.spawn(reserve::keep(store.clone(), config.disk_reserve_bytes, stop.clone()));
        background.spawn(mails.run(stop.clone()));
        background.spawn(audit.clone().keep(refusals, system.clone(), stop.clone()));
        let retention =
            retention::Keeper::new(store.clone(), kept_logs.clone(), config.retention, system, stop.clone());
        background.spawn(retention.clone().run());
        Ok(Self {
            accounts,
            sessions,
            registrations,
            tasks,
            kept_logs,
            retention,
            workspaces,
            projects,
            templates,
            config_policies,
            tokens,
            groups,
            settings,
            agents,
            audit,
            cluster,
            log,
            cluster_messages,
            config,
            clock,
            unbroken,
            store,
            live,
            background,
            stop,
        })
    }

    /// Removes now what is over for as long as the administrator has it kept, which else happens within the hour.
    ///
    /// # Errors
    /// When the database or the disk refuses; it is tried again in an hour.
    pub async fn tidy(&self, _system: &System) -> Result<(), Error> {
        self.retention.tidy().await
    }

    /// Where memory and database say different things, in words: living tasks, the service of agents, who is logged in.
    /// Of a master at rest there is nothing to say (B1–B4); the tests ask.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn disagreements(&self) -> Result<Vec<String>, Error> {
        let mut found = self.live.disagreements().await?;
        found.extend(self.sessions.disagreements().await?);
        Ok(found)
    }

    /// Fires when the master stops: open streams end then.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Resolves when another master has taken the database over: this one has to end.
    pub async fn overtaken(&self) -> Error {
        self.store.until_overtaken().await;
        store::StoreError::Overtaken.into()
    }

    /// Tells open streams and the server to end.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Ends background work, once what was begun is done, and closes the database. Tasks go on.
    pub async fn stop(&self) {
        self.begin_stop();
        self.unbroken.finish().await;
        self.background.close();
        self.background.wait().await;
        self.store.close().await;
    }
}
