//! Accounts, and how they come in.

pub mod group;
pub mod invitation;
pub mod login_failure;
pub mod registration;
pub mod session;
pub mod setting;
pub mod token;
pub mod user;
