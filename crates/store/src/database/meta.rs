//! Facts about the installation, and numbers that are given out.

use crate::sql::sql;
use crate::{Conn, StoreError, Tx};

/// Reads a fact.
///
/// # Errors
/// See [`StoreError`].
pub async fn get(conn: &mut Conn, name: &str) -> Result<Option<String>, StoreError> {
    sql!("SELECT value FROM meta WHERE name = ?", name).first(conn).await
}

/// Writes a fact.
///
/// # Errors
/// See [`StoreError`].
pub async fn set(tx: &mut Tx, name: &str, value: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sql!(sql, name, value).run(tx).await.map(drop)
}

/// Forgets a fact.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    sql!("DELETE FROM meta WHERE name = ?", name).run(tx).await.map(drop)
}

/// The next number of a counter, from 1. Given out only when the transaction commits.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn next(tx: &mut Tx, counter: &str) -> Result<i64, StoreError> {
    let sql = "INSERT INTO counters (name, value) VALUES (?, 1)
               ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value";
    sql!(sql, counter).one(tx).await
}
