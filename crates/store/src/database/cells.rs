//! What comes out of a row, column by column, on either database.

use domain::config::secrets::Layer;
use domain::id::{
    AgentId, GroupId, ProjectId, ResourcePool, SessionId, TaskId, TokenId, UserId, WorkspaceId,
};
use domain::scheduler::Weight;
use domain::task::DESCRIPTION;
use domain::text::Plain;
use domain::time::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Row as _};

use crate::StoreError;

/// A row that is being read, from left to right.
pub(crate) struct Cells<'r> {
    row: Either<'r>,
    /// The next column.
    at: usize,
    /// The table that this part of the row is of, and its first column there: its key.
    table: Option<(&'static str, usize)>,
}

enum Either<'r> {
    Sqlite(&'r SqliteRow),
    Postgres(&'r PgRow),
}

impl<'r> From<&'r SqliteRow> for Cells<'r> {
    fn from(row: &'r SqliteRow) -> Self {
        Self { row: Either::Sqlite(row), at: 0, table: None }
    }
}

impl<'r> From<&'r PgRow> for Cells<'r> {
    fn from(row: &'r PgRow) -> Self {
        Self { row: Either::Postgres(row), at: 0, table: None }
    }
}

/// Runs the same on either row.
macro_rules! either {
    ($cells:expr, |$row:ident| $body:expr) => {
        match $cells.row {
            Either::Sqlite($row) => $body,
            Either::Postgres($row) => $body,
        }
    };
}

impl Cells<'_> {
    /// From here on the columns are a table's, the first one its key.
    pub(crate) fn begin(&mut self, table: &'static str) {
        self.table = Some((table, self.at));
    }

    /// The next column's value.
    pub(crate) fn next<T: Read>(&mut self) -> Result<T, StoreError> {
        T::read(self)
    }

    /// The next column's number, if there is one.
    fn int(&mut self) -> Result<Option<i64>, StoreError> {
        let at = self.advance();
        Ok(either!(self, |row| row.try_get(at))?)
    }

    /// The next column's truth value, if there is one.
    fn bool(&mut self) -> Result<Option<bool>, StoreError> {
        let at = self.advance();
        Ok(either!(self, |row| row.try_get(at))?)
    }

    /// The next column's text, if there is one.
    fn text(&mut self) -> Result<Option<String>, StoreError> {
        let at = self.advance();
        Ok(either!(self, |row| row.try_get(at))?)
    }

    fn advance(&mut self) -> usize {
        self.at += 1;
        self.at - 1
    }

    /// The column that was read last holds what this program hasn't written.
    pub(crate) fn corrupt(&self) -> StoreError {
        let name = |at: usize| either!(self, |row| row.columns().get(at).map(|c| c.name().to_owned()));
        let column = name(self.at.saturating_sub(1)).unwrap_or_default();
        let Some((table, key)) = self.table else { return StoreError::Corrupt(column) };
        let number =
            |at: usize| either!(self, |row| row.try_get::<i64, _>(at)).map(|number| number.to_string());
        let value = number(key).or_else(|_| either!(self, |row| row.try_get::<String, _>(key)));
        let (key, value) = (name(key).unwrap_or_default(), value.unwrap_or_default());
        StoreError::Corrupt(format!("{table}, {key} {value}: {column}"))
    }
}

/// What can be read out of a row, taking the next columns that are its own.
pub(crate) trait Read: Sized {
    /// Reads one out of the next cells.
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError>;
}

/// What stands in one column, and can be missing there.
trait Single: Sized {
    /// Reads it, if it is there.
    fn single(cells: &mut Cells<'_>) -> Result<Option<Self>, StoreError>;
}

impl<T: Single> Read for Option<T> {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        T::single(cells)
    }
}

/// Declares that rows of so many columns, or of so many tables, can be read.
macro_rules! tuples {
    ($(($($part:ident)+))+) => {$(
        impl<$($part: Read),+> Read for ($($part,)+) {
            fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
                Ok(($(cells.next::<$part>()?,)+))
            }
        }
    )+};
}

tuples! { (A B) (A B C) (A B C D) (A B C D E) }

/// Declares how types are read: `Type from kind, |value| …`, which gives `None` when it is none of that type.
macro_rules! read {
    ($($type:ty: $kind:ident, |$value:ident| $read:expr;)*) => {$(
        impl Single for $type {
            fn single(cells: &mut Cells<'_>) -> Result<Option<Self>, StoreError> {
                let Some($value) = cells.$kind()? else { return Ok(None) };
                let read: Option<Self> = $read;
                read.map(Some).ok_or_else(|| cells.corrupt())
            }
        }
        impl Read for $type {
            fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
                Self::single(cells)?.ok_or_else(|| cells.corrupt())
            }
        }
    )*};
}

read! {
    bool: bool, |value| Some(value);
    i64: int, |value| Some(value);
    i32: int, |value| value.try_into().ok();
    u32: int, |value| value.try_into().ok();
    String: text, |value| Some(value);
    Plain<DESCRIPTION>: text, |value| Some(value.into());
    Timestamp: int, |value| Some(Self(value));
    UserId: int, |value| Some(Self(value));
    GroupId: int, |value| Some(Self(value));
    WorkspaceId: int, |value| Some(Self(value));
    ProjectId: int, |value| Some(Self(value));
    SessionId: int, |value| Some(Self(value));
    TokenId: int, |value| Some(Self(value));
    TaskId: text, |value| value.parse().ok();
    AgentId: text, |value| value.parse().ok();
    Layer: text, |value| serde_json::from_str(&value).ok().map(Self::new);
    domain::user::Status: text, |value| Some(Self::from_stored(&value));
    domain::token::Scope: text, |value| Some(Self::from_stored(&value));
    domain::registration::State: text, |value| Self::parse(&value);
    ResourcePool: text, |value| value.parse().ok();
    Weight: int, |value| u32::try_from(value).ok().map(Self::of_thousandths);
    domain::kind::Kind: text, |value| Self::from_stored(&value);
    domain::task::Standing: text, |value| Self::from_stored(&value);
}

/// What is stored as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> Read for Json<T> {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let text: String = cells.next()?;
        serde_json::from_str(&text).map(Self).map_err(|_| cells.corrupt())
    }
}
