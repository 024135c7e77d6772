//! What people start.

pub mod command;
pub mod template;
