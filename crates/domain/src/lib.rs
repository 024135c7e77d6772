//! What Muster decides: ids, entities, state machines, the permission policy, scheduling.
//!
//! Everything here is a plain function of its arguments. There is deliberately no clock, no source of
//! randomness, no file system, no network and no database in this crate: callers pass in what they read.

pub mod authz;
pub mod hash;
pub mod id;
mod installation;
mod machines;
mod people;
mod places;
mod record;
pub mod refusal;
pub mod text;
pub mod time;
mod workload;

pub use installation::cluster_message;
pub use machines::{agent, capability};
pub use people::{
    group, identity, password, registration, session, setting, system_ids, throttle, token, user,
};
pub use places::place;
pub use record::{audit, log};
pub use workload::{allocation, config, exit, kind, scheduler, task};
