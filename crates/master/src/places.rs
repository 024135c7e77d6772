//! Where things belong: workspaces and projects, and who belongs to them.

pub(crate) mod again;
pub mod member;
pub mod project;
pub(crate) mod taken;
pub mod workspace;
