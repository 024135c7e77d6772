//! What the tests share: an installation of their own, people who use it, and waiting with a deadline.

mod database;
pub(crate) mod det;
mod leaks;
mod muster;
mod person;
mod port;
mod process;
mod table;
mod terminal;
mod wait;

pub(crate) use database::sql;
pub(crate) use muster::{Database, Muster, Setup, dir_for_all, mode};
pub(crate) use person::Person;
pub(crate) use port::free_port;
pub(crate) use process::{Output, Process, run};
pub(crate) use table::table;
pub(crate) use terminal::Terminal;
pub(crate) use wait::{DEADLINE, eventually, pause};
