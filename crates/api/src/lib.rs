//! The wire: types of the v1 API, error codes, the protocol between agent and master; with feature `client`, the typed
//! client. Nothing here decides anything.

pub mod agent;
pub mod audit;
pub mod auth;
#[cfg(feature = "client")]
pub mod client;
pub mod cluster;
pub mod command;
pub mod error;
pub mod fingerprint;
pub mod group;
pub mod log;
pub mod page;
pub mod project;
pub mod registration;
pub mod role;
pub mod template;
pub mod token;
pub mod user;
pub mod wire;
pub mod workspace;

/// The version of the Determined API that is spoken; its clients compare it with their own.
pub const DETERMINED_VERSION: &str = "0.38.1";
