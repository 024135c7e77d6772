//! Groups of accounts (contract "identity", section 6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::few::Few;
use crate::page::Pagination;
use crate::user::User;
use crate::wire::{flexible_i64, flexible_ids};

/// Body of `POST groups/search`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchGroups {
    /// Rows wanted, 1 to 500.
    #[serde(deserialize_with = "flexible_i64")]
    pub limit: Option<i64>,
    /// Rows to skip.
    #[serde(deserialize_with = "flexible_i64")]
    pub offset: Option<i64>,
    /// With this very name.
    pub name: Option<String>,
    /// That this account is in.
    #[serde(alias = "user_id", deserialize_with = "flexible_i64")]
    pub user_id: Option<i64>,
}

/// A group without its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its id.
    pub group_id: i64,
    /// Its name.
    pub name: String,
}

/// A group that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundGroup {
    /// The group.
    pub group: Group,
    /// How many are in it.
    pub num_members: i64,
}

/// Answer of `POST groups/search`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListGroups {
    /// A page of groups.
    pub groups: Vec<FoundGroup>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupDetails {
    /// Its id.
    pub group_id: i64,
    /// Its name.
    pub name: String,
    /// Who is in it.
    pub users: Vec<User>,
}

/// `{"group": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupResponse {
    /// The group.
    pub group: GroupDetails,
}

/// Body of `POST groups`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateGroup {
    /// Its name.
    pub name: Option<String>,
    /// Who is in it from the beginning.
    #[serde(alias = "add_users", deserialize_with = "flexible_ids")]
    pub add_users: Few<i64>,
}

/// Body of `PUT groups/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateGroup {
    /// Its name from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who comes in.
    #[serde(alias = "add_users", deserialize_with = "flexible_ids")]
    pub add_users: Few<i64>,
    /// Who goes out.
    #[serde(alias = "remove_users", deserialize_with = "flexible_ids")]
    pub remove_users: Few<i64>,
}
