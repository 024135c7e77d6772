//! Logging in (contract "identity", section 4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::user::User;

/// Header that names the account which the sender believes to act as. The master refuses with 412 when the credentials
/// are another's, so that nothing is done under a name that somebody has no longer.
pub const EXPECTED_USER: &str = "muster-user";

/// Body of `POST auth/login`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Login {
    /// Account name, exact case.
    pub username: Option<String>,
    /// Password or its client-side transform; empty for a blank one.
    pub password: Option<String>,
    /// `password` is the client-side transform.
    #[serde(alias = "is_hashed")]
    pub is_hashed: Option<bool>,
    /// What the last login from this program answered as `device`; empty asks for one. Who shows it isn't slowed down by
    /// others who guess at the same address. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Answer of `POST auth/login`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginResponse {
    /// Opaque bearer token, good for 30 days.
    pub token: String,
    /// The account.
    pub user: User,
    /// RFC 3339: when the token ends. Muster's own.
    #[serde(default)]
    pub expires_at: String,
    /// The account's password is blank. Muster's own.
    #[serde(default)]
    pub blank_password: bool,
    /// To be shown at the next login; absent when what was shown stays good, or none was asked for. Muster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A login session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id; not its token.
    pub id: i64,
    /// Whose it is.
    pub user_id: i64,
    /// RFC 3339: when it was opened.
    pub created_at: String,
    /// RFC 3339: when it ends by itself.
    pub expires_at: String,
    /// It is the one that asks.
    pub current: bool,
}

/// Answer of `GET users/{id}/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListSessions {
    /// Newest first.
    pub sessions: Vec<Session>,
}
