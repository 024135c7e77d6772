//! Workspaces and projects, and who belongs to them.

pub mod belongings;
pub mod membership;
pub mod project;
pub mod workspace;
