//! One run of a task on this machine, from the master's word to the removal of its last file.
//!
//! `disk` knows the agent's own files, `begin` gets the run going, `shipping` decides what to send next, `log_file` reads it,
//! `waiting` is what comes before a task whose Python is being made, `outlived` ends what has no record, and `follower` is the
//! loop that drives them all. What starts the task, and finds it again, is a [`crate::launcher::Launcher`].

mod begin;
mod disk;
mod follower;
mod log_file;
mod outlived;
mod shipping;
mod waiting;

pub(crate) use disk::{given, tidy};
pub(crate) use follower::{Command, Follower, Origin};
pub(crate) use log_file::{Piece, piece};
