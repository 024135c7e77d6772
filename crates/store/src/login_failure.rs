//! Failed logins in a row, by account and by address (R18).

use domain::throttle::{Failures, Scope};
use domain::time::Timestamp;

use crate::db::{on, row};
use crate::{Conn, StoreError, Tx};

row!(FailureRow { failures: i64, last_at: i64 });

/// The failures that are on record.
///
/// # Errors
/// See [`StoreError`].
pub async fn get(conn: &mut Conn, scope: Scope, subject: &str) -> Result<Option<Failures>, StoreError> {
    let sql = "SELECT failures, last_at FROM login_failures WHERE scope = $1 AND subject = $2";
    let row: Option<FailureRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(scope.as_str()).bind(subject).fetch_optional(c).await)?;
    Ok(row.map(|row| Failures { count: row.failures, last_at: Timestamp(row.last_at) }))
}

/// Counts one more.
///
/// # Errors
/// See [`StoreError`].
pub async fn add(tx: &mut Tx, scope: Scope, subject: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO login_failures (scope, subject, failures, last_at) VALUES ($1, $2, 1, $3)
               ON CONFLICT (scope, subject)
               DO UPDATE SET failures = login_failures.failures + 1, last_at = excluded.last_at";
    on!(tx, |c| {
        sqlx::query(sql).bind(scope.as_str()).bind(subject).bind(now.0).execute(c).await.map(drop)
    })?;
    Ok(())
}

/// Forgets the failures of a subject.
///
/// # Errors
/// See [`StoreError`].
pub async fn clear(tx: &mut Tx, scope: Scope, subject: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM login_failures WHERE scope = $1 AND subject = $2";
    on!(tx, |c| sqlx::query(sql).bind(scope.as_str()).bind(subject).execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets all that were last added to before `before`.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_old(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM login_failures WHERE last_at < $1";
    on!(tx, |c| sqlx::query(sql).bind(before.0).execute(c).await.map(drop))?;
    Ok(())
}
