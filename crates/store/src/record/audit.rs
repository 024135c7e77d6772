//! The audit log. Rows are added here, by [`append`], and nowhere changed or removed.

use domain::audit::{BEGINNING, Entry, Record, digest};
use domain::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::growth::ROW;
use crate::{Conn, StoreError, Tx};

row!(LineRow {
    seq: i64,
    at: i64,
    actor: String,
    action: String,
    target: String,
    result: String,
    body: String,
    hash: String,
});
row!(HeadRow { seq: i64, hash: String });

/// One entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub seq: i64,
    /// The record's text.
    pub body: String,
    /// The text's digest.
    pub hash: String,
    /// What it is found by: time, actor, action, target, result.
    keys: (Timestamp, String, String, String, String),
}

impl Line {
    /// Whether what it is found by is what the record says.
    #[must_use]
    pub fn fits(&self, record: &Record) -> bool {
        let (at, actor, action, target, result) = &self.keys;
        at.rfc3339() == record.at
            && *actor == record.actor.key()
            && *action == record.action
            && *target == record.target.key()
            && *result == record.result.as_str()
    }
}

impl From<LineRow> for Line {
    fn from(row: LineRow) -> Self {
        let keys = (Timestamp(row.at), row.actor, row.action, row.target, row.result);
        Self { seq: row.seq, body: row.body, hash: row.hash, keys }
    }
}

/// Adds an entry behind the last one, and those that belong to it. Answers how many bytes that takes.
///
/// # Errors
/// See [`StoreError`].
pub async fn append(tx: &mut Tx, entry: &Entry, now: Timestamp) -> Result<usize, StoreError> {
    let mut bytes = 0;
    for entry in entry.all() {
        bytes += ROW + append_one(tx, entry, now).await?;
    }
    Ok(bytes)
}

async fn append_one(tx: &mut Tx, entry: &Entry, now: Timestamp) -> Result<usize, StoreError> {
    let sql = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let head: Option<HeadRow> = on!(tx, |c| sqlx::query_as(sql).fetch_optional(c).await)?;
    let (seq, previous) = head.map_or((1, BEGINNING.to_owned()), |head| (head.seq + 1, head.hash));
    let record = Record::of(entry, seq, now, &previous);
    let body = record.text();
    let sql = "INSERT INTO audit (seq, at, actor, action, target, result, body, hash)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(seq)
            .bind(now.0)
            .bind(record.actor.key())
            .bind(&record.action)
            .bind(record.target.key())
            .bind(record.result.as_str())
            .bind(&body)
            .bind(digest(&body))
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(body.len())
}

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `user 3`, `system` …
    pub actor: Option<String>,
    /// `user.create`, or the beginning of one that ends in a dot: `user.`
    pub action: Option<String>,
    /// `user 3`, `workspace 2` …
    pub target: Option<String>,
    /// `done` or `refused`.
    pub result: Option<String>,
    /// Not earlier.
    pub since: Option<Timestamp>,
    /// Earlier.
    pub until: Option<Timestamp>,
}

const WHERE: &str = "($2 = '' OR actor = $2) AND ($3 = '' OR action = $3 OR (action >= $3 AND action < $4))
    AND ($5 = '' OR target = $5) AND ($6 = '' OR result = $6) AND at >= $7 AND at < $8";

/// The next entries that match, after number `after`, oldest first; or before it, newest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: i64,
    newest_first: bool,
    limit: i64,
) -> Result<Vec<Line>, StoreError> {
    let (compare, direction) = if newest_first { ("<", "DESC") } else { (">", "ASC") };
    let sql =
        format!("SELECT * FROM audit WHERE seq {compare} $1 AND {WHERE} ORDER BY seq {direction} LIMIT $9");
    let text = |value: &Option<String>| value.clone().unwrap_or_default().replace('\0', "");
    let action = text(&filter.action);
    // All that begin so: up to what would follow the dot.
    let end = action.strip_suffix('.').map(|noun| format!("{noun}/")).unwrap_or_default();
    let rows: Vec<LineRow> = on!(conn, |c| {
        sqlx::query_as(AssertSqlSafe(sql))
            .bind(after)
            .bind(text(&filter.actor))
            .bind(action)
            .bind(end)
            .bind(text(&filter.target))
            .bind(text(&filter.result))
            .bind(filter.since.map_or(i64::MIN, |at| at.0))
            .bind(filter.until.map_or(i64::MAX, |at| at.0))
            .bind(limit)
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(Line::from).collect())
}
