//! What people start: tasks, their configurations, and who runs next and where.

pub mod config;
pub mod scheduler;
pub mod task;
