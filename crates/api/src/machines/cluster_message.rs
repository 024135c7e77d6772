//! What administrators tell everybody (contract "rest", section 4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterMessage {
    /// What it says: one line of at most 250 characters.
    pub message: String,
    /// Shown from then on.
    pub start_time: String,
    /// When it was set.
    pub created_time: String,
    /// Shown until then; until it is cleared when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_time: Option<String>,
}

/// Answer of `GET master/cluster_message`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetClusterMessage {
    /// The one that isn't over, also when it is for later.
    pub cluster_message: Option<ClusterMessage>,
}

/// Body of `PUT master/cluster_message`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SetClusterMessage {
    /// What it says.
    pub message: Option<String>,
    /// RFC 3339: from when; now when absent.
    #[serde(alias = "start_time", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// RFC 3339: until when.
    #[serde(alias = "end_time", skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// Or how long, as Go writes it: `1h30m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}
