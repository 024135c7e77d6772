//! The installation: versions, agents, slots.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster_message::ClusterMessage;
use crate::page::Pagination;

/// Answer of `GET /info`, snake case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// The Determined version spoken.
    pub version: String,
    /// This master.
    pub master_id: String,
    /// This installation.
    pub cluster_id: String,
    /// Its name.
    pub cluster_name: String,
    /// Never on.
    pub telemetry: Telemetry,
    /// Null: no sign-on.
    pub sso_providers: Option<Vec<Value>>,
    /// Muster's own version.
    #[serde(default)]
    pub muster_version: String,
    /// The account of P1, when the caller may act as it without a password here (P2).
    #[serde(default)]
    pub default_user: Option<String>,
    /// Largest packed context that is taken, in bytes.
    #[serde(default)]
    pub max_context_bytes: u64,
    /// What administrators tell everybody now. Muster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_message: Option<String>,
}

/// The telemetry part of [`Info`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Telemetry {
    /// Always false.
    pub enabled: bool,
    /// Always false.
    pub otel_enabled: bool,
    /// Always empty.
    pub otel_endpoint: String,
}

/// Answer of `GET master`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Master {
    /// The Determined version spoken.
    pub version: String,
    /// This master.
    pub master_id: String,
    /// This installation.
    pub cluster_id: String,
    /// Its name.
    pub cluster_name: String,
    /// Only administrators order the queue.
    pub strict_job_queue_control: bool,
    /// Always false.
    pub has_custom_logo: bool,
    /// Never.
    pub telemetry_enabled: bool,
    /// Always empty: there is no single sign-on.
    pub sso_providers: Vec<Value>,
    /// Always empty: there is no login page but ours.
    pub external_login_uri: String,
    /// Always empty, as for logging in.
    pub external_logout_uri: String,
    /// `determined`.
    pub branding: String,
    /// Roles are administrator and user only.
    pub rbac_enabled: bool,
    /// `PRODUCT_UNSPECIFIED`.
    pub product: String,
    /// Always empty.
    pub feature_switches: Vec<String>,
    /// Yes.
    pub user_management_enabled: bool,
    /// What everybody is told now.
    pub cluster_message: Option<ClusterMessage>,
}

/// Answer of `GET agents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListAgents {
    /// All of them.
    pub agents: Vec<Agent>,
    /// One page.
    pub pagination: Pagination,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its name.
    pub id: String,
    /// RFC 3339: connected since.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registered_time: Option<String>,
    /// By key `/agents/A/slots/N`… the key is the slot's number.
    pub slots: BTreeMap<String, Slot>,
    /// Running tasks by container id.
    pub containers: BTreeMap<String, Container>,
    /// The pool that it is in.
    pub resource_pools: Vec<String>,
    /// Where it is.
    pub addresses: Vec<String>,
    /// Takes new tasks.
    pub enabled: bool,
    /// Takes no new tasks, ends no old ones.
    pub draining: bool,
    /// The Determined version spoken (B21).
    pub version: String,
    /// Its own version, while it is connected. Muster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muster_version: Option<String>,
    /// What this master knows and it can't carry out, while it is connected, such as `startup_hook`: what asks for it isn't
    /// placed there. Muster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_capabilities: Vec<String>,
    /// Counts; empty.
    pub slot_stats: SlotStats,
    /// Connected now. Muster's own.
    #[serde(default)]
    pub connected: bool,
    /// What is wrong with its machine's devices. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// How far its clock was ahead of the master's when it connected, in ms. Muster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
    /// Shut out for ever. Muster's own.
    #[serde(default)]
    pub revoked: bool,
    /// For administrators. Muster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<Enrolled>,
}

/// How an agent came to belong here, and where it was last seen. Muster's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// Of its key.
    pub key_fingerprint: String,
    /// RFC 3339: when the key was enrolled.
    pub time: String,
    /// RFC 3339: when it was shut out.
    pub revoked_time: Option<String>,
    /// RFC 3339: when it last came or left.
    pub last_seen_time: Option<String>,
    /// From where it last came.
    pub last_address: Option<String>,
}

/// Counts of an agent's slots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotStats {
    /// By device type.
    pub type_stats: BTreeMap<String, Value>,
    /// By model.
    pub brand_stats: BTreeMap<String, Value>,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// Its number.
    pub id: String,
    /// Takes tasks.
    pub enabled: bool,
    /// Takes no new task.
    pub draining: bool,
    /// What it is.
    pub device: Device,
    /// What runs on it.
    pub container: Option<Container>,
}

/// A slot's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Its number.
    pub id: u32,
    /// Its model.
    pub brand: String,
    /// Its serial number.
    pub uuid: String,
    /// `TYPE_CPU` or `TYPE_CUDA`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A task's process as Determined's clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its id: the allocation's.
    pub id: String,
    /// `STATE_RUNNING` …
    pub state: String,
    /// Always empty.
    pub devices: Vec<Device>,
    /// It belongs to a task that the caller may not see; the id is made up.
    pub permission_denied: bool,
    /// None.
    pub parent: String,
}

/// Body of `POST agents/invitations`. Muster's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InviteAgent {
    /// The only name that may enrol with it; any when absent.
    pub name: Option<String>,
    /// It may give that name another key when it is enrolled already.
    pub replace: bool,
}

/// Answer of `POST agents/invitations`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// The secret, good once, and the master's key: what the agent is started with.
    pub token: String,
    /// The master's key, for people to compare. Muster's own.
    #[serde(default)]
    pub fingerprint: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// Answer of `GET health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `up`.
    pub status: String,
}

/// Answer of `GET master/telemetry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoTelemetry {
    /// Always false.
    pub enabled: bool,
    /// Always empty.
    pub segment_key: String,
}

/// Answer of `GET master/config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MasterConfig {
    /// As it counts, secrets masked.
    pub config: Value,
}

/// Answer of what is about one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentResponse {
    /// As it is now.
    pub agent: Agent,
}

/// Answer of `GET agents/A/slots`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListSlots {
    /// All of them.
    pub slots: Vec<Slot>,
}

/// Answer of what is about one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlotResponse {
    /// As it is now; null when its agent isn't connected.
    pub slot: Option<Slot>,
}
