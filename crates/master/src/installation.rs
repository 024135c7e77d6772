//! The installation itself: its configuration, its first start, its ids.

pub mod bootstrap;
pub mod cluster;
pub mod cluster_message;
pub mod config;
pub(crate) mod reserve;
