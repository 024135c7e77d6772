//! What a running task hears and answers (contract "runtime", sections 3.4 and 4.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long to wait for a signal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SignalQuery {
    /// Seconds, 60 at most; without it the answer comes at once.
    pub timeout_seconds: Option<u64>,
}

/// Whether a run is to save what it has and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreemptionSignal {
    /// It is.
    pub preempt: bool,
}
