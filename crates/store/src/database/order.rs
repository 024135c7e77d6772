//! The order of a list, and where a part of it begins: at a row, which costs the same wherever that is, or after a number of
//! rows, which are read and thrown away (the wire asks for that).

use crate::sql::{Sql, sql};
use crate::value::Value;

/// Where a part of a list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin<'a, T> {
    /// After so many rows.
    At(i64),
    /// Behind a row that an earlier part ended with, as it was then: whatever came and went since, no other row is given
    /// twice or left out.
    Behind(&'a T),
}

impl<'a, T> Begin<'a, T> {
    /// Behind that row, or at the beginning.
    #[must_use]
    pub fn after(last: Option<&'a T>) -> Self {
        last.map_or(Self::At(0), Self::Behind)
    }
}

/// What a list goes by: expressions, of which the last one is never the same for two rows, with their values for a row.
pub(crate) struct Order<T>(Vec<Key<T>>);

struct Key<T> {
    column: &'static str,
    descending: bool,
    value: fn(&T) -> Value,
}

impl<T> Order<T> {
    /// By this first. No value may be missing.
    pub(crate) fn by(column: &'static str, descending: bool, value: fn(&T) -> Value) -> Self {
        Self(vec![Key { column, descending, value }])
    }

    /// By this, where all before is the same.
    pub(crate) fn then(mut self, column: &'static str, descending: bool, value: fn(&T) -> Value) -> Self {
        self.0.push(Key { column, descending, value });
        self
    }

    /// ` ORDER BY …`
    pub(crate) fn sql(&self) -> Sql {
        let mut sql = Sql::default();
        for key in &self.0 {
            sql.push(if sql.is_empty() { " ORDER BY " } else { ", " });
            sql.push(key.column);
            sql.push(if key.descending { " DESC" } else { " ASC" });
        }
        sql
    }

    /// Behind a statement: the conditions, and a part of what fulfils them.
    pub(crate) fn part(&self, mut conditions: Sql, begin: Begin<'_, T>, limit: i64) -> Sql {
        let mut extent = self.sql().with(sql!(" LIMIT ?", limit));
        match begin {
            Begin::At(offset) => extent.push(sql!(" OFFSET ?", offset)),
            Begin::Behind(last) => conditions.and(behind(&self.0, last)),
        }
        Sql::default().filtered(conditions).with(extent)
    }
}

/// A row comes behind `last`. Said so that an index on the first key is used for it.
fn behind<T>(keys: &[Key<T>], last: &T) -> Sql {
    let [Key { column, descending, value }, rest @ ..] = keys else { return Sql::from("1 = 0") };
    let (compare, or_same) = if *descending { (" < ?", " <= ?") } else { (" > ?", " >= ?") };
    let value = value(last);
    let is = |compare: &'static str| Sql::from(*column).with(Sql::of(compare, [value.clone()]));
    if rest.is_empty() {
        return is(compare);
    }
    let then = Sql::from("(").with(is(compare)).with(" OR ").with(behind(rest, last)).with(")");
    Sql::from("(").with(is(or_same)).with(" AND ").with(then).with(")")
}
