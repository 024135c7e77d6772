//! How much is being changed at once, and for whom (A7). What changes something is carried out to its end, also when its
//! client has left (`master::unbroken`), so that no limit of connections counts it: each piece takes a turn here before it
//! begins. Who leaves while waiting for one has asked for nothing.
//!
//! Strangers take none: who is no stranger among them is known by `master::throttle` alone, and must not wait for others.
//! What they wait for there ends when they leave (`unbroken::while_there`).

use std::io;

use domain::id::UserId;

use crate::server::Holder;
use crate::turns::{Turn, Turns};

/// Changes under way, in all.
const ALL: usize = 512;

/// Of one account, and of its tasks: so many wait for the one writer of the database beside everybody's, and whoever wants
/// more waits behind their own (MB3).
const EACH: usize = 4;

/// Turns at changing something. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Changes(Turns<Whose>);

/// A task doesn't keep its owner waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    Account(UserId),
    TasksOf(UserId),
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self(Turns::with(ALL, EACH))
    }

    /// Waits for a turn of whose the connection is; administrators, agents and strangers need none.
    ///
    /// # Errors
    /// Never: turns aren't closed.
    pub(crate) async fn take(&self, holder: Option<Holder>) -> io::Result<Option<Turn>> {
        let whose = match holder {
            Some(Holder::Account { user, admin: false }) => Whose::Account(user),
            Some(Holder::Task { owner, .. }) => Whose::TasksOf(owner),
            Some(Holder::Account { admin: true, .. } | Holder::Agent) | None => return Ok(None),
        };
        self.0.take(whose).await.map(Some)
    }
}
