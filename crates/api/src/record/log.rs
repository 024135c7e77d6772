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

/// One line of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamItem<T> {
    /// The item.
    pub result: T,
}
