//! Tasks, their runs, templates, configuration policies.

pub mod allocation;
pub mod config_policy;
pub mod task;
pub mod template;
