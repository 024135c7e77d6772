//! Agents and the installation.

pub mod agent;
pub mod cluster;
pub mod fingerprint;
