//! Facts about the installation, and numbers that are given out.

use crate::db::on;
use crate::{Conn, StoreError, Tx};

/// Reads a fact.
///
/// # Errors
/// See [`StoreError`].
pub async fn get(conn: &mut Conn, name: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM meta WHERE name = $1";
    let row: Option<(String,)> = on!(conn, |c| sqlx::query_as(sql).bind(name).fetch_optional(c).await)?;
    Ok(row.map(|(value,)| value))
}

/// Writes a fact.
///
/// # Errors
/// See [`StoreError`].
pub async fn set(tx: &mut Tx, name: &str, value: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    on!(tx, |c| sqlx::query(sql).bind(name).bind(value).execute(c).await.map(drop))?;
    Ok(())
}

/// The next number of a counter, from 1. Given out only when the transaction commits.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn next(tx: &mut Tx, counter: &str) -> Result<i64, StoreError> {
    let sql = "INSERT INTO counters (name, value) VALUES ($1, 1)
               ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value";
    let (value,): (i64,) = on!(tx, |c| sqlx::query_as(sql).bind(counter).fetch_one(c).await)?;
    Ok(value)
}

/// The number of a counter that was given out last, 0 before the first.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn last(conn: &mut Conn, counter: &str) -> Result<i64, StoreError> {
    let sql = "SELECT value FROM counters WHERE name = $1";
    let row: Option<(i64,)> = on!(conn, |c| sqlx::query_as(sql).bind(counter).fetch_optional(c).await)?;
    Ok(row.map_or(0, |(value,)| value))
}

/// Has a counter go on behind a number; one that is further stays there.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn raise(tx: &mut Tx, counter: &str, to: i64) -> Result<(), StoreError> {
    let sql = "UPDATE counters SET value = $2 WHERE name = $1 AND value < $2";
    on!(tx, |c| sqlx::query(sql).bind(counter).bind(to).execute(c).await.map(drop))?;
    Ok(())
}
