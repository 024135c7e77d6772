//! Workspaces and projects.

pub mod project;
pub mod workspace;
