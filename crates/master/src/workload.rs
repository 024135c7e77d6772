//! What people start, and what decides when and where it runs.

pub mod config_policy;
pub mod context;
pub mod manager;
pub(crate) mod scheduler;
pub mod task;
pub mod template;
mod yaml;
