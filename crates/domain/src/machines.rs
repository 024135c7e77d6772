//! What work runs on.

pub mod agent;
pub mod capability;
