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
