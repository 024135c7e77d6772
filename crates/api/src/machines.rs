//! Agents and the installation.

pub mod agent;
pub mod cluster;
pub mod cluster_message;
pub mod fingerprint;
