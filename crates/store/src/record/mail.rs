//! Mail that waits to be sent.

use domain::time::Timestamp;

use crate::db::{on, row};
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

row!(MailRow { id: i64, recipient: String, subject: String, body: String, created_at: i64, attempts: i64 });

impl From<MailRow> for Mail {
    fn from(row: MailRow) -> Self {
        Self {
            id: row.id,
            recipient: row.recipient,
            subject: row.subject,
            body: row.body,
            created_at: Timestamp(row.created_at),
            attempts: row.attempts,
        }
    }
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
    let id = meta::next(tx, "mail").await?;
    let sql = "INSERT INTO mails (id, recipient, subject, body, created_at, attempts, next_attempt_at)
               VALUES ($1, $2, $3, $4, $5, 0, $5)";
    tx.adds(recipient.len() + subject.len() + body.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(id)
            .bind(recipient)
            .bind(subject)
            .bind(body)
            .bind(now.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// What is to be sent now, oldest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn due(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<Mail>, StoreError> {
    let sql = "SELECT id, recipient, subject, body, created_at, attempts FROM mails
               WHERE next_attempt_at <= $1 ORDER BY next_attempt_at, id LIMIT $2";
    let rows: Vec<MailRow> = on!(conn, |c| sqlx::query_as(sql).bind(now.0).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Mail::from).collect())
}

/// Notes that a mail could not be sent, and when to try again.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_failed(tx: &mut Tx, id: i64, next_attempt_at: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE mails SET attempts = attempts + 1, next_attempt_at = $2 WHERE id = $1";
    on!(tx, |c| sqlx::query(sql).bind(id).bind(next_attempt_at.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Takes a mail out of the queue.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM mails WHERE id = $1";
    on!(tx, |c| sqlx::query(sql).bind(id).execute(c).await.map(drop))?;
    Ok(())
}
