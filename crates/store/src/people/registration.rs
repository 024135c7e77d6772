//! Who asked to be let in, and what became of it.

use domain::id::UserId;
use domain::registration::{Registration, State};
use domain::time::Timestamp;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx, meta};

row!(RegistrationRow {
    id: i64,
    username: String,
    email: String,
    user_id: i64,
    state: String,
    address: String,
    created_at: i64,
    decided_at: Option<i64>,
    decided_by: Option<i64>,
});

fn from_row(row: RegistrationRow) -> Result<Registration, StoreError> {
    let state = State::parse(&row.state);
    let corrupt = || StoreError::Corrupt(format!("registrations, id {}: state", row.id));
    Ok(Registration {
        id: row.id,
        username: row.username.clone(),
        email: row.email.clone(),
        user: UserId(row.user_id),
        state: state.ok_or_else(corrupt)?,
        address: row.address.clone(),
        created_at: Timestamp(row.created_at),
        decided_at: row.decided_at.map(Timestamp),
        decided_by: row.decided_by.map(UserId),
    })
}

/// Keeps a registration; `registration.id` is ignored and a fresh one given out.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(tx: &mut Tx, registration: &Registration) -> Result<Registration, StoreError> {
    let id = meta::next(tx, "registration").await?;
    let sql =
        "INSERT INTO registrations (id, username, email, user_id, state, address, created_at, decided_at, decided_by)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    tx.adds(registration.username.len() + registration.email.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(id)
            .bind(&registration.username)
            .bind(&registration.email)
            .bind(registration.user.0)
            .bind(registration.state.as_str())
            .bind(&registration.address)
            .bind(registration.created_at.0)
            .bind(registration.decided_at.map(|at| at.0))
            .bind(registration.decided_by.map(|by| by.0))
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(Registration { id, ..registration.clone() })
}

/// Writes what became of a registration.
///
/// # Errors
/// See [`StoreError`].
pub async fn decide(
    tx: &mut Tx,
    id: i64,
    state: State,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE registrations SET state = $2, decided_by = $3, decided_at = $4 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(id)
            .bind(state.as_str())
            .bind(by.map(|by| by.0))
            .bind(now.0)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    one_row("a registration", affected)
}

/// Forgets where mail reached the person of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn forget_email(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    let sql = "UPDATE registrations SET email = '' WHERE user_id = $1";
    on!(tx, |c| sqlx::query(sql).bind(user.0).execute(c).await.map(drop))?;
    Ok(())
}

/// The latest registration under that exact name.
///
/// # Errors
/// See [`StoreError`].
pub async fn latest_of_name(conn: &mut Conn, username: &str) -> Result<Option<Registration>, StoreError> {
    if username.contains('\0') {
        return Ok(None);
    }
    let sql = "SELECT * FROM registrations WHERE username = $1 ORDER BY id DESC LIMIT 1";
    let row: Option<RegistrationRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(username).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// The registration that an account came from.
///
/// # Errors
/// See [`StoreError`].
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Option<Registration>, StoreError> {
    let sql = "SELECT * FROM registrations WHERE user_id = $1 ORDER BY id DESC LIMIT 1";
    let row: Option<RegistrationRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(user.0).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// How many wait for a decision.
///
/// # Errors
/// See [`StoreError`].
pub async fn waiting(conn: &mut Conn) -> Result<i64, StoreError> {
    count(conn, Some(State::Pending)).await
}

/// The `n`-th last registration after `since`, from one address or from all: when it was made. It is there when there
/// were as many.
///
/// # Errors
/// See [`StoreError`].
pub async fn nth_last(
    conn: &mut Conn,
    n: i64,
    since: Timestamp,
    address: Option<&str>,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT created_at FROM registrations WHERE created_at > $1 AND ($2 = '' OR address = $2)
               ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET $3";
    let row: Option<(i64,)> = on!(conn, |c| {
        sqlx::query_as(sql).bind(since.0).bind(address.unwrap_or("")).bind(n - 1).fetch_optional(c).await
    })?;
    Ok(row.map(|(at,)| Timestamp(at)))
}

/// How many there are, in one state or in all.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, state: Option<State>) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM registrations WHERE $1 = '' OR state = $1";
    let (count,): (i64,) =
        on!(conn, |c| sqlx::query_as(sql).bind(state.map_or("", State::as_str)).fetch_one(c).await)?;
    Ok(count)
}

/// A page of them, newest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    state: Option<State>,
    offset: i64,
    limit: i64,
) -> Result<Vec<Registration>, StoreError> {
    let sql = "SELECT * FROM registrations WHERE $1 = '' OR state = $1 ORDER BY id DESC LIMIT $2 OFFSET $3";
    let rows: Vec<RegistrationRow> = on!(conn, |c| {
        sqlx::query_as(sql).bind(state.map_or("", State::as_str)).bind(limit).bind(offset).fetch_all(c).await
    })?;
    rows.into_iter().map(from_row).collect()
}
