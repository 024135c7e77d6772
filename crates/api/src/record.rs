//! What is kept of what happened.

pub mod audit;
pub mod log;
pub mod master_log;
