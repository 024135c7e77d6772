//! How many connections there may be, and how long they may take over what they do (A7).

use std::time::Duration;

use master::config::Connections;
use rustix::process::{Resource, getrlimit};

/// Longest head of a request, in bytes; a longer one is 431.
pub(super) const HEAD_MAX: usize = 16 << 10;

/// A peer that takes nothing of what is written for so long is gone.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// What connections have to keep to.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Connections in all.
    pub(super) total: usize,
    /// Of these, how many strangers and tasks may hold; the rest is kept for people who are logged in.
    pub(super) strangers: usize,
    /// How many strangers and tasks may hold for as long as newcomers haven't said what they want.
    pub(super) newcomers: usize,
    /// Of how many connections a source has few: they may be among these newcomers.
    pub(super) few: usize,
    /// How many strangers that do nothing go at once, when there are too many.
    pub(super) at_once: usize,
    /// How many people may hold who are no administrators; the rest is kept for those, and for agents.
    pub(super) ordinary: usize,
    /// How many strangers on one address may hold.
    pub(super) per_address: usize,
    /// How many one account may hold, its tasks included.
    pub(super) per_account: usize,
    /// How many one task may hold.
    pub(super) per_task: usize,
    /// For a handshake and the head of a request.
    pub(super) head: Duration,
    /// For each kilobyte of a body, and until a body has to come at its least rate.
    pub(super) body: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// For a peer to take what is written.
    pub(super) stalled: Duration,
}

impl Limits {
    /// The configured ones, within what this process may open.
    pub(super) fn new(config: &Connections) -> Self {
        Self::within(config, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// A third of the descriptors stays for files, the database and the agents' side.
    fn within(config: &Connections, descriptors: u64) -> Self {
        let possible = usize::try_from(descriptors / 3 * 2).unwrap_or(usize::MAX).max(8);
        let total = usize::try_from(config.max).unwrap_or(usize::MAX).min(possible);
        let strangers = total - total / 4;
        let per_address = usize::try_from(config.max_per_address).unwrap_or(usize::MAX);
        // Nobody has more than a quarter of all.
        let per_account = usize::try_from(config.max_per_account).unwrap_or(usize::MAX).min(total / 4).max(2);
        Self {
            total,
            strangers,
            newcomers: strangers + total / 16,
            few: (total / 64).max(4),
            at_once: (strangers / 64).max(1),
            ordinary: total - total / 8,
            per_address: per_address.min(strangers),
            per_account,
            per_task: (per_account / 2).max(1),
            head: Duration::from_secs(config.head_timeout),
            body: Duration::from_secs(config.body_timeout),
            idle: Duration::from_secs(config.idle_timeout),
            stalled: STALLED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a07_few_descriptors_still_leave_a_reserve() {
        let config = Connections::default();
        let few = Limits::within(&config, 256);
        assert!(few.total <= 256 * 2 / 3 && few.strangers < few.total && few.per_address <= few.strangers);
        assert!(few.strangers < few.newcomers && few.newcomers < few.ordinary);
        assert!(few.strangers < few.ordinary && few.ordinary < few.total && few.per_account <= few.total / 4);
        let many = Limits::within(&config, 1 << 20);
        assert_eq!(u64::try_from(many.total).expect("small"), u64::from(config.max));
    }
}
