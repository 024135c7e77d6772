//! Accounts on the wire (contract "identity", section 5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::few::Few;
use crate::page::Pagination;
use crate::wire::{flexible_i64, flexible_ids, null_default};

/// A Unix identity (D2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentUserGroup {
    /// uid.
    #[serde(alias = "agent_uid", deserialize_with = "flexible_i64")]
    pub agent_uid: Option<i64>,
    /// gid.
    #[serde(alias = "agent_gid", deserialize_with = "flexible_i64")]
    pub agent_gid: Option<i64>,
    /// User name.
    #[serde(alias = "agent_user")]
    pub agent_user: Option<String>,
    /// Group name.
    #[serde(alias = "agent_group")]
    pub agent_group: Option<String>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub username: String,
    /// Administrator.
    pub admin: bool,
    /// May come in.
    pub active: bool,
    /// Managed by sign-on.
    pub remote: bool,
    /// Belongs to no person: acts by access tokens alone. Muster's own.
    #[serde(default)]
    pub service: bool,
    /// Name for people, maybe empty.
    pub display_name: String,
    /// Linked Unix identity; null without one.
    pub agent_user_group: Option<AgentUserGroup>,
    /// Where mail reaches its person; told to themselves and to administrators. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub email: Option<String>,
    /// RFC 3339.
    pub modified_at: String,
    /// RFC 3339; absent before the first login.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_auth_at: Option<String>,
}

/// `{"user": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserResponse {
    /// The account.
    pub user: User,
}

/// Answer of `GET users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListUsers {
    /// A page of accounts.
    pub users: Vec<User>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// Body of `POST users`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateUser {
    /// The account to make.
    pub user: Option<NewUser>,
    /// Its password; none or empty is blank.
    pub password: Option<String>,
    /// `password` is the client-side transform.
    #[serde(alias = "is_hashed")]
    pub is_hashed: Option<bool>,
}

/// The account inside [`CreateUser`].
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NewUser {
    /// Its name.
    pub username: Option<String>,
    /// Administrator.
    pub admin: Option<bool>,
    /// May come in at once.
    pub active: Option<bool>,
    /// Managed by sign-on.
    pub remote: Option<bool>,
    /// Belongs to no person: acts by access tokens alone. Muster's own.
    pub service: Option<bool>,
    /// Name for people.
    #[serde(alias = "display_name")]
    pub display_name: Option<String>,
    /// Unix identity.
    #[serde(alias = "agent_user_group")]
    pub agent_user_group: Option<AgentUserGroup>,
}

/// Body of `PATCH users/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchUser {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// New password; empty makes it blank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// With `active: false`: end all that it has running and waiting, too. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_tasks: Option<bool>,
    /// `password` is the client-side transform.
    #[serde(alias = "is_hashed", skip_serializing_if = "Option::is_none")]
    pub is_hashed: Option<bool>,
    /// Role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
    /// May come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Name for people.
    #[serde(alias = "display_name", skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Where mail reaches its person; empty for nowhere. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Managed by sign-on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<bool>,
    /// Unix identity.
    #[serde(alias = "agent_user_group", skip_serializing_if = "Option::is_none")]
    pub agent_user_group: Option<AgentUserGroup>,
    /// Take its Unix identity away. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlink_agent_user: Option<bool>,
}

/// Body of `PATCH users`: several accounts at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchUsers {
    /// The ids of the accounts.
    #[serde(alias = "user_ids", deserialize_with = "flexible_ids")]
    pub user_ids: Few<i64>,
    /// May come in, or not any more.
    pub activate: Option<bool>,
}

/// Answer of `PATCH users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PatchUsersResponse {
    /// One for each account, in the order of the request.
    pub results: Vec<UserResult>,
}

/// What became of one account of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserResult {
    /// The account.
    pub id: i64,
    /// Why not; empty when it was done.
    pub error: String,
}

/// Body of `PATCH users/assignments`: several accounts into several groups, and out of others.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignGroups {
    /// Which accounts.
    #[serde(alias = "user_ids", deserialize_with = "flexible_ids")]
    pub user_ids: Few<i64>,
    /// The groups that they are in afterwards.
    #[serde(alias = "add_groups", deserialize_with = "flexible_ids")]
    pub add_groups: Few<i64>,
    /// The groups that they aren't in afterwards.
    #[serde(alias = "remove_groups", deserialize_with = "flexible_ids")]
    pub remove_groups: Few<i64>,
}

/// Something that a client keeps for its user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Setting {
    /// Its name.
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    /// Where it belongs.
    #[serde(alias = "storage_path", deserialize_with = "null_default")]
    pub storage_path: String,
    /// JSON, as text; empty to delete it.
    #[serde(deserialize_with = "null_default")]
    pub value: String,
}

/// Answer of `GET users/setting` and body of `POST users/setting`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserSettings {
    /// All of them, or those that change.
    #[serde(deserialize_with = "null_default")]
    pub settings: Few<Setting>,
}

/// Answer of `GET me`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The caller's account.
    pub user: User,
    /// Its password is blank. Muster's own.
    #[serde(default)]
    pub blank_password: bool,
}

/// Which accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UserQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// `SORT_BY_USER_NAME` and so on.
    pub sort_by: Option<String>,
    /// With this in their name.
    pub name: Option<String>,
    /// Active, or not.
    pub active: Option<bool>,
    /// Administrators, or not.
    pub admin: Option<bool>,
    /// For role-based access, which is off.
    pub role_id_assigned_directly_to_user: Option<String>,
}

/// What becomes of what an account that is taken away owns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteUserQuery {
    /// It goes to this account; else it stays attributed to the one that was.
    pub assets_to: Option<i64>,
}
