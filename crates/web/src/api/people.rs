//! Accounts, and how they come in.

pub(crate) mod auth;
pub(crate) mod group;
pub(crate) mod permission;
pub(crate) mod registration;
pub(crate) mod role;
pub(crate) mod session;
pub(crate) mod setting;
pub(crate) mod token;
pub(crate) mod user;
