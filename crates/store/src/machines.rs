//! Agents.

pub mod agent;
