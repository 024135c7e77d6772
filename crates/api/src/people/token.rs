//! Access tokens (contract "identity", section 5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::page::Pagination;
use crate::wire::flexible_i64;

/// What tokens of this kind say in `tokenType`.
pub const ACCESS_TOKEN: &str = "TOKEN_TYPE_ACCESS_TOKEN";

/// Body of `POST tokens`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateToken {
    /// Whose it is to be.
    #[serde(alias = "user_id", deserialize_with = "flexible_i64")]
    pub user_id: Option<i64>,
    /// A duration such as Go writes it (`48h`); `-1` is the longest, none the default.
    pub lifespan: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// `full` or `read`; none is `full`. Muster's own.
    pub scope: Option<String>,
}

/// Answer of `POST tokens`: the only one that ever holds the secret.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// The secret.
    pub token: String,
    /// The id, by which it is revoked.
    pub token_id: i64,
    /// All that may be known of it. Muster's own.
    pub token_info: TokenInfo,
}

/// What may be known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Its id.
    pub id: i64,
    /// Whose it is.
    pub user_id: i64,
    /// That account's name. Muster's own.
    #[serde(default)]
    pub username: String,
    /// RFC 3339: when it ends by itself.
    pub expiry: String,
    /// RFC 3339: when it was made.
    pub created_at: String,
    /// [`ACCESS_TOKEN`].
    pub token_type: String,
    /// It was revoked.
    pub revoked: bool,
    /// What it is for.
    pub description: String,
    /// `full` or `read`. Muster's own.
    #[serde(default)]
    pub scope: String,
    /// RFC 3339: when it was last used; absent before. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_used_at: Option<String>,
}

/// Answer of `GET tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListTokens {
    /// A page of tokens.
    pub token_info: Vec<TokenInfo>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// Body of `PATCH tokens/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchToken {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Makes it worthless, for good.
    #[serde(alias = "set_revoked", skip_serializing_if = "Option::is_none")]
    pub set_revoked: Option<bool>,
}

/// Answer of `PATCH tokens/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatchedToken {
    /// The token as it is now.
    pub token_info: TokenInfo,
}

/// Which access tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// `SORT_BY_USER_ID`, `SORT_BY_EXPIRY` and so on.
    pub sort_by: Option<String>,
    /// Of this account.
    pub username: Option<String>,
    /// These.
    pub token_ids: Vec<String>,
    /// Expired and revoked ones, too.
    pub show_inactive: Option<bool>,
}
