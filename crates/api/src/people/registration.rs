//! Asking to be let in, deciding, inviting. Muster's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::page::Pagination;
use crate::user::User;
use crate::wire::flexible_i64;

/// Body of `POST users/register`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Register {
    /// The name of the account.
    pub username: Option<String>,
    /// Where mail reaches its person.
    pub email: Option<String>,
    /// Password or its client-side transform; never blank.
    pub password: Option<String>,
    /// `password` is the client-side transform.
    #[serde(alias = "is_hashed")]
    pub is_hashed: Option<bool>,
    /// What people call them.
    #[serde(alias = "display_name")]
    pub display_name: Option<String>,
    /// The code of an invitation.
    pub invitation: Option<String>,
}

/// Answer of `POST users/register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The account. It can log in only when it is active.
    pub user: User,
}

/// Somebody who asked to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Its number.
    pub id: i64,
    /// The name that they chose.
    pub username: String,
    /// Where mail reaches them.
    pub email: String,
    /// The account; it is gone after a rejection.
    pub user_id: i64,
    /// `pending`, `accepted` or `rejected`.
    pub state: String,
    /// From where.
    pub address: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339: when it was decided.
    pub decided_at: Option<String>,
    /// The account that decided, or that invited.
    pub decided_by: Option<i64>,
}

/// Answer of `GET registrations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListRegistrations {
    /// Newest first.
    pub registrations: Vec<Registration>,
    /// Where the page lies.
    pub pagination: Pagination,
}

/// Body of `POST invitations`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Invite {
    /// The only e-mail address that may register with it; it is mailed there.
    pub email: Option<String>,
    /// For how many days.
    #[serde(deserialize_with = "flexible_i64")]
    pub days: Option<i64>,
}

/// Answer of `POST invitations`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invited {
    /// The code, told this once.
    pub code: String,
    /// The invitation.
    pub invitation: Invitation,
}

/// An invitation to register, without its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Its number.
    pub id: i64,
    /// The only e-mail address that may register with it.
    pub email: Option<String>,
    /// The account that invited.
    pub created_by: Option<i64>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: String,
    /// The account that was made with it.
    pub used_by: Option<i64>,
    /// RFC 3339.
    pub used_at: Option<String>,
}

/// Answer of `GET invitations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListInvitations {
    /// Newest first.
    pub invitations: Vec<Invitation>,
    /// Where the page lies.
    pub pagination: Pagination,
}

/// Which registrations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistrationQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// What was decided: `pending`, `accepted`, `rejected`.
    pub state: Option<String>,
}
