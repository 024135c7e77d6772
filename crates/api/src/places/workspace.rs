//! Workspaces on the wire (contract "runtime", section 1.1), and who is in a workspace or project.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::page::Pagination;
use crate::user::AgentUserGroup;
use crate::wire::{Unkept, flexible_i64};

/// A workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Archived: nothing new gets into it.
    pub archived: bool,
    /// Can't be changed.
    pub immutable: bool,
    /// How many experiments it has.
    pub num_experiments: i64,
    /// Count of those that the caller sees.
    pub num_projects: i64,
    /// On top of the list; never.
    pub pinned: bool,
    /// `WORKSPACE_STATE_UNSPECIFIED`.
    pub state: String,
    /// Empty.
    pub error_message: String,
    /// Owner.
    pub user_id: i64,
    /// Owner's name.
    pub username: String,
    /// Unix identity of its tasks.
    pub agent_user_group: Option<AgentUserGroup>,
    /// Where its experiments' checkpoints go, keys masked for others than its owner; null is where the installation's go.
    pub checkpoint_storage_config: Option<Value>,
    /// Exists for its members only. Muster's own.
    #[serde(default)]
    pub private: bool,
}

/// `{"workspace": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceResponse {
    /// The workspace.
    pub workspace: Workspace,
}

/// Answer of `POST workspaces` and of `PATCH workspaces/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceChanged {
    /// The workspace.
    pub workspace: Workspace,
    /// Empty: namespaces are for Kubernetes.
    #[serde(default)]
    pub namespace_bindings: Value,
}

/// Answer of `GET workspaces`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListWorkspaces {
    /// A page of them.
    pub workspaces: Vec<Workspace>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// Body of `POST workspaces` and of `PATCH workspaces/{id}`, where what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EditWorkspace {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Exists for its members only. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Unix identity of its tasks; replaces all four parts.
    #[serde(alias = "agent_user_group", skip_serializing_if = "Option::is_none")]
    pub agent_user_group: Option<AgentUserGroup>,
    /// Where its experiments' checkpoints go; `{}` is where the installation's go.
    #[serde(alias = "checkpoint_storage_config", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub checkpoint_storage_config: Option<Box<RawValue>>,
    // What Muster doesn't have: refused unless it says nothing.
    /// Pool for tasks with slots.
    #[serde(
        alias = "default_compute_pool",
        alias = "defaultComputeResourcePool",
        alias = "default_compute_resource_pool",
        skip_serializing_if = "Option::is_none"
    )]
    pub default_compute_pool: Option<String>,
    /// Pool for tasks without.
    #[serde(
        alias = "default_aux_pool",
        alias = "defaultAuxResourcePool",
        alias = "default_aux_resource_pool",
        skip_serializing_if = "Option::is_none"
    )]
    pub default_aux_pool: Option<String>,
    /// Kubernetes only.
    #[serde(alias = "cluster_namespace_meta", skip_serializing)]
    #[schemars(with = "Option<Value>")]
    pub cluster_namespace_meta: Option<Unkept>,
    /// Kubernetes only.
    #[serde(alias = "cluster_quota_pairs", skip_serializing)]
    #[schemars(with = "Option<Value>")]
    pub cluster_quota_pairs: Option<Unkept>,
}

/// Answer of `DELETE workspaces/{id}` and of `DELETE projects/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// It is gone already.
    pub completed: bool,
}

/// Answer of `GET workspaces/{id}/available-resource-pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailablePools {
    /// All pools, by name.
    pub resource_pools: Vec<String>,
    /// One page.
    pub pagination: Pagination,
}

/// A member of a workspace or project. Muster's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<i64>,
    /// Or the group.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group_id: Option<i64>,
    /// Its name.
    pub name: String,
    /// `viewer`, `editor` or `administrator`.
    pub role: String,
}

/// Answer of every request about members. Muster's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListMembers {
    /// All of them, users first.
    pub members: Vec<Member>,
}

/// Body of `PUT workspaces/{id}/members` and of `PUT projects/{id}/members`. Muster's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SetMember {
    /// The account.
    #[serde(alias = "user_id", deserialize_with = "flexible_i64", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Or the group.
    #[serde(alias = "group_id", deserialize_with = "flexible_i64", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<i64>,
    /// `viewer`, `editor` or `administrator`.
    pub role: Option<String>,
}

/// Answer of `GET workspaces/W/list-namespace-bindings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceBindings {
    /// Always empty: for Kubernetes.
    pub namespace_bindings: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Which workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// `SORT_BY_NAME` or `SORT_BY_ID`.
    pub sort_by: Option<String>,
    /// With this in their name, in large or small letters.
    pub name: Option<String>,
    /// With just this name.
    pub name_case_sensitive: Option<String>,
    /// Put away, or not.
    pub archived: Option<bool>,
    /// None is.
    pub pinned: Option<bool>,
    /// Of any of these accounts, by name, …
    pub users: Vec<String>,
    /// … or number.
    pub user_ids: Vec<String>,
}

/// Whose role it is: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberQuery {
    /// An account's.
    pub user_id: Option<i64>,
    /// A group's.
    pub group_id: Option<i64>,
}

/// Which members of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MembersByRoleQuery {
    /// With this in their name.
    pub name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_client_spelling_is_read() {
        let text = r#"{"name": "a", "agent_user_group": {"agent_uid": "7"}, "defaultComputeResourcePool": "p",
            "checkpointStorageConfig": null}"#;
        let edit: EditWorkspace = serde_json::from_str(text).expect("valid");
        assert_eq!(edit.agent_user_group.and_then(|group| group.agent_uid), Some(7));
        assert_eq!(edit.default_compute_pool.as_deref(), Some("p"));
        assert!(edit.checkpoint_storage_config.is_none());
        assert_eq!(edit.private, None);
    }
}
