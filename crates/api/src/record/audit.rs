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
