//! Invitations of people. The database holds the SHA-256 of a code, never the code (R23). Those of agents are in
//! `agent`.

use domain::id::UserId;
use domain::registration::Invitation;
use domain::time::Timestamp;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx, meta};

row!(InvitationRow {
    id: i64,
    email: Option<String>,
    created_by: Option<i64>,
    created_at: i64,
    expires_at: i64,
    used_by: Option<i64>,
    used_at: Option<i64>,
});

impl From<InvitationRow> for Invitation {
    fn from(row: InvitationRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            created_by: row.created_by.map(UserId),
            created_at: Timestamp(row.created_at),
            expires_at: Timestamp(row.expires_at),
            used_by: row.used_by.map(UserId),
            used_at: row.used_at.map(Timestamp),
        }
    }
}

/// Keeps an invitation; `invitation.id` is ignored and a fresh one given out.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(
    tx: &mut Tx,
    invitation: &Invitation,
    token_hash: &str,
) -> Result<Invitation, StoreError> {
    let id = meta::next(tx, "user_invitation").await?;
    let sql = "INSERT INTO user_invitations (id, token_hash, email, created_by, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    tx.adds(token_hash.len() + invitation.email.as_ref().map_or(0, String::len));
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(id)
            .bind(token_hash)
            .bind(&invitation.email)
            .bind(invitation.created_by.map(|by| by.0))
            .bind(invitation.created_at.0)
            .bind(invitation.expires_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(Invitation { id, ..invitation.clone() })
}

/// The invitation with this digest.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<Invitation>, StoreError> {
    let sql = "SELECT * FROM user_invitations WHERE token_hash = $1";
    let row: Option<InvitationRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(token_hash).fetch_optional(c).await)?;
    Ok(row.map(Invitation::from))
}

/// Uses an invitation up.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_used(tx: &mut Tx, id: i64, by: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE user_invitations SET used_by = $2, used_at = $3 WHERE id = $1 AND used_at IS NULL";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id).bind(by.0).bind(now.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an invitation", affected)
}

/// Takes back what an account invited people and agents with, and nobody has used.
///
/// # Errors
/// See [`StoreError`].
pub async fn withdraw_of(tx: &mut Tx, by: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE user_invitations SET expires_at = $2
               WHERE created_by = $1 AND used_at IS NULL AND expires_at > $2";
    on!(tx, |c| sqlx::query(sql).bind(by.0).bind(now.0).execute(c).await.map(drop))?;
    let sql = "DELETE FROM invitations WHERE invited_by = $1 AND used_by_key IS NULL";
    on!(tx, |c| sqlx::query(sql).bind(by.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Whether who invited may still invite: an active administrator, or Muster itself.
///
/// # Errors
/// See [`StoreError`].
pub async fn counts(conn: &mut Conn, by: Option<UserId>) -> Result<bool, StoreError> {
    let Some(by) = by else { return Ok(true) };
    let user = crate::user::by_id(conn, by).await?;
    Ok(user.is_some_and(|user| user.admin && user.is_active()))
}

/// How many there are.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM user_invitations";
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(sql).fetch_one(c).await)?;
    Ok(count)
}

/// A page of them, newest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn, offset: i64, limit: i64) -> Result<Vec<Invitation>, StoreError> {
    let sql = "SELECT * FROM user_invitations ORDER BY id DESC LIMIT $1 OFFSET $2";
    let rows: Vec<InvitationRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(limit).bind(offset).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Invitation::from).collect())
}
