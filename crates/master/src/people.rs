//! Who comes in: accounts, groups, sessions, tokens, passwords, registrations.

pub mod account;
pub(crate) mod fair;
pub mod group;
pub mod password;
pub mod registration;
pub mod secret;
pub mod session;
pub mod setting;
pub(crate) mod system_ids;
pub(crate) mod throttle;
pub mod token;
