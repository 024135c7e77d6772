//! Roles as Determined's clients assign them: Muster's roles of members of workspaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::flexible_i64;

/// Body of `POST roles/add-assignments` and of `POST roles/remove-assignments`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignRoles {
    /// Roles of accounts.
    #[serde(alias = "user_role_assignments")]
    pub user_role_assignments: Option<Vec<Assignment>>,
    /// Roles of groups.
    #[serde(alias = "group_role_assignments")]
    pub group_role_assignments: Option<Vec<Assignment>>,
}

/// Who gets which role where.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignment {
    /// The account.
    #[serde(alias = "user_id", deserialize_with = "flexible_i64", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Or the group.
    #[serde(alias = "group_id", deserialize_with = "flexible_i64", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<i64>,
    /// The rest.
    #[serde(alias = "role_assignment")]
    pub role_assignment: ScopedRole,
}

/// A role and where it counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopedRole {
    /// The role.
    pub role: RoleId,
    /// Where; everywhere when absent.
    #[serde(
        alias = "scope_workspace_id",
        deserialize_with = "flexible_i64",
        skip_serializing_if = "Option::is_none"
    )]
    pub scope_workspace_id: Option<i64>,
}

/// A role by its number.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleId {
    /// As `roles/search` lists it.
    #[serde(alias = "role_id", deserialize_with = "flexible_i64", skip_serializing_if = "Option::is_none")]
    pub role_id: Option<i64>,
}

/// Body of `POST roles/search/by-ids`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolesById {
    /// The ids of the roles that are asked for.
    #[serde(alias = "role_ids")]
    pub role_ids: Vec<i64>,
}
