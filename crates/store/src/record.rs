//! What is kept of what happened, and what is told of it.

pub mod audit;
pub(crate) mod growth;
pub mod mail;
