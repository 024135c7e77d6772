//! What is kept of what happened, and what is told of it.

pub mod audit;
pub mod log;
pub mod mail;
pub(crate) mod retention;
