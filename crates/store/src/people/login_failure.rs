//! Failed logins in a row, by account and by address (R18), and from where accounts have logged in (A8).

use domain::throttle::{Failures, Scope};
use domain::time::Timestamp;

use crate::db::{on, row};
use crate::{Conn, StoreError, Tx};

row!(FailureRow { failures: i64, last_at: i64 });
row!(PlaceRow { last_at: i64 });

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

/// Whether an account has logged in from an address.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_known_place(conn: &mut Conn, account: &str, address: &str) -> Result<bool, StoreError> {
    let sql = "SELECT last_at FROM login_places WHERE account = $1 AND address = $2";
    let row: Option<PlaceRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(account).bind(address).fetch_optional(c).await)?;
    Ok(row.is_some_and(|row| row.last_at > 0))
}

/// Remembers that an account has logged in from an address.
///
/// # Errors
/// See [`StoreError`].
pub async fn add_place(tx: &mut Tx, account: &str, address: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO login_places (account, address, last_at) VALUES ($1, $2, $3)
               ON CONFLICT (account, address) DO UPDATE SET last_at = excluded.last_at";
    on!(tx, |c| sqlx::query(sql).bind(account).bind(address).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets an account's places whose names begin so (a word without `%` and `_`), but for the `keep` that were used last.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_oldest_places(
    tx: &mut Tx,
    account: &str,
    prefix: &str,
    keep: i64,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM login_places WHERE account = $1 AND address IN (
                   SELECT address FROM login_places WHERE account = $1 AND address LIKE $2
                   ORDER BY last_at DESC, address LIMIT 1000 OFFSET $3)";
    let like = format!("{prefix}%");
    on!(tx, |c| { sqlx::query(sql).bind(account).bind(&like).bind(keep).execute(c).await.map(drop) })?;
    Ok(())
}

/// Forgets all places that were last used before `before`.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_old_places(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM login_places WHERE last_at < $1";
    on!(tx, |c| sqlx::query(sql).bind(before.0).execute(c).await.map(drop))?;
    Ok(())
}
