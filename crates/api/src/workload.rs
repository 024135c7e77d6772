//! What people start.

pub mod command;
pub mod config_policy;
pub mod job;
pub mod signal;
pub mod template;
