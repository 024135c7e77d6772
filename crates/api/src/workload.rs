//! What people start.

pub mod command;
pub mod job;
pub mod template;
