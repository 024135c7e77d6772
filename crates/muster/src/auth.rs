//! Who one is: tokens that are kept, logging in, passwords.

pub(crate) mod known;
pub(crate) mod login;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod store;
pub(crate) mod trust;
