//! Invitations of people. The database holds the SHA-256 of a code, never the code (R23). Those of agents are in
//! `agent`.

use domain::id::UserId;
use domain::registration::Invitation;
use domain::time::Timestamp;

use crate::order::Order;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Begin, Conn, StoreError, Tx, meta};

table! {
    user_invitations i => Invitation { id, email, created_by, created_at, expires_at, used_by, used_at }
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
    let invitation = Invitation { id: meta::next(tx, "user_invitation").await?, ..invitation.clone() };
    invitation.insert(tx, &[("token_hash", token_hash.value())]).await?;
    Ok(invitation)
}

/// The invitation with this digest.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<Invitation>, StoreError> {
    Invitation::select(sql!("i.token_hash = ?", token_hash)).first(conn).await
}

/// Uses an invitation up.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_used(tx: &mut Tx, id: i64, by: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE user_invitations SET used_by = ?, used_at = ? WHERE id = ? AND used_at IS NULL";
    sql!(sql, by, now, id).run_once(tx, "an invitation").await
}

/// Takes back what an account invited people and agents with, and nobody has used.
///
/// # Errors
/// See [`StoreError`].
pub async fn withdraw_of(tx: &mut Tx, by: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE user_invitations SET expires_at = ?
               WHERE created_by = ? AND used_at IS NULL AND expires_at > ?";
    sql!(sql, now, by, now).run(tx).await?;
    sql!("DELETE FROM invitations WHERE invited_by = ? AND used_by_key IS NULL", by).run(tx).await.map(drop)
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
    Invitation::count(conn, Sql::default()).await
}

/// Part of them, newest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    begin: Begin<'_, Invitation>,
    limit: i64,
) -> Result<Vec<Invitation>, StoreError> {
    let newest_first = Order::by("i.id", true, |invitation: &Invitation| invitation.id.value());
    Invitation::listed(newest_first.part(Sql::default(), begin, limit)).all(conn).await
}
