//! Accounts, and how they come in.

pub mod auth;
pub mod group;
pub mod registration;
pub mod role;
pub mod token;
pub mod user;
