//! The audit log. Rows are added here, by [`append`], the oldest removed, by [`cut`], and nowhere changed.

use domain::audit::{BEGINNING, Cut, Entry, Record, digest};
use domain::time::Timestamp;

use crate::cells::{Cells, Read};
use crate::growth::ROW;
use crate::sql::{Sql, sql};
use crate::{Conn, StoreError, Tx};

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

impl Read for Line {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let (seq, body, hash) = cells.next()?;
        Ok(Self { seq, body, hash, keys: cells.next()? })
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
    let head = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let head: Option<(i64, String)> = Sql::from(head).first(tx).await?;
    let (seq, previous) = head.map_or((1, BEGINNING.to_owned()), |(seq, hash)| (seq + 1, hash));
    let record = Record::of(entry, seq, now, &previous);
    let (body, result) = (record.text(), record.result.as_str());
    let (actor, target, hash) = (record.actor.key(), record.target.key(), digest(&body));
    let sql = "INSERT INTO audit (seq, at, actor, action, target, result, body, hash)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sql!(sql, seq, now, actor, record.action, target, result, body, hash).run(tx).await?;
    Ok(body.len())
}

/// Removes the oldest entries of before that time, at most so many; the last one of all stays. What is newer than one that
/// isn't so old stays, too, whatever time it says. Who calls this has it told of in the same transaction ([`Cut::entry`]).
///
/// # Errors
/// See [`StoreError`].
pub async fn cut(tx: &mut Tx, before: Timestamp, most: i64) -> Result<Option<Cut>, StoreError> {
    let oldest = "SELECT seq, hash, at FROM audit ORDER BY seq LIMIT ?";
    let mut oldest: Vec<(i64, String, Timestamp)> = sql!(oldest, most.saturating_add(1)).all(tx).await?;
    oldest.pop();
    let Some((upto, digest, _)) = oldest.into_iter().take_while(|(_, _, at)| *at < before).last() else {
        return Ok(None);
    };
    sql!("DELETE FROM audit WHERE seq <= ?", upto).run(tx).await?;
    Ok(Some(Cut { upto, digest }))
}

/// The oldest entry: its number, and its time.
///
/// # Errors
/// See [`StoreError`].
pub async fn oldest(conn: &mut Conn) -> Result<Option<(i64, Timestamp)>, StoreError> {
    Sql::from("SELECT seq, at FROM audit ORDER BY seq LIMIT 1").first(conn).await
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

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = Sql::default();
        all.and_named("actor = ?", self.actor.as_ref());
        match self.action.as_deref() {
            None | Some("") => {}
            Some(action) => match action.strip_suffix('.') {
                // All that begin so: up to what would follow the dot.
                Some(noun) => all.and(sql!("action >= ? AND action < ?", action, format!("{noun}/"))),
                None => all.and(sql!("action = ?", action)),
            },
        }
        all.and_named("target = ?", self.target.as_ref());
        all.and_named("result = ?", self.result.as_ref());
        all.and_if("at >= ?", self.since);
        all.and_if("at < ?", self.until);
        all
    }
}

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
    let (behind, order) = match newest_first {
        false => ("seq > ?", " ORDER BY seq ASC"),
        true => ("seq < ?", " ORDER BY seq DESC"),
    };
    let mut conditions = filter.conditions();
    conditions.and(sql!(behind, after));
    Sql::from("SELECT seq, body, hash, at, actor, action, target, result FROM audit")
        .filtered(conditions)
        .with(order)
        .with(sql!(" LIMIT ?", limit))
        .all(conn)
        .await
}
