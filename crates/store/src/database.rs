//! The database itself: how it is opened, brought up to date, and written to.

pub(crate) mod beside;
pub(crate) mod cells;
pub(crate) mod db;
mod mastery;
pub mod meta;
pub(crate) mod order;
pub(crate) mod readers;
pub(crate) mod reserve;
pub(crate) mod schema;
pub(crate) mod sql;
pub(crate) mod statements;
pub(crate) mod table;
pub(crate) mod value;
