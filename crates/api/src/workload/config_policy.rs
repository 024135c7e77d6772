//! Configuration policies (contract "rest", section 3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Body of `PUT config-policies/…`; what its path says isn't looked at here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SetConfigPolicies {
    /// YAML or JSON: `constraints` with `resources.max_slots` and `priority_limit`, for experiments `invariant_config` as well.
    #[serde(alias = "config_policies")]
    pub config_policies: Option<String>,
}

/// Answer of `GET` and `PUT config-policies/…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPolicies {
    /// What was set, and nothing besides; `{}` when nothing was.
    pub config_policies: Value,
}
