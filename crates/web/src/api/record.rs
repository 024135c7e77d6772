//! What is kept of what happened.

pub(crate) mod audit;
pub(crate) mod log;
mod log_lines;
pub(crate) mod master_log;
