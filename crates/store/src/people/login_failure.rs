//! Failed logins in a row, by account and by address (R18), and from where accounts have logged in (A8).

use domain::throttle::{Failures, Scope};
use domain::time::Timestamp;

use crate::sql::sql;
use crate::{Conn, StoreError, Tx};

/// The failures that are on record.
///
/// # Errors
/// See [`StoreError`].
pub async fn get(conn: &mut Conn, scope: Scope, subject: &str) -> Result<Option<Failures>, StoreError> {
    let sql = "SELECT failures, last_at FROM login_failures WHERE scope = ? AND subject = ?";
    let row: Option<(i64, Timestamp)> = sql!(sql, scope, subject).first(conn).await?;
    Ok(row.map(|(count, last_at)| Failures { count, last_at }))
}

/// Counts one more.
///
/// # Errors
/// See [`StoreError`].
pub async fn add(tx: &mut Tx, scope: Scope, subject: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO login_failures (scope, subject, failures, last_at) VALUES (?, ?, 1, ?)
               ON CONFLICT (scope, subject)
               DO UPDATE SET failures = login_failures.failures + 1, last_at = excluded.last_at";
    sql!(sql, scope, subject, now).run(tx).await.map(drop)
}

/// Forgets the failures of a subject.
///
/// # Errors
/// See [`StoreError`].
pub async fn clear(tx: &mut Tx, scope: Scope, subject: &str) -> Result<(), StoreError> {
    sql!("DELETE FROM login_failures WHERE scope = ? AND subject = ?", scope, subject).run(tx).await.map(drop)
}

/// Forgets all that were last added to before `before`.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_old(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    sql!("DELETE FROM login_failures WHERE last_at < ?", before).run(tx).await.map(drop)
}

/// Whether an account has logged in from an address.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_known_place(conn: &mut Conn, account: &str, address: &str) -> Result<bool, StoreError> {
    let sql = "SELECT last_at FROM login_places WHERE account = ? AND address = ? AND last_at > 0";
    sql!(sql, account, address).exists(conn).await
}

/// Remembers that an account has logged in from an address.
///
/// # Errors
/// See [`StoreError`].
pub async fn add_place(tx: &mut Tx, account: &str, address: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO login_places (account, address, last_at) VALUES (?, ?, ?)
               ON CONFLICT (account, address) DO UPDATE SET last_at = excluded.last_at";
    sql!(sql, account, address, now).run(tx).await.map(drop)
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
    let sql = "DELETE FROM login_places WHERE account = ? AND address IN (
                   SELECT address FROM login_places WHERE account = ? AND address LIKE ?
                   ORDER BY last_at DESC, address LIMIT 1000 OFFSET ?)";
    sql!(sql, account, account, format!("{prefix}%"), keep).run(tx).await.map(drop)
}

/// Forgets all places of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_places(tx: &mut Tx, account: &str) -> Result<(), StoreError> {
    sql!("DELETE FROM login_places WHERE account = ?", account).run(tx).await.map(drop)
}

/// Forgets all places that were last used before `before`.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_old_places(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    sql!("DELETE FROM login_places WHERE last_at < ?", before).run(tx).await.map(drop)
}
