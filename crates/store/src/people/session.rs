//! Login sessions. The database holds the SHA-256 of a token, never the token (R23).

use domain::authz::{Actor, Via};
use domain::id::{SessionId, UserId};
use domain::session::Session;
use domain::time::Timestamp;
use domain::user::Password;

use crate::db::{on, row};
use crate::user::{self, UserRow};
use crate::{Conn, StoreError, Tx, meta, token};

row!(SessionRow { session_id: i64, session_created_at: i64, expires_at: i64 });

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
    let id = meta::next(tx, "session").await?;
    let sql =
        "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
    tx.adds(token_hash.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(id)
            .bind(user.0)
            .bind(token_hash)
            .bind(created_at.0)
            .bind(expires_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(Session { id: SessionId(id), user_id: user, created_at, expires_at })
}

/// The session of a token and its account, whatever their states.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(
    conn: &mut Conn,
    token_hash: &str,
) -> Result<Option<(Session, domain::user::User)>, StoreError> {
    let sql = "SELECT s.id AS session_id, s.created_at AS session_created_at, s.expires_at, u.*
               FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = $1";
    struct Both(SessionRow, UserRow);
    impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for Both
    where
        SessionRow: sqlx::FromRow<'r, R>,
        UserRow: sqlx::FromRow<'r, R>,
    {
        fn from_row(row: &'r R) -> sqlx::Result<Self> {
            Ok(Self(SessionRow::from_row(row)?, UserRow::from_row(row)?))
        }
    }
    let found: Option<Both> = on!(conn, |c| sqlx::query_as(sql).bind(token_hash).fetch_optional(c).await)?;
    let Some(Both(session, row)) = found else {
        return Ok(None);
    };
    let user = user::from_row(row)?;
    let session = Session {
        id: SessionId(session.session_id),
        user_id: user.id,
        created_at: Timestamp(session.session_created_at),
        expires_at: Timestamp(session.expires_at),
    };
    Ok(Some((session, user)))
}

/// Whether a session wasn't ended.
///
/// # Errors
/// See [`StoreError`].
pub async fn exists(conn: &mut Conn, id: SessionId) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM sessions WHERE id = $1";
    let row: Option<(i64,)> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_optional(c).await)?;
    Ok(row.is_some())
}

/// Whether an account is still what an actor was found to be, and what proved it is still good.
pub(crate) async fn still_holds(conn: &mut Conn, actor: &Actor) -> Result<bool, StoreError> {
    let user = user::by_id(conn, actor.user).await?;
    let holds = |user: &domain::user::User| user.is_active() && (user.admin || !actor.admin);
    let Some(user) = user.filter(holds) else { return Ok(false) };
    Ok(match actor.via {
        Via::Session(id) => exists(conn, id).await?,
        Via::Token(id) | Via::ReadOnlyToken(id) => {
            token::by_id(conn, id).await?.is_some_and(|token| token.revoked_at.is_none())
        }
        Via::DefaultUser => user.password == Password::Blank,
    })
}

row!(BareRow { id: i64, user_id: i64, created_at: i64, expires_at: i64 });

impl From<BareRow> for Session {
    fn from(row: BareRow) -> Self {
        Self {
            id: SessionId(row.id),
            user_id: UserId(row.user_id),
            created_at: Timestamp(row.created_at),
            expires_at: Timestamp(row.expires_at),
        }
    }
}

/// One session.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: SessionId) -> Result<Option<Session>, StoreError> {
    let sql = "SELECT id, user_id, created_at, expires_at FROM sessions WHERE id = $1";
    let row: Option<BareRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_optional(c).await)?;
    Ok(row.map(Session::from))
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
    let sql = "SELECT id, user_id, created_at, expires_at FROM sessions
               WHERE user_id = $1 AND expires_at > $2 ORDER BY id DESC LIMIT $3";
    let rows: Vec<BareRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(user.0).bind(now.0).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Session::from).collect())
}

/// Ends one session; ending it twice is no error.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: SessionId) -> Result<(), StoreError> {
    let sql = "DELETE FROM sessions WHERE id = $1";
    on!(tx, |c| sqlx::query(sql).bind(id.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends all sessions of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    let sql = "DELETE FROM sessions WHERE user_id = $1";
    on!(tx, |c| sqlx::query(sql).bind(user.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends the oldest sessions of an account, so that `keep` stay. Answers which.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_oldest(tx: &mut Tx, user: UserId, keep: u32) -> Result<Vec<SessionId>, StoreError> {
    // More than a few are there only when the limit was lowered; the next log-ins end the rest.
    let sql = "SELECT id FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT 100 OFFSET $2";
    let rows: Vec<(i64,)> =
        on!(tx, |c| sqlx::query_as(sql).bind(user.0).bind(i64::from(keep)).fetch_all(c).await)?;
    for (id,) in &rows {
        delete(tx, SessionId(*id)).await?;
    }
    Ok(rows.into_iter().map(|(id,)| SessionId(id)).collect())
}

/// Removes sessions that ended before `now`.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_expired(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM sessions WHERE expires_at <= $1";
    on!(tx, |c| sqlx::query(sql).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}
