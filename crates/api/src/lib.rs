//! The wire: types of the v1 API, error codes, the protocol between agent and master; with feature `client`, the typed
//! client. Nothing here decides anything.

#[cfg(feature = "client")]
pub mod client;
pub mod error;
pub mod few;
mod machines;
pub mod page;
mod people;
mod places;
mod record;
pub mod wire;
mod workload;

pub use machines::{agent, cluster, cluster_message, fingerprint};
pub use people::{auth, group, registration, role, token, user};
pub use places::{project, workspace};
pub use record::{audit, log, master_log};
pub use workload::{command, config_policy, job, signal, template};

/// The version of the Determined API that is spoken; its clients compare it with their own.
pub const DETERMINED_VERSION: &str = "0.38.1";
