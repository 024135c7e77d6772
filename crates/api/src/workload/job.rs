//! The queue and the pools that it waits for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::few::Few;
use crate::page::Pagination;
use crate::wire::null_default;

/// Answer of `GET job-queues-v2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListJobs {
    /// Those that run first.
    pub jobs: Vec<Job>,
    /// Which of them.
    pub pagination: Pagination,
}

/// A task that lives, in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// All of it: nobody is shown less.
    pub full: FullJob,
}

/// What is said of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FullJob {
    /// The task's.
    pub job_id: String,
    /// The task's too.
    pub entity_id: String,
    /// `TYPE_COMMAND` and the like.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub name: String,
    /// Whose it is.
    pub username: String,
    /// That account.
    pub user_id: i64,
    /// Where it belongs.
    pub workspace_id: i64,
    /// Whose agents it waits for.
    pub resource_pool: String,
    /// RFC 3339.
    pub submission_time: String,
    /// Slots that it wants.
    pub requested_slots: u32,
    /// Slots that it has.
    pub allocated_slots: u32,
    /// May be put off once it runs.
    pub is_preemptible: bool,
    /// Lower runs first.
    pub priority: i64,
    /// Its share.
    pub weight: f64,
    /// From 0 to 1.
    pub progress: f64,
    /// Where it is in the queue.
    pub summary: JobSummary,
    /// Why it waits. Muster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// Where a job is in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSummary {
    /// How many come before it.
    pub jobs_ahead: usize,
    /// `STATE_QUEUED` or `STATE_SCHEDULED`.
    pub state: String,
}

/// Body of `POST job-queues`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateJobs {
    /// Carried out in their order; what can't be done keeps the others from nothing.
    #[serde(deserialize_with = "null_default")]
    pub updates: Few<JobUpdate>,
}

/// One change of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobUpdate {
    /// Which: the task's id.
    #[serde(alias = "job_id", deserialize_with = "null_default")]
    pub job_id: String,
    /// 1 to 99, lower first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Its share; refused, for a task keeps the one that it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Another pool.
    #[serde(alias = "resource_pool", skip_serializing_if = "Option::is_none")]
    pub resource_pool: Option<String>,
    /// Of old; refused.
    #[serde(alias = "ahead_of", skip_serializing)]
    pub ahead_of: Option<String>,
    /// Of old; refused.
    #[serde(alias = "behind_of", skip_serializing)]
    pub behind_of: Option<String>,
}

/// Answer of `GET resource-pools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListPools {
    /// One page.
    pub resource_pools: Vec<Pool>,
    /// Which one.
    pub pagination: Pagination,
}

/// A resource pool. Texts that are always empty are of kinds of agents that aren't there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// `RESOURCE_POOL_TYPE_STATIC`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Agents that are connected.
    pub num_agents: usize,
    /// Slots of theirs.
    pub slots_available: usize,
    /// Slots that tasks have.
    pub slots_used: usize,
    /// `TYPE_CPU` or `TYPE_CUDA`.
    pub slot_type: String,
    /// Tasks without slots that fit in.
    pub aux_container_capacity: usize,
    /// The same for each agent.
    pub aux_container_capacity_per_agent: usize,
    /// Those that run.
    pub aux_containers_running: usize,
    /// Tasks with slots go there when they say nothing.
    pub default_compute_pool: bool,
    /// Tasks without slots do.
    pub default_aux_pool: bool,
    /// Its agents may be taken away.
    pub preemptible: bool,
    /// Always 0.
    pub min_agents: i64,
    /// Always 0.
    pub max_agents: i64,
    /// Always 0: they differ.
    pub slots_per_agent: i64,
    /// `SCHEDULER_TYPE_PRIORITY`.
    pub scheduler_type: String,
    /// `FITTING_POLICY_BEST`.
    pub scheduler_fitting_policy: String,
    /// `on-prem`.
    pub location: String,
    /// Always empty.
    pub image_id: String,
    /// Always empty.
    pub instance_type: String,
    /// Always empty.
    pub details: BTreeMap<String, Value>,
    /// The installation's name.
    pub cluster_name: String,
    /// Always empty.
    pub resource_manager_metadata: BTreeMap<String, String>,
    /// Always empty.
    pub master_url: String,
    /// Always empty.
    pub master_cert_name: String,
    /// Always empty.
    pub startup_script: String,
    /// Always empty.
    pub container_startup_script: String,
    /// Always empty.
    pub agent_docker_network: String,
    /// Always empty.
    pub agent_docker_runtime: String,
    /// Always empty.
    pub agent_docker_image: String,
    /// Always empty.
    pub agent_fluent_image: String,
    /// Always 0, in seconds.
    pub max_idle_agent_period: f64,
    /// Always 0, in seconds.
    pub max_agent_starting_period: f64,
}

/// Answer of `GET resource-pools/P/workspace-bindings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolBindings {
    /// Always empty: a pool is everybody's.
    pub workspace_ids: Vec<i64>,
    /// Which page.
    pub pagination: Pagination,
}

macro_rules! empty_lists {
    ($($(#[$doc:meta])* $name:ident { $field:ident })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// Always empty.
            pub $field: Vec<Value>,
            /// Which page.
            pub pagination: Pagination,
        }
    )*};
}

empty_lists! {
    /// Answer of `GET notebooks`: these don't run yet.
    NoNotebooks { notebooks }
    /// Answer of `GET tensorboards`: these don't run yet.
    NoTensorboards { tensorboards }
    /// Answer of `GET shells`: these don't run yet.
    NoShells { shells }
    /// Answer of `GET experiments`: these don't run yet.
    NoExperiments { experiments }
}
