//! Who one is: tokens that are kept, logging in, passwords.

pub(crate) mod login;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod store;
