//! The master's own log (contract "rest", section 10).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::few::Few;

/// How much lines matter, as clients name it.
pub mod level {
    /// Everything.
    pub const TRACE: &str = "LOG_LEVEL_TRACE";
    /// For who looks for a fault.
    pub const DEBUG: &str = "LOG_LEVEL_DEBUG";
    /// What happens.
    pub const INFO: &str = "LOG_LEVEL_INFO";
    /// What somebody should look at.
    pub const WARNING: &str = "LOG_LEVEL_WARNING";
    /// What failed.
    pub const ERROR: &str = "LOG_LEVEL_ERROR";
    /// The same: there is nothing above it.
    pub const CRITICAL: &str = "LOG_LEVEL_CRITICAL";
}

/// One line, in the `result` of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MasterLogs {
    /// The line.
    pub log_entry: MasterLogEntry,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterLogEntry {
    /// Its number, from 0 since the master's start.
    pub id: u64,
    /// See [`level`].
    pub level: String,
    /// What it says.
    pub message: String,
    /// RFC 3339.
    pub timestamp: String,
}

/// Body of `PATCH master/config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchMasterConfig {
    /// The new values.
    pub config: Option<MasterConfigChange>,
    /// Which of them count.
    #[serde(alias = "field_mask")]
    pub field_mask: Option<FieldMask>,
}

/// What can be changed while the master runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MasterConfigChange {
    /// Its own log.
    pub log: Option<LogChange>,
}

/// How the master logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogChange {
    /// What matters as much is said; see [`level`].
    pub level: Option<String>,
    /// With colours, where it is a terminal.
    pub color: Option<bool>,
}

/// Names of members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FieldMask {
    /// `log.level`, `log.color`.
    pub paths: Few<String>,
}

/// Which lines of the master's own log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MasterLogQuery {
    /// From this one on; so many before the end when it is negative.
    pub offset: Option<i64>,
    /// Most lines; all without it, and with 0.
    pub limit: Option<u64>,
    /// And those that come.
    pub follow: Option<bool>,
}
