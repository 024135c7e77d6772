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
