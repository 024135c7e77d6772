//! The installation as a whole.

pub mod cluster_message;
