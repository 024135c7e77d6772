//! Workspaces and projects, and who belongs to them.

pub(crate) mod member;
pub(crate) mod project;
pub(crate) mod workspace;
