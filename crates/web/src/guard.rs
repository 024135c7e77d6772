//! What stands before every handler: who asks, from where, and whether they may.

pub(crate) mod access;
pub(crate) mod asked;
pub(crate) mod body;
pub(crate) mod changes;
pub(crate) mod cookie;
pub(crate) mod extract;
pub(crate) mod late;
pub(crate) mod live;
pub(crate) mod open;
pub(crate) mod origin;
pub mod peer;
pub(crate) mod query;
