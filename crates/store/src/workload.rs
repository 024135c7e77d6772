//! Tasks, their runs, templates.

pub mod allocation;
pub mod task;
pub mod template;
