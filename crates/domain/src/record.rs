//! What is kept of what happened: the audit log, and the logs of tasks.

pub mod audit;
pub mod log;
