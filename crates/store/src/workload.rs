//! Tasks and templates.

pub mod task;
pub mod template;
