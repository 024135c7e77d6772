//! Where things belong: workspaces and projects.

pub mod place;
