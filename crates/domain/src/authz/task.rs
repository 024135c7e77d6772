//! A running task that asks for itself, with its own token (R27).

use std::net::IpAddr;

use super::{Actor, Asker};
use crate::audit::By;
use crate::id::{TaskId, UserId};

/// A running task's own credentials. An act says what they are good for ([`super::Act::check_task`]): nothing, unless it
/// says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskActor {
    /// The task.
    pub task: TaskId,
    /// Its owner.
    pub owner: UserId,
    /// That account's name, for logs and messages.
    pub username: String,
    /// The peer that the request came from, when it is known.
    pub address: Option<IpAddr>,
}

impl From<&TaskActor> for By {
    fn from(actor: &TaskActor) -> Self {
        let TaskActor { task, owner, username, address } = actor.clone();
        Self::Task { task, owner, username, address }
    }
}

impl<'a> From<&'a TaskActor> for Asker<'a> {
    fn from(actor: &'a TaskActor) -> Self {
        Self::Task(actor)
    }
}

impl<'a> From<&'a Actor> for Asker<'a> {
    fn from(actor: &'a Actor) -> Self {
        Self::Account(actor)
    }
}
