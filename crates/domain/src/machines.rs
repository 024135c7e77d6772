//! What work runs on.

pub mod agent;
