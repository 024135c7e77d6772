//! Resource pools as `resource_pools` names them: which agents are in each, how it is shared, and the defaults of the tasks
//! in it, which are the installation's `task_container_defaults` with the pool's laid over them.

use std::time::Duration;

use domain::config::secrets::Shown;
use domain::config::{layer, layered, unhonoured};
use domain::id::{AgentId, ResourcePool};
use domain::scheduler::{Order, Policy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Config;
use crate::manager::AGENTS;

/// The pool that is there without a word; agents that no other one names are in it.
pub(crate) const DEFAULT_POOL: &str = "default";

/// One resource pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    pub pool_name: String,
    /// Shown by clients.
    #[serde(default)]
    pub description: String,
    /// Who gives its places: `agents`, or another manager that this master has.
    #[serde(default = "agents", skip_serializing_if = "is_agents")]
    pub manager: String,
    /// The agents in it. An agent is in one pool.
    #[serde(default)]
    pub agents: Vec<AgentId>,
    /// Who comes first.
    #[serde(default)]
    pub scheduler: Scheduler,
    /// Seconds that a run may take; none is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<u32>,
    /// Under the configurations of its tasks, over those of the installation.
    #[serde(default)]
    pub task_container_defaults: Value,
}

/// How a pool is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduler {
    /// In which order what waits is looked at.
    #[serde(rename = "type")]
    pub kind: SchedulerKind,
    /// By priority: what is more urgent ends what is less urgent and can go on later. Never commands, notebooks and shells.
    pub preemption: bool,
}

/// In which order what waits is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerKind {
    /// By priority, then by submission.
    #[default]
    Priority,
    /// Whose share is used least comes first (`quotas`, and a job's `weight` among its owner's).
    FairShare,
}

fn agents() -> String {
    AGENTS.to_owned()
}

fn is_agents(manager: &str) -> bool {
    manager == AGENTS
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            pool_name: DEFAULT_POOL.to_owned(),
            description: String::new(),
            manager: agents(),
            agents: Vec::new(),
            scheduler: Scheduler::default(),
            time_limit: None,
            task_container_defaults: Value::Null,
        }
    }
}

impl Pool {
    /// Its name, as tasks have it.
    #[must_use]
    pub fn name(&self) -> ResourcePool {
        self.pool_name.parse().unwrap_or_default()
    }

    /// How it is shared.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let order = match self.scheduler.kind {
            SchedulerKind::Priority => Order::Priority,
            SchedulerKind::FairShare => Order::FairShare,
        };
        Policy { order, preemption: self.scheduler.preemption }
    }

    /// How long a run may take.
    #[must_use]
    pub fn at_most(&self) -> Option<Duration> {
        self.time_limit.map(|seconds| Duration::from_secs(u64::from(seconds)))
    }
}

impl Config {
    /// All pools, the one that is always there among them.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        let mut pools = self.resource_pools.clone();
        if self.pool(DEFAULT_POOL).is_none() {
            pools.insert(0, Pool::default());
        }
        pools
    }

    /// What is said of a pool.
    fn pool(&self, name: &str) -> Option<&Pool> {
        self.resource_pools.iter().find(|pool| pool.pool_name == name)
    }

    /// Whether there is such a pool.
    #[must_use]
    pub fn has_pool(&self, name: &str) -> bool {
        name == DEFAULT_POOL || self.pool(name).is_some()
    }

    /// Whether a job's weight counts in a pool.
    #[must_use]
    pub fn is_shared_by_weight(&self, pool: &str) -> bool {
        self.pool(pool).is_some_and(|pool| pool.scheduler.kind == SchedulerKind::FairShare)
    }

    /// The pool that an agent is in.
    #[must_use]
    pub fn pool_of(&self, agent: &AgentId) -> ResourcePool {
        let named = self.resource_pools.iter().find(|pool| pool.agents.contains(agent));
        named.map(Pool::name).unwrap_or_default()
    }

    /// What is under the configuration of a task in this pool.
    #[must_use]
    pub fn defaults_in(&self, pool: &str) -> Value {
        match self.pool(pool) {
            Some(own) => layered(&self.task_container_defaults, own.task_container_defaults.clone()),
            None => self.task_container_defaults.clone(),
        }
    }

    /// Settings of the defaults that have no effect, for whoever reads the master's own log.
    #[must_use]
    pub fn unhonoured(&self) -> Vec<String> {
        let said = |place: String, defaults: &Value| {
            unhonoured(defaults)
                .into_iter()
                .map(move |setting| format!("{place}.{setting}"))
                .collect::<Vec<_>>()
        };
        let mut all = said("task_container_defaults".to_owned(), &self.task_container_defaults);
        for pool in &self.resource_pools {
            let place = format!("resource_pools: {}: task_container_defaults", pool.pool_name);
            all.extend(said(place, &pool.task_container_defaults));
        }
        all
    }

    /// Brings the defaults into our own form.
    pub(super) fn read_defaults(&mut self) {
        let pools = self.resource_pools.iter_mut().map(|pool| &mut pool.task_container_defaults);
        for defaults in pools.chain([&mut self.task_container_defaults]) {
            *defaults = layer::with_places(defaults.take());
        }
    }

    /// Checks pools and defaults.
    pub(super) fn check_defaults(&self) -> Result<(), String> {
        let check = |defaults: &Value| layer::check_defaults(defaults).map_err(|e| e.to_string());
        check(&self.task_container_defaults).map_err(|e| format!("task_container_defaults: {e}"))?;
        for (at, pool) in self.resource_pools.iter().enumerate() {
            let Pool { pool_name: name, task_container_defaults: defaults, .. } = pool;
            name.parse::<ResourcePool>().map_err(|e| format!("resource_pools: {e}"))?;
            let mut before = self.resource_pools.iter().take(at);
            if before.clone().any(|other| other.pool_name == *name) {
                return Err(format!("resource_pools: '{name}' is there twice"));
            }
            if let Some(agent) =
                pool.agents.iter().find(|agent| before.any(|other| other.agents.contains(agent)))
            {
                return Err(format!("resource_pools: '{name}': agent {agent} is in another pool already"));
            }
            if pool.scheduler.preemption && pool.scheduler.kind != SchedulerKind::Priority {
                return Err(format!(
                    "resource_pools: '{name}': scheduler.preemption is by priority: leave it out"
                ));
            }
            if pool.manager != AGENTS && !pool.agents.is_empty() {
                return Err(format!(
                    "resource_pools: '{name}': its manager is '{}', which has nodes of its own: leave agents out",
                    pool.manager
                ));
            }
            if pool.time_limit == Some(0) {
                return Err(format!("resource_pools: '{name}': time_limit: give seconds that aren't 0"));
            }
            let named = |e| format!("resource_pools: '{name}': task_container_defaults: {e}");
            check(defaults).map_err(named)?;
            check(&self.defaults_in(name)).map_err(named)?;
        }
        Ok(())
    }

    /// The pools as an administrator sees them: the one that is always there, and no secrets.
    pub(super) fn pools_for_display(&self) -> Value {
        let shown = self.pools().into_iter().map(|pool| {
            let mut shown = json!(pool);
            shown["task_container_defaults"] =
                Shown::to_everybody(&pool.task_container_defaults).into_value();
            shown
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "master.yaml").expect("valid")
    }

    #[test]
    fn a_pools_defaults_lie_over_the_installations() {
        let config = config(
            "task_container_defaults: {work_dir: /opt, startup_hook: one, environment: {environment_variables: [A=1, B=1]}}\n\
             resource_pools: [{pool_name: default, task_container_defaults: {startup_hook: two, environment: {environment_variables: [B=2]}}}]\n",
        );
        let defaults = config.defaults_in("default");
        assert_eq!((&defaults["work_dir"], &defaults["startup_hook"]), (&json!("/opt"), &json!("two")));
        let variables = &defaults["environment"]["environment_variables"]["cpu"];
        assert_eq!(variables, &json!(["A=1", "B=1", "B=2"]));
        assert_eq!(config.defaults_in("other")["startup_hook"], "one");
    }

    #[test]
    fn agents_are_in_the_pool_that_names_them_or_in_the_one_that_is_always_there() {
        let config = config(
            "resource_pools: [{pool_name: gpu, agents: [node-1], scheduler: {type: fair_share}, time_limit: 60}]\n",
        );
        let pool = |agent: &str| config.pool_of(&agent.parse().expect("a name")).to_string();
        assert_eq!((pool("node-1"), pool("node-2")), ("gpu".to_owned(), "default".to_owned()));
        let pools: Vec<_> =
            config.pools().iter().map(|pool| (pool.pool_name.clone(), pool.policy().order)).collect();
        assert_eq!(pools, [("default".to_owned(), Order::Priority), ("gpu".to_owned(), Order::FairShare)]);
        assert!(config.has_pool("default") && config.has_pool("gpu") && !config.has_pool("cpu"));
        assert_eq!(config.pools()[1].at_most(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn determineds_form_of_defaults_is_taken() {
        let config = config(
            "task_container_defaults:\n  shm_size_bytes: 4294967296\n  environment_variables: [A=1]\n  image: {cpu: x}\n  \
             add_capabilities: [NET_ADMIN]\n  devices: [{host_path: /dev/x}]\n",
        );
        let defaults = config.defaults_in("default");
        assert_eq!(defaults["resources"]["shm_size"], json!(4_294_967_296_u64));
        assert_eq!(defaults["environment"]["environment_variables"], json!(["A=1"]));
        assert_eq!(
            config.unhonoured().iter().filter_map(|said| said.split(" has no").next()).collect::<Vec<_>>(),
            [
                "task_container_defaults.environment.image",
                "task_container_defaults.environment.add_capabilities",
                "task_container_defaults.resources.devices"
            ]
        );
    }

    #[test]
    fn d10_what_is_wrong_with_a_pool_is_said() {
        for (text, told) in [
            ("resource_pools: [{pool_name: a b}]", "resource pool"),
            (
                "resource_pools: [{pool_name: a, agents: [n]}, {pool_name: b, agents: [n]}]",
                "agent n is in another",
            ),
            (
                "resource_pools: [{pool_name: a, scheduler: {type: fair_share, preemption: true}}]",
                "by priority",
            ),
            ("resource_pools: [{pool_name: a, scheduler: {type: round_robin}}]", "round_robin"),
            ("resource_pools: [{pool_name: a, time_limit: 0}]", "time_limit"),
            ("resource_pools: [{pool_name: a, manager: batch, agents: [n]}]", "leave agents out"),
            ("quotas: {users: {a: {weight: 0}}}", "quotas.users.a.weight"),
            ("resource_pools: [{pool_name: default}, {pool_name: default}]", "'default' is there twice"),
            ("resource_pools: [{pool_name: default, priority: 1}]", "priority"),
            (
                "resource_pools: [{pool_name: default, task_container_defaults: {imgae: x}}]",
                "resource_pools: 'default': task_container_defaults: ",
            ),
            ("task_container_defaults: {resources: {shm_size: much}}", "resources.shm_size"),
            ("task_container_defaults: {shm_size_bytes: much}", "resources.shm_size"),
            ("task_container_defaults: {image: x, environment: {image: y}}", "image"),
            ("task_container_defaults: {startup_hook: [x]}", "startup_hook"),
        ] {
            let refused = Config::parse(text, "master.yaml").expect_err(text).to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn a10_secrets_of_pools_are_not_shown() {
        let config = config(
            "resource_pools: [{pool_name: default, task_container_defaults: {startup_hook: export K=a-pond, \
             environment: {environment_variables: [PROXY=a-lake]}}}]\n",
        );
        let shown = config.for_display();
        assert_eq!(shown["resource_pools"][0]["pool_name"], "default");
        let shown = shown.to_string();
        assert!(!shown.contains("pond") && !shown.contains("lake"), "{shown}");
    }
}
