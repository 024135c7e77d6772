//! Login sessions. The database holds the SHA-256 of a token, never the token (R23).

use domain::authz::{Actor, Via};
use domain::id::{SessionId, UserId};
use domain::session::Session;
use domain::time::Timestamp;
use domain::user::{Password, User};

use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Conn, StoreError, Tx, meta, token, user};

table! {
    sessions s => Session { id, user_id, created_at, expires_at }
}

/// Opens a session.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(
    tx: &mut Tx,
    user: UserId,
    token_hash: &str,
    created_at: Timestamp,
    expires_at: Timestamp,
) -> Result<Session, StoreError> {
    let id = SessionId(meta::next(tx, "session").await?);
    let session = Session { id, user_id: user, created_at, expires_at };
    session.insert(tx, &[("token_hash", token_hash.value())]).await?;
    Ok(session)
}

/// The session of a token and its account, whatever their states.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<(Session, User)>, StoreError> {
    let sql = Sql::from("SELECT ").with(Session::SHOWN).with(", ").with(User::SHOWN).with(Session::FROM);
    let whose = sql!(" JOIN users u ON u.id = s.user_id WHERE s.token_hash = ?", token_hash);
    sql.with(whose).first(conn).await
}

/// Whether a session wasn't ended.
///
/// # Errors
/// See [`StoreError`].
pub async fn exists(conn: &mut Conn, id: SessionId) -> Result<bool, StoreError> {
    sql!("SELECT id FROM sessions WHERE id = ?", id).exists(conn).await
}

/// Whether an account is still what an actor was found to be, and what proved it is still good.
pub(crate) async fn still_holds(conn: &mut Conn, actor: &Actor) -> Result<bool, StoreError> {
    let user = user::by_id(conn, actor.user).await?;
    let holds = |user: &User| user.is_active() && (user.admin || !actor.admin);
    let Some(user) = user.filter(holds) else { return Ok(false) };
    Ok(match actor.via {
        Via::Session(id) => exists(conn, id).await?,
        Via::Token(id) | Via::ReadOnlyToken(id) => {
            token::by_id(conn, id).await?.is_some_and(|token| token.revoked_at.is_none())
        }
        Via::DefaultUser => user.password == Password::Blank,
    })
}

/// One session.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: SessionId) -> Result<Option<Session>, StoreError> {
    Session::select(sql!("s.id = ?", id)).first(conn).await
}

/// An account's sessions that are good at `now`, newest first; at most `limit`.
///
/// # Errors
/// See [`StoreError`].
pub async fn of_user(
    conn: &mut Conn,
    user: UserId,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Session>, StoreError> {
    let good = sql!("s.user_id = ? AND s.expires_at > ?", user, now);
    Session::select(good).with(sql!(" ORDER BY s.id DESC LIMIT ?", limit)).all(conn).await
}

/// Ends one session; ending it twice is no error.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: SessionId) -> Result<(), StoreError> {
    sql!("DELETE FROM sessions WHERE id = ?", id).run(tx).await.map(drop)
}

/// Ends all sessions of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    sql!("DELETE FROM sessions WHERE user_id = ?", user).run(tx).await.map(drop)
}

/// Ends the oldest sessions of an account, so that `keep` stay. Answers which.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_oldest(tx: &mut Tx, user: UserId, keep: u32) -> Result<Vec<SessionId>, StoreError> {
    // More than a few are there only when the limit was lowered; the next logins end the rest.
    let sql = "SELECT id FROM sessions WHERE user_id = ? ORDER BY id DESC LIMIT 100 OFFSET ?";
    let oldest: Vec<SessionId> = sql!(sql, user, keep).all(tx).await?;
    for id in &oldest {
        delete(tx, *id).await?;
    }
    Ok(oldest)
}

/// Removes sessions that ended before `now`.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_expired(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    sql!("DELETE FROM sessions WHERE expires_at <= ?", now).run(tx).await.map(drop)
}
