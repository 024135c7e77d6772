//! Agents and the installation.

pub(crate) mod agent;
pub(crate) mod cluster;
pub(crate) mod cluster_message;
pub(crate) mod link;
