//! What is kept of what happened.

pub(crate) mod audit;
pub(crate) mod log;
pub(crate) mod master_log;
