//! Agents and the installation.

pub(crate) mod agent;
pub(crate) mod cluster;
pub(crate) mod link;
