//! Mail that waits to be sent.

use domain::time::Timestamp;

use crate::sql::sql;
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Conn, StoreError, Tx, meta};

/// A mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its number.
    pub id: i64,
    /// To whom.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// Since when it waits.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: i64,
}

table! {
    mails m => Mail { id, recipient, subject, body, created_at, attempts }
}

/// Puts a mail into the queue, to be sent at once.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(
    tx: &mut Tx,
    recipient: &str,
    subject: &str,
    body: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (recipient, subject, body) = (recipient.to_owned(), subject.to_owned(), body.to_owned());
    let id = meta::next(tx, "mail").await?;
    let mail = Mail { id, recipient, subject, body, created_at: now, attempts: 0 };
    mail.insert(tx, &[("next_attempt_at", now.value())]).await
}

/// What is to be sent now, oldest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn due(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<Mail>, StoreError> {
    let page = sql!(" ORDER BY m.next_attempt_at, m.id LIMIT ?", limit);
    Mail::select(sql!("m.next_attempt_at <= ?", now)).with(page).all(conn).await
}

/// Notes that a mail could not be sent, and when to try again.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_failed(tx: &mut Tx, id: i64, next_attempt_at: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE mails SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?";
    sql!(sql, next_attempt_at, id).run(tx).await.map(drop)
}

/// Takes a mail out of the queue.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: i64) -> Result<(), StoreError> {
    sql!("DELETE FROM mails WHERE id = ?", id).run(tx).await.map(drop)
}
