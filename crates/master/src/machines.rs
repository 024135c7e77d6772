//! Agents, and how they prove who they are.

pub mod agent;
pub(crate) mod link_key;
