//! A table's columns, said once: what is read, added and written follows from that.

use crate::cells::Read;
use crate::sql::Sql;
use crate::value::Value;
use crate::{Conn, StoreError, Tx};

/// What is a row of a table. Made by [`table!`].
pub(crate) trait Table: Read {
    /// The table's name.
    const NAME: &'static str;
    /// All that makes a row, as it stands behind `SELECT`.
    const SHOWN: &'static str;
    /// ` FROM` with the table's short name.
    const ALONE: &'static str;
    /// The same, and what is joined to it.
    const FROM: &'static str;
    /// The columns that are written; the first one is the key.
    const COLUMNS: &'static [&'static str];

    /// A value for each of them.
    fn values(&self) -> Result<Vec<Value>, StoreError>;

    /// The rows that fulfil `conditions`: a statement that can go on.
    fn select(conditions: impl Into<Sql>) -> Sql {
        Sql::from("SELECT ").with(Self::SHOWN).with(Self::FROM).filtered(conditions.into())
    }

    /// Part of a list of them: `part` stands behind the statement ([`Order::part`](crate::order::Order::part)).
    fn listed(part: Sql) -> Sql {
        Sql::from("SELECT ").with(Self::SHOWN).with(Self::FROM).with(part)
    }

    /// How many rows fulfil `conditions`, which are about this table alone.
    async fn count(conn: &mut Conn, conditions: impl Into<Sql>) -> Result<i64, StoreError> {
        Sql::from("SELECT COUNT(*)").with(Self::ALONE).filtered(conditions.into()).one(conn).await
    }

    /// Adds it, with `more` columns that no row shows. Whoever's change it is pays for its texts.
    async fn insert(&self, tx: &mut Tx, more: &[(&'static str, Value)]) -> Result<(), StoreError> {
        let columns = Self::COLUMNS.iter().copied().chain(more.iter().map(|(column, _)| *column));
        let values = self.values()?.into_iter().chain(more.iter().map(|(_, value)| value.clone()));
        let values: Vec<_> = values.collect();
        tx.adds(values.iter().map(Value::text_bytes).sum());
        let mut sql = Sql::from("INSERT INTO ").with(Self::NAME).with(" (");
        join(&mut sql, ", ", columns.map(Sql::from));
        sql.push(") VALUES (");
        join(&mut sql, ", ", values.into_iter().map(|value| Sql::of("?", [value])));
        sql.with(")").run(tx).await.map(drop)
    }

    /// Writes all of it, found by its key, with `more` columns that no row shows. It is `what`, and must be there.
    async fn update(
        &self,
        tx: &mut Tx,
        what: &'static str,
        more: &[(&'static str, Value)],
    ) -> Result<(), StoreError> {
        let mut values = Self::COLUMNS.iter().copied().zip(self.values()?);
        let Some((key, id)) = values.next() else { return Ok(()) };
        let set = |(column, value)| Sql::from(column).with(Sql::of(" = ?", [value]));
        let mut sql = Sql::from("UPDATE ").with(Self::NAME).with(" SET ");
        join(&mut sql, ", ", values.chain(more.iter().cloned()).map(set));
        sql.with(" WHERE ").with(set((key, id))).run_once(tx, what).await
    }
}

fn join(sql: &mut Sql, between: &'static str, parts: impl Iterator<Item = Sql>) {
    for (at, part) in parts.enumerate() {
        if at > 0 {
            sql.push(between);
        }
        sql.push(part);
    }
}

/// Several columns, or one that no single type says how to write.
pub(crate) trait Write {
    /// Adds its values.
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError>;
}

impl<T: crate::value::Stored> Write for T {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        values.push(self.value());
        Ok(())
    }
}

impl<T: serde::Serialize> Write for crate::cells::Json<&T> {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        let text = serde_json::to_string(self.0).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        values.push(Value::Text(Some(text)));
        Ok(())
    }
}

/// Declares that a type is a table's rows:
///
/// ```text
/// table! {
///     table short_name => Type {
///         field, other_field: [its_column], third: [its column, another], fourth: [config] as Json,
///     }
///     reads "JOIN …" { what_is_never_written: "its expression" }
/// }
/// ```
///
/// A field whose column has the same name says nothing more. The first one is the key.
macro_rules! table {
    ($table:ident $short:ident => $type:ty {
        $first:ident $(: [$($first_column:ident),+])? $(as $first_codec:ident)?,
        $($field:ident $(: [$($column:ident),+])? $(as $codec:ident)?),* $(,)?
    } $(reads $($join:literal)? { $($read:ident: $expression:literal),* $(,)? })?) => {
        impl crate::cells::Read for $type {
            fn read(cells: &mut crate::cells::Cells<'_>) -> Result<Self, crate::StoreError> {
                cells.begin(stringify!($table));
                Ok(Self {
                    $first: crate::table::table!(@read cells $($first_codec)?),
                    $($field: crate::table::table!(@read cells $($codec)?),)*
                    $($($read: cells.next()?,)*)?
                })
            }
        }

        impl crate::table::Table for $type {
            const NAME: &'static str = stringify!($table);
            const SHOWN: &'static str = concat!(
                crate::table::table!(@columns $short $first $($($first_column)+)?),
                $(", ", crate::table::table!(@columns $short $field $($($column)+)?),)*
                $($(", ", $expression,)*)?
            );
            const ALONE: &'static str = concat!(" FROM ", stringify!($table), " ", stringify!($short));
            const FROM: &'static str =
                concat!(" FROM ", stringify!($table), " ", stringify!($short), $($(" ", $join)?)?);
            const COLUMNS: &'static [&'static str] = crate::table::table!(@names
                [$first $($($first_column)+)?] $([$field $($($column)+)?])*);

            fn values(&self) -> Result<Vec<crate::value::Value>, crate::StoreError> {
                use crate::table::Write as _;
                let mut values = Vec::with_capacity(Self::COLUMNS.len());
                crate::table::table!(@write values self.$first $($first_codec)?);
                $(crate::table::table!(@write values self.$field $($codec)?);)*
                Ok(values)
            }
        }
    };
    (@read $cells:ident) => { $cells.next()? };
    (@read $cells:ident $codec:ident) => { $cells.next::<$codec<_>>()?.0 };
    (@write $values:ident $this:ident . $field:ident) => { $this.$field.write(&mut $values)? };
    (@write $values:ident $this:ident . $field:ident $codec:ident) => { $codec(&$this.$field).write(&mut $values)? };
    (@columns $short:ident $field:ident) => { concat!(stringify!($short), ".", stringify!($field)) };
    (@columns $short:ident $field:ident $column:ident) => { concat!(stringify!($short), ".", stringify!($column)) };
    (@columns $short:ident $field:ident $column:ident $($more:ident)+) => {
        concat!(stringify!($short), ".", stringify!($column) $(, ", ", stringify!($short), ".", stringify!($more))+)
    };
    // Gathers the names: a field's own, or those of its columns.
    (@names $([$($name:ident)+])+) => { crate::table::table!(@gather [] $([$($name)+])+) };
    (@gather [$($done:expr),*]) => { &[$($done),*] };
    (@gather [$($done:expr),*] [$field:ident] $($rest:tt)*) => {
        crate::table::table!(@gather [$($done,)* stringify!($field)] $($rest)*)
    };
    (@gather [$($done:expr),*] [$field:ident $($column:ident)+] $($rest:tt)*) => {
        crate::table::table!(@gather [$($done,)* $(stringify!($column)),+] $($rest)*)
    };
}

pub(crate) use table;
