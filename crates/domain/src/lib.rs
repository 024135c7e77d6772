//! What Muster decides: ids, entities, state machines, the permission policy, scheduling.
//!
//! Everything here is a plain function of its arguments. There is deliberately no clock, no source of
//! randomness, no file system, no network and no database in this crate: callers pass in what they read.

pub mod agent;
pub mod audit;
pub mod authz;
pub mod config;
pub mod group;
pub mod id;
pub mod identity;
pub mod log;
pub mod password;
pub mod place;
pub mod registration;
pub mod scheduler;
pub mod session;
pub mod setting;
pub mod system_ids;
pub mod task;
pub mod text;
pub mod throttle;
pub mod time;
pub mod token;
pub mod user;
