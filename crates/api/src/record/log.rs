//! Log lines (contract "runtime", section 1.5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Position in the log, as text.
    pub id: String,
    /// Its task.
    pub task_id: String,
    /// Its run.
    pub allocation_id: String,
    /// Where it ran.
    pub agent_id: String,
    /// The allocation's id.
    pub container_id: String,
    /// RFC 3339.
    pub timestamp: String,
    /// `LOG_LEVEL_INFO` …
    pub level: String,
    /// `stdout` or `stderr`.
    pub stdtype: String,
    /// `task`, `agent` or `master`.
    pub source: String,
    /// Of a run on several agents, which of its parts wrote it, from 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rank_id: Option<u16>,
    /// The line.
    pub log: String,
    /// The line as the clients print it, with its end.
    pub message: String,
}

/// What was removed because it was old enough. Numbers are text, as in all of protobuf's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CleanedUpLogs {
    /// Tasks' logs.
    pub removed_count: String,
    /// What they took of the disk, in bytes.
    pub removed_bytes: String,
    /// Tasks that aren't known any more; their logs are among those above.
    pub removed_tasks: String,
}

/// One line of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamItem<T> {
    /// The item.
    pub result: T,
}

/// Which lines of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogQuery {
    /// And those that come, until the task is over.
    pub follow: Option<bool>,
    /// Most lines; all without it, and with 0.
    pub limit: Option<u64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// With this in them.
    pub search_text: Option<String>,
    /// Not supported.
    pub enable_regex: Option<bool>,
    /// Of any of these levels: `LOG_LEVEL_INFO` …
    pub levels: Vec<String>,
    /// `stdout`, `stderr`.
    pub stdtypes: Vec<String>,
    /// `task`, `agent`, `master`.
    pub sources: Vec<String>,
    /// Of any of these agents.
    pub agent_ids: Vec<String>,
    /// Of any of these runs.
    pub allocation_ids: Vec<String>,
    /// The same.
    pub container_ids: Vec<String>,
    /// Of any of these ranks; what isn't of one of several agents has -1.
    pub rank_ids: Vec<String>,
    /// Not later than this time, in RFC 3339.
    pub timestamp_before: Option<String>,
    /// Later.
    pub timestamp_after: Option<String>,
}

/// Where a log is read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutputQuery {
    /// On with what comes, until the task is over.
    pub follow: Option<bool>,
    /// The byte of the stored log that it begins with.
    pub offset: Option<u64>,
}
