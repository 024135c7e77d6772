//! Access tokens. The database holds the SHA-256 of a token, never the token (R23).

use domain::id::{TokenId, UserId};
use domain::time::Timestamp;
use domain::token::{Scope, Token};
use domain::user::User;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx, meta, user};

row!(TokenRow {
    id: i64,
    user_id: i64,
    username: String,
    description: String,
    scope: String,
    created_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
});

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        Self {
            id: TokenId(row.id),
            user: UserId(row.user_id),
            username: row.username,
            description: row.description,
            scope: Scope::from_stored(&row.scope),
            created_at: Timestamp(row.created_at),
            expires_at: Timestamp(row.expires_at),
            revoked_at: row.revoked_at.map(Timestamp),
            last_used_at: row.last_used_at.map(Timestamp),
        }
    }
}

/// How many tokens of an account can still be used.
///
/// # Errors
/// See [`StoreError`].
pub async fn count_live(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM tokens WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2";
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(sql).bind(user.0).bind(now.0).fetch_one(c).await)?;
    Ok(count)
}

const SELECT: &str = "SELECT t.*, u.username FROM tokens t JOIN users u ON u.id = t.user_id";

/// Makes a token; `token.id` is ignored and a fresh one given out.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(
    tx: &mut Tx,
    token: &Token,
    token_hash: &str,
    created_by: Option<UserId>,
) -> Result<Token, StoreError> {
    let id = TokenId(meta::next(tx, "token").await?);
    let sql =
        "INSERT INTO tokens (id, user_id, token_hash, description, scope, created_by, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    tx.adds(token_hash.len() + token.description.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(id.0)
            .bind(token.user.0)
            .bind(token_hash)
            .bind(&token.description)
            .bind(token.scope.as_str())
            .bind(created_by.map(|by| by.0))
            .bind(token.created_at.0)
            .bind(token.expires_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(Token { id, ..token.clone() })
}

/// A token and its account, whatever their states.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<(Token, User)>, StoreError> {
    let sql = format!("{SELECT} WHERE t.token_hash = $1");
    let row: Option<TokenRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(token_hash).fetch_optional(c).await)?;
    let Some(token) = row.map(Token::from) else { return Ok(None) };
    let user = user::by_id(conn, token.user).await?;
    Ok(user.map(|user| (token, user)))
}

/// One token.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: TokenId) -> Result<Option<Token>, StoreError> {
    let sql = format!("{SELECT} WHERE t.id = $1");
    let row: Option<TokenRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).fetch_optional(c).await)?;
    Ok(row.map(Token::from))
}

/// Writes a token's description and when it was revoked.
///
/// # Errors
/// See [`StoreError`].
pub async fn update(tx: &mut Tx, token: &Token) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET description = $2, revoked_at = $3 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(token.id.0)
            .bind(&token.description)
            .bind(token.revoked_at.map(|at| at.0))
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    one_row("a token", affected)
}

/// Revokes all tokens of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn revoke_of_user(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
    on!(tx, |c| sqlx::query(sql).bind(user.0).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Notes when a token was last used.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_last_used(tx: &mut Tx, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET last_used_at = $2 WHERE id = $1";
    on!(tx, |c| sqlx::query(sql).bind(id.0).bind(at.0).execute(c).await.map(drop))?;
    Ok(())
}

/// What a list of tokens goes by; the id comes last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Id.
    #[default]
    Id,
    /// Account.
    User,
    /// End.
    Expiry,
    /// Making.
    CreatedAt,
    /// Revoked or not.
    Revoked,
    /// Description.
    Description,
}

impl SortBy {
    fn column(self) -> &'static str {
        match self {
            Self::Id => "t.id",
            Self::User => "t.user_id",
            Self::Expiry => "t.expires_at",
            Self::CreatedAt => "t.created_at",
            Self::Revoked => "CASE WHEN t.revoked_at IS NULL THEN 0 ELSE 1 END",
            Self::Description => "t.description",
        }
    }
}

/// Which tokens, in which order.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this account only.
    pub user: Option<UserId>,
    /// These only; there are never many.
    pub ids: Vec<TokenId>,
    /// Only those that are good at this time.
    pub live_at: Option<Timestamp>,
    /// Order.
    pub sort: SortBy,
    /// The other way round.
    pub descending: bool,
}

impl Filter {
    /// Numbers may stand in the text.
    fn conditions(&self) -> String {
        let mut sql = "1 = 1".to_owned();
        if let Some(user) = self.user {
            sql.push_str(&format!(" AND t.user_id = {}", user.0));
        }
        if !self.ids.is_empty() {
            let ids: Vec<String> = self.ids.iter().map(|id| id.0.to_string()).collect();
            sql.push_str(&format!(" AND t.id IN ({})", ids.join(", ")));
        }
        if let Some(now) = self.live_at {
            sql.push_str(&format!(" AND t.revoked_at IS NULL AND t.expires_at > {}", now.0));
        }
        sql
    }
}

/// How many tokens match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM tokens t WHERE {}", filter.conditions());
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).fetch_one(c).await)?;
    Ok(count)
}

/// A page of the tokens that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<Token>, StoreError> {
    let direction = if filter.descending { "DESC" } else { "ASC" };
    let (conditions, column) = (filter.conditions(), filter.sort.column());
    let sql = format!(
        "{SELECT} WHERE {conditions} ORDER BY {column} {direction}, t.id {direction} LIMIT $1 OFFSET $2"
    );
    let rows: Vec<TokenRow> =
        on!(conn, |c| { sqlx::query_as(AssertSqlSafe(sql)).bind(limit).bind(offset).fetch_all(c).await })?;
    Ok(rows.into_iter().map(Token::from).collect())
}
