//! Statements, put together and carried out. The one place where either database is named for a query.
//!
//! A statement's text comes from this crate's sources alone (`&'static str`), and whatever varies is a value. A `?` stands
//! for the next value; the parameters are numbered when the statement is carried out, so that parts can be joined freely.

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::cells::{Cells, Read};
use crate::db::{Raw, Waits};
use crate::error::one_row;
use crate::value::{Stored, Value};
use crate::{Conn, StoreError, Tx};

/// A statement, or a part of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sql {
    text: String,
    values: Vec<Value>,
}

/// `sql!("… = ?", value)`: a statement or a part of one, with its values.
macro_rules! sql {
    ($text:expr $(, $value:expr)* $(,)?) => {
        crate::sql::Sql::of($text, [$(crate::value::Stored::value(&$value)),*])
    };
}

pub(crate) use sql;

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }
}

impl Sql {
    /// See [`sql!`].
    pub(crate) fn of(text: &'static str, values: impl Into<Vec<Value>>) -> Self {
        Self { text: text.to_owned(), values: values.into() }
    }

    /// Nothing was said yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts a part behind the rest.
    pub(crate) fn push(&mut self, part: impl Into<Self>) {
        let part = part.into();
        self.text.push_str(&part.text);
        self.values.extend(part.values);
    }

    /// The same in a chain.
    pub(crate) fn with(mut self, part: impl Into<Self>) -> Self {
        self.push(part);
        self
    }

    /// Puts another condition to those that are there.
    pub(crate) fn and(&mut self, condition: impl Into<Self>) {
        if !self.text.is_empty() {
            self.push(" AND ");
        }
        self.push(condition);
    }

    /// A condition on a value, if one was asked for.
    pub(crate) fn and_if(&mut self, condition: &'static str, value: Option<impl Stored>) {
        value.iter().for_each(|value| self.and(sql!(condition, value)));
    }

    /// A condition on a name, if one was asked for; an empty one asks for nothing.
    pub(crate) fn and_named(&mut self, condition: &'static str, name: Option<&String>) {
        self.and_if(condition, name.filter(|name| !name.is_empty()));
    }

    /// One of two conditions, if either was asked for.
    pub(crate) fn and_either(&mut self, asked: Option<bool>, yes: &'static str, no: &'static str) {
        asked.iter().for_each(|asked| self.and(if *asked { yes } else { no }));
    }

    /// Behind a statement: its conditions, of which there may be none.
    pub(crate) fn filtered(mut self, conditions: Self) -> Self {
        if !conditions.text.is_empty() {
            self.push(" WHERE ");
        }
        self.with(conditions)
    }

    /// Has `other` stand where `part` stood first.
    pub(crate) fn replaced(mut self, part: &'static str, other: &'static str) -> Self {
        self.text = self.text.replacen(part, other, 1);
        self
    }

    /// `column` has one of these values.
    pub(crate) fn one_of<T: Stored>(column: &'static str, values: &[T]) -> Self {
        let mut sql = Self::from(column);
        match values {
            [] => return Self::from("1 = 0"),
            [one] => sql.push(sql!(" = ?", one)),
            [first, others @ ..] => {
                sql.push(sql!(" IN (?", first));
                others.iter().for_each(|other| sql.push(sql!(", ?", other)));
                sql.push(")");
            }
        }
        sql
    }

    /// The text with its parameters numbered. No text of ours has a question mark that isn't one.
    fn numbered(&self) -> String {
        let mut parts = self.text.split('?');
        let mut text = String::with_capacity(self.text.len() + 2 * self.values.len());
        text.push_str(parts.next().unwrap_or_default());
        let mut count = 0_usize;
        for part in parts {
            count += 1;
            text.push_str(&format!("${count}{part}"));
        }
        debug_assert_eq!(count, self.values.len(), "{text}");
        text
    }

    /// Carries it out; answers how many rows it changed.
    pub(crate) fn run(self, tx: &mut Tx) -> Waits<'_, u64> {
        Box::pin(async move {
            let text = AssertSqlSafe(self.numbered());
            Ok(match tx.raw() {
                Raw::Sqlite(c) => {
                    sqlx::query_with(text, sqlite(self.values)?).execute(c).await?.rows_affected()
                }
                Raw::Postgres(c) => {
                    sqlx::query_with(text, postgres(self.values)?).execute(c).await?.rows_affected()
                }
            })
        })
    }

    /// Carries it out; it must change exactly one row, which is `what`.
    pub(crate) async fn run_once(self, tx: &mut Tx, what: &'static str) -> Result<(), StoreError> {
        one_row(what, self.run(tx).await?)
    }

    /// All rows.
    pub(crate) async fn all<T: Read>(self, conn: &mut Conn) -> Result<Vec<T>, StoreError> {
        match self.fetch(conn).await? {
            Rows::Sqlite(rows) => rows.iter().map(|row| T::read(&mut Cells::from(row))).collect(),
            Rows::Postgres(rows) => rows.iter().map(|row| T::read(&mut Cells::from(row))).collect(),
        }
    }

    fn fetch(self, conn: &mut Conn) -> Waits<'_, Rows> {
        Box::pin(async move {
            let text = AssertSqlSafe(self.numbered());
            let rows = match conn.raw() {
                Raw::Sqlite(c) => {
                    Rows::Sqlite(sqlx::query_with(text, sqlite(self.values)?).fetch_all(c).await?)
                }
                Raw::Postgres(c) => {
                    Rows::Postgres(sqlx::query_with(text, postgres(self.values)?).fetch_all(c).await?)
                }
            };
            conn.answered();
            Ok(rows)
        })
    }

    /// The first row, when there is one.
    pub(crate) async fn first<T: Read>(self, conn: &mut Conn) -> Result<Option<T>, StoreError> {
        match self.fetch_first(conn).await? {
            None => Ok(None),
            Some(Row::Sqlite(row)) => T::read(&mut Cells::from(&row)).map(Some),
            Some(Row::Postgres(row)) => T::read(&mut Cells::from(&row)).map(Some),
        }
    }

    fn fetch_first(self, conn: &mut Conn) -> Waits<'_, Option<Row>> {
        Box::pin(async move {
            let text = AssertSqlSafe(self.numbered());
            let row = match conn.raw() {
                Raw::Sqlite(c) => {
                    let row = sqlx::query_with(text, sqlite(self.values)?).fetch_optional(c).await?;
                    row.map(Row::Sqlite)
                }
                Raw::Postgres(c) => {
                    let row = sqlx::query_with(text, postgres(self.values)?).fetch_optional(c).await?;
                    row.map(Row::Postgres)
                }
            };
            conn.answered();
            Ok(row)
        })
    }

    /// The one row that there always is.
    pub(crate) async fn one<T: Read>(self, conn: &mut Conn) -> Result<T, StoreError> {
        self.first(conn).await?.ok_or(StoreError::Other(sqlx::Error::RowNotFound))
    }

    /// Whether there is a row.
    pub(crate) async fn exists(self, conn: &mut Conn) -> Result<bool, StoreError> {
        Ok(self.first::<Exists>(conn).await?.is_some())
    }
}

/// Carries out a statement whose text is a migration's: all of ours are in the program.
pub(crate) fn run_text(tx: &mut Tx, text: String) -> Waits<'_, ()> {
    Box::pin(async move {
        let text = AssertSqlSafe(text);
        match tx.raw() {
            Raw::Sqlite(c) => sqlx::query(text).execute(c).await.map(drop)?,
            Raw::Postgres(c) => sqlx::query(text).execute(c).await.map(drop)?,
        }
        Ok(())
    })
}

/// What either database answered.
enum Rows {
    Sqlite(Vec<SqliteRow>),
    Postgres(Vec<PgRow>),
}

enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A row of which nothing is read.
struct Exists;

impl Read for Exists {
    fn read(_: &mut Cells<'_>) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

/// Gives each value to a database's arguments.
macro_rules! arguments {
    ($name:ident, $arguments:ty) => {
        fn $name(values: Vec<Value>) -> Result<$arguments, StoreError> {
            use sqlx::Arguments as _;
            let mut all = <$arguments>::default();
            for value in values {
                match value {
                    Value::Int(value) => all.add(value),
                    Value::Bool(value) => all.add(value),
                    Value::Text(value) => all.add(value.map(without_nul)),
                }
                .map_err(sqlx::Error::Encode)?;
            }
            Ok(all)
        }
    };
}

arguments!(sqlite, SqliteArguments);
arguments!(postgres, PgArguments);

/// PostgreSQL has no text with NUL in it, and on SQLite one would end a pattern: what is stored has none, and who asks for
/// one gets what has its stand-in, which is nothing.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_however_parts_are_joined() {
        let mut conditions = Sql::default();
        conditions.and(sql!("a = ?", 1_i64));
        conditions.and(Sql::one_of("b", &["x", "y"]));
        conditions.and("c");
        let sql = Sql::from("SELECT d FROM e").filtered(conditions).with(sql!(" LIMIT ?", 5_i64));
        assert_eq!(sql.numbered(), "SELECT d FROM e WHERE a = $1 AND b IN ($2, $3) AND c LIMIT $4");
        let texts = [Value::Text(Some("x".to_owned())), Value::Text(Some("y".to_owned()))];
        let [x, y] = texts;
        assert_eq!(sql.values, [Value::Int(Some(1)), x, y, Value::Int(Some(5))]);
    }

    #[test]
    fn a_list_without_conditions_is_whole_and_one_of_none_is_empty() {
        assert_eq!(Sql::from("SELECT a").filtered(Sql::default()).numbered(), "SELECT a");
        assert_eq!(Sql::one_of::<i64>("a", &[]).numbered(), "1 = 0");
        assert_eq!(Sql::one_of("a", &[7_i64]).numbered(), "a = $1");
    }
}
