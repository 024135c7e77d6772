//! The audit log on the wire; Muster's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One entry, and in an export one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// SHA-256 of `record`'s text, hexadecimal.
    pub hash: String,
    /// The text that the digest was taken of, byte for byte: a `domain::audit::Record`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub record: Box<RawValue>,
}

/// Answer of `GET audit`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ListAudit {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// What to give as `before` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// Answer of `GET audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedAudit {
    /// Number of the last sound entry.
    pub count: i64,
    /// Its digest. Kept elsewhere, it proves later that none up to there was changed.
    pub head: String,
    /// How many of these, the oldest, were removed because they were as old as they are kept; absent when none was.
    #[serde(skip_serializing_if = "is_none", default)]
    pub removed: i64,
    /// What is wrong with the entry behind them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub broken: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_none(count: &i64) -> bool {
    *count == 0
}

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditExportQuery {
    /// Done by the account of this name.
    pub user: Option<String>,
    /// Done by this: `user 3`, `agent node`, `system`.
    pub actor: Option<String>,
    /// This action, or all of a noun: `user.create`, `user.`.
    pub action: Option<String>,
    /// Done to this: `user 3`, `workspace 2`.
    pub target: Option<String>,
    /// `done` or `refused`.
    pub result: Option<String>,
    /// Not earlier than this time, in RFC 3339.
    pub since: Option<String>,
    /// Earlier.
    pub until: Option<String>,
}

/// A page of which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditQuery {
    /// Done by the account of this name.
    pub user: Option<String>,
    /// Done by this: `user 3`, `agent node`, `system`.
    pub actor: Option<String>,
    /// This action, or all of a noun: `user.create`, `user.`.
    pub action: Option<String>,
    /// Done to this: `user 3`, `workspace 2`.
    pub target: Option<String>,
    /// `done` or `refused`.
    pub result: Option<String>,
    /// Not earlier than this time, in RFC 3339.
    pub since: Option<String>,
    /// Earlier.
    pub until: Option<String>,
    /// Before the entry of this number.
    pub before: Option<i64>,
    /// Most entries.
    pub limit: Option<i64>,
}
