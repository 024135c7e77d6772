//! What people start.

pub(crate) mod command;
pub(crate) mod config_policy;
pub(crate) mod job;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod template;
