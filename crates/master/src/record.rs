//! What is kept of what happened, and what is told of it.

pub mod audit;
pub mod log;
pub mod mail;
pub mod own_log;
pub mod retention;
