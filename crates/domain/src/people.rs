//! Who comes in: accounts, groups, sessions, tokens, passwords, registrations; and who they are on machines.

pub mod group;
pub mod identity;
pub mod password;
pub mod registration;
pub mod session;
pub mod setting;
pub mod system_ids;
pub mod throttle;
pub mod token;
pub mod user;
