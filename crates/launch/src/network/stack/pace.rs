//! How fast conversations may be begun: as fast as anybody likes while the machine has room ([`super::machine`]), for
//! each keeps a port or a place in the machine's table for some time after it has ended. Without room an account has so
//! many a minute, all its tasks together: who has begun the most waits, and others go on.

use std::time::Duration;

use super::account::Account;
use super::machine::{GLANCE, Seen};
use super::packet::Protocol;

/// Conversations that a task whose account nobody told may begin in a minute without room: as many connections as it may
/// have at a time.
const FREE: u32 = 512;
/// So long they are counted together.
const MINUTE: u32 = 60;
/// So many of its account's a task takes at once: it writes that down no more often. What it doesn't need is lost for that
/// minute.
const STEP: u32 = 16;

/// How fast a task begins conversations.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What it may still begin, and when it has got that.
    credit: (Duration, u32),
    /// When it was seen last that there was no more.
    spent: Option<Duration>,
    /// Its own, where there is no account.
    own: Minute,
}

/// What has been begun in a minute.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minute {
    /// When it has begun, in seconds since the machine has.
    since: u32,
    pub(super) begun: u32,
}

impl Minute {
    /// As one number, and back.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.since) << 32 | u64::from(self.begun)
    }

    pub(super) fn unpacked(number: u64) -> Self {
        let [since, begun] =
            [number >> 32, number & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or(0));
        Self { since, begun }
    }

    /// Counts so many more, unless there have been `most` of them.
    fn take(&mut self, now: Duration, more: u32, most: u32) -> bool {
        // The machine may have started anew.
        let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        if !(self.since..self.since.saturating_add(MINUTE)).contains(&now) {
            *self = Self { since: now, begun: 0 };
        }
        let may = self.begun < most;
        if may {
            self.begun = self.begun.saturating_add(more);
        }
        may
    }
}

impl Pace {
    /// Whether one more conversation may be begun now; if not, later. A machine that tells nothing has no room.
    pub(super) fn permits(
        &mut self,
        protocol: Protocol,
        now: Duration,
        seen: Option<Seen>,
        account: Option<&Account>,
    ) -> bool {
        let room = seen.is_some_and(|seen| seen.has_room(protocol));
        let left = |of| seen.map_or(of, |seen| seen.left(of));
        if left(FREE) == 0 {
            return false;
        }
        if self.credit.1 > 0 && now.saturating_sub(self.credit.0).as_secs() < MINUTE.into() {
            return true;
        }
        if !room && self.spent.is_some_and(|when| now.saturating_sub(when) < GLANCE) {
            return false;
        }
        let most = |of| if room { u32::MAX } else { left(of) };
        let of_account = seen.map_or(FREE, Seen::for_account);
        let written = account.map(|account| account.count(|minute| minute.take(now, STEP, most(of_account))));
        // What can't be written down, such as on a disk that can't be written to, the task counts by itself.
        let (may, got) = match written {
            Some(Ok(may)) => (may, STEP),
            Some(Err(_)) | None => (self.own.take(now, 1, most(FREE)), 1),
        };
        if may {
            self.credit = (now, got);
        } else {
            self.spent = Some(now);
        }
        may
    }

    /// One that was permitted has been begun.
    pub(super) fn note(&mut self) {
        self.credit.1 = self.credit.1.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Table;
    use super::super::ports::Ports;
    use super::*;

    fn kept(kept: u32) -> Option<Seen> {
        Some(Seen { ports: Ports { lowest: 1, all: 400, kept }, table: None })
    }

    #[test]
    fn a05_many_connections_in_a_minute_wait_for_the_machines_ports() {
        let at = |millis| Duration::from_secs(1000) + Duration::from_millis(millis);
        let mut pace = Pace::default();
        let mut begins = |protocol, millis, seen| {
            let may = pace.permits(protocol, at(millis), seen, None);
            if may {
                pace.note();
            }
            may
        };
        let tcp = Protocol::Tcp;
        for n in 0..u64::from(FREE) {
            assert!(begins(tcp, n, kept(400)), "{n}: the first are free");
        }
        assert!(!begins(tcp, 1000, kept(100)), "no room");
        assert!(begins(Protocol::Udp, 1000, kept(100)), "UDP keeps none");
        assert!(begins(tcp, 1001, kept(99)), "there is room");
        assert!(!begins(tcp, 2000, None), "nobody knows");
        assert!(!begins(tcp, 59_999, kept(400)));
        assert!(begins(tcp, 60_200, kept(400)), "another minute");
        let full = Some(Seen { table: Some(Table { taken: 6, all: 8 }), ..kept(0).expect("some") });
        for protocol in [tcp, Protocol::Udp] {
            assert!(!begins(protocol, 60_201, full), "the table is nearly full");
        }
    }

    #[test]
    fn a05_a_minute_of_another_start_of_the_machine_is_over() {
        let mut minute = Minute { since: 5000, begun: 9 };
        assert!(!minute.take(Duration::from_secs(5059), 1, 9));
        assert!(minute.take(Duration::from_secs(30), 1, 9));
        assert_eq!(minute, Minute { since: 30, begun: 1 });
    }
}
