//! Access tokens. The database holds the SHA-256 of a token, never the token (R23).

use domain::id::{TokenId, UserId};
use domain::time::Timestamp;
use domain::token::Token;
use domain::user::User;

use crate::order::Order;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::{Stored as _, Value};
use crate::{Begin, Conn, StoreError, Tx, meta, user};

table! {
    tokens t => Token {
        id, user: [user_id], description, scope, created_at, expires_at, revoked_at,
    }
    reads "JOIN users u ON u.id = t.user_id" { username: "u.username", last_used_at: "t.last_used_at" }
}

/// How many tokens of an account can still be used.
///
/// # Errors
/// See [`StoreError`].
pub async fn count_live(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<i64, StoreError> {
    Token::count(conn, sql!("t.user_id = ? AND t.revoked_at IS NULL AND t.expires_at > ?", user, now)).await
}

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
    let token = Token { id: TokenId(meta::next(tx, "token").await?), ..token.clone() };
    token.insert(tx, &[("token_hash", token_hash.value()), ("created_by", created_by.value())]).await?;
    Ok(token)
}

/// A token and its account, whatever their states.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<(Token, User)>, StoreError> {
    let token: Option<Token> = Token::select(sql!("t.token_hash = ?", token_hash)).first(conn).await?;
    let Some(token) = token else { return Ok(None) };
    let user = user::by_id(conn, token.user).await?;
    Ok(user.map(|user| (token, user)))
}

/// One token.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: TokenId) -> Result<Option<Token>, StoreError> {
    Token::select(sql!("t.id = ?", id)).first(conn).await
}

/// Writes a token's description and when it was revoked.
///
/// # Errors
/// See [`StoreError`].
pub async fn update(tx: &mut Tx, token: &Token) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET description = ?, revoked_at = ? WHERE id = ?";
    sql!(sql, token.description, token.revoked_at, token.id).run_once(tx, "a token").await
}

/// Revokes all tokens of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn revoke_of_user(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL";
    sql!(sql, now, user).run(tx).await.map(drop)
}

/// Notes when a token was last used.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_last_used(tx: &mut Tx, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
    sql!("UPDATE tokens SET last_used_at = ? WHERE id = ?", at, id).run(tx).await.map(drop)
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
    /// What it is in a row.
    fn key(self) -> (&'static str, fn(&Token) -> Value) {
        match self {
            Self::Id => ("t.id", |token| token.id.value()),
            Self::User => ("t.user_id", |token| token.user.value()),
            Self::Expiry => ("t.expires_at", |token| token.expires_at.value()),
            Self::CreatedAt => ("t.created_at", |token| token.created_at.value()),
            Self::Revoked => {
                let revoked = "CASE WHEN t.revoked_at IS NULL THEN 0 ELSE 1 END";
                (revoked, |token| i64::from(token.revoked_at.is_some()).value())
            }
            Self::Description => ("t.description", |token| token.description.value()),
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
    /// What they are sorted by.
    pub sort: SortBy,
    /// Last ones first.
    pub descending: bool,
}

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = Sql::default();
        all.and_if("t.user_id = ?", self.user);
        if !self.ids.is_empty() {
            all.and(Sql::one_of("t.id", &self.ids));
        }
        all.and_if("t.revoked_at IS NULL AND t.expires_at > ?", self.live_at);
        all
    }

    fn order(&self) -> Order<Token> {
        let (column, value) = self.sort.key();
        let order = Order::by(column, self.descending, value);
        let same = self.sort == SortBy::Id;
        if same { order } else { order.then("t.id", self.descending, |token| token.id.value()) }
    }
}

/// How many tokens match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    Token::count(conn, filter.conditions()).await
}

/// Part of the tokens that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    begin: Begin<'_, Token>,
    limit: i64,
) -> Result<Vec<Token>, StoreError> {
    Token::listed(filter.order().part(filter.conditions(), begin, limit)).all(conn).await
}
