//! What people start: tasks, their configurations, and who runs next and where.

pub mod allocation;
pub mod config;
pub mod exit;
pub mod kind;
pub mod scheduler;
pub mod task;
