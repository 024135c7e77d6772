//! Roles as Determined's clients assign them: Muster's roles of members of workspaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::few::Few;
use crate::wire::flexible_i64;

/// Body of `POST roles/add-assignments` and of `POST roles/remove-assignments`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignRoles {
    /// Roles of accounts.
    #[serde(alias = "user_role_assignments")]
    pub user_role_assignments: Option<Few<Assignment>>,
    /// Roles of groups.
    #[serde(alias = "group_role_assignments")]
    pub group_role_assignments: Option<Few<Assignment>>,
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
    pub role_ids: Few<i64>,
}

/// Where something can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeTypeMask {
    /// Everywhere.
    pub cluster: bool,
    /// In a workspace.
    pub workspace: bool,
}

/// What somebody may do, in the words of Determined's permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// `PERMISSION_TYPE_…`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Where it can be given.
    pub scope_type_mask: ScopeTypeMask,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Its number.
    pub role_id: i64,
    /// Its name.
    pub name: String,
    /// Where it can be given.
    pub scope_type_mask: ScopeTypeMask,
    /// What it allows; left out where the role is only named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Permission>>,
}

/// A role, and where it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Given {
    /// Which.
    pub role: Role,
    /// In which workspace.
    pub scope_workspace_id: i64,
    /// Never everywhere.
    pub scope_cluster: bool,
}

/// An account's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleOfUser {
    /// The account.
    pub user_id: i64,
    /// The role.
    pub role_assignment: Given,
}

/// A group's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleOfGroup {
    /// The group.
    pub group_id: i64,
    /// The role.
    pub role_assignment: Given,
}

/// A role with those who have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleWithMembers {
    /// Which.
    pub role: Role,
    /// Accounts.
    pub user_role_assignments: Vec<RoleOfUser>,
    /// Groups.
    pub group_role_assignments: Vec<RoleOfGroup>,
}

/// Where a role was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleScopes {
    /// The role.
    pub role_id: i64,
    /// In these workspaces.
    pub scope_workspace_ids: Vec<i64>,
    /// Everywhere.
    pub scope_cluster: bool,
}

/// What a role allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolePermissions {
    /// The role.
    pub role_id: i64,
    /// What it allows.
    pub permissions: Vec<Permission>,
}

/// Answer of `POST roles/search`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListRoles {
    /// All of them.
    pub roles: Vec<Role>,
    /// One page.
    pub pagination: crate::page::Pagination,
}

/// Answer of `POST roles/search/by-ids` and of `GET roles/search/by-user/U`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolesWithMembers {
    /// Those that were asked for.
    pub roles: Vec<RoleWithMembers>,
}

/// Answer of `GET roles/search/by-group/G`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolesOfGroup {
    /// Those that it has.
    pub roles: Vec<Role>,
    /// Where.
    pub assignments: Vec<RoleScopes>,
}

/// Answer of `GET roles/workspace/W`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembersByRole {
    /// Groups that are members.
    pub groups: Vec<crate::group::GroupDetails>,
    /// Accounts that are, by themselves.
    pub users_assigned_directly: Vec<crate::user::User>,
    /// Everybody, by role.
    pub assignments: Vec<RoleWithMembers>,
}

/// Answer of `GET permissions/summary`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionsSummary {
    /// What each role allows.
    pub roles: Vec<RolePermissions>,
    /// Where the caller has it.
    pub assignments: Vec<RoleScopes>,
}
