//! How long somebody who guesses passwords has to wait (R18, A8). Never a lock-out: the wait ends by itself, and it is
//! the guesser's: who has logged in from a place before waits for failures under their own name there alone, and then for
//! [`LONGEST_WHERE_KNOWN`] at most, because it may be somebody else who guesses there (W12). A place is an address; of
//! this machine's own, it is the Unix user whose program asks.
//!
//! When a wait is over, whoever asks doesn't go first because of coming first: one is drawn from all who are held until
//! then ([`HELD`]), so that a guesser who never stops leaves the others their share.

use std::net::IpAddr;
use std::time::Duration;

use crate::time::Timestamp;

/// Where somebody comes from, as what has a share there: from the widest network to what failures are counted by. Who
/// guesses may have all addresses of a network, or many networks of one that is wider (R21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Vec<String>);

impl Origin {
    /// By address. IPv6 hosts choose among 2⁶⁴ addresses of their network, so that counts as one; it is one of those that a
    /// site has, and that of what a provider or an organisation has.
    #[must_use]
    pub fn of(address: Option<IpAddr>) -> Self {
        Self(match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                vec![format!("{a}.{b}.0.0/16"), format!("{a}.{b}.{c}.0/24"), address.to_string()]
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                vec![
                    format!("{a:x}:{b:x}::/32"),
                    format!("{a:x}:{b:x}:{c:x}::/48"),
                    format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"),
                ]
            }
            None => vec!["unknown".to_owned()],
        })
    }

    /// A Unix user of the master's own machine, who is somebody else than its other users, whichever of its addresses is
    /// used (W12).
    #[must_use]
    pub fn local(uid: u32) -> Self {
        Self(vec![format!("uid {uid} of this machine")])
    }

    /// From the widest to the narrowest; at least one.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.0
    }

    /// What failures are counted by.
    #[must_use]
    pub fn narrowest(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }
}

/// What an address is counted by.
#[must_use]
pub fn address_key(address: Option<IpAddr>) -> String {
    Origin::of(address).0.pop().unwrap_or_default()
}

/// What failures are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One account name from one address.
    Account,
    /// One address, whatever the name. Not for accounts that have logged in from there before.
    Address,
    /// One account name, wherever from. Not for addresses from which it has logged in before.
    Anywhere,
    /// One address that asks for accounts under names that are taken.
    Registration,
    /// One account that gives things names that are taken by what it doesn't see.
    Names,
}

impl Scope {
    /// The text in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Address => "address",
            Self::Anywhere => "anywhere",
            Self::Registration => "registration",
            Self::Names => "names",
        }
    }

    /// Failures in a row that cost nothing: people mistype, and many people may share an address.
    fn free(self) -> i64 {
        match self {
            Self::Account | Self::Registration | Self::Names => 10,
            Self::Address | Self::Anywhere => 100,
        }
    }
}

/// Longest wait of an account from an address where it was never before.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Longest wait of an account wherever it was never before, because of strangers who guess it elsewhere: they are never
/// to keep anybody from a new place for long.
pub const LONGEST_ANYWHERE: Duration = Duration::from_secs(30);

/// Longest wait of an address, whatever the name: a whole office may be behind it, a new colleague too, and one of all who
/// wait there is drawn each time (A8, KB7). Each account that is guessed there makes its guesser wait longer by itself.
pub const LONGEST_OF_ADDRESS: Duration = LONGEST_WHERE_KNOWN;

/// Whoever comes so long before the end of a wait is held until then and takes part in drawing who is next. A little
/// more than three times [`LONGEST_WHERE_KNOWN`].
pub const HELD: Duration = Duration::from_secs(16);

/// What whoever waits so long is told to wait, in seconds: coming then, they take part in what is drawn.
#[must_use]
pub fn come_again_in(wait: Duration) -> u64 {
    wait.checked_sub(HELD).unwrap_or(wait).as_secs() + 1
}

/// Longest wait of an account where it has logged in before: others may be behind the same address. Enough to make
/// guessing hopeless, and nothing that keeps anybody out.
pub const LONGEST_WHERE_KNOWN: Duration = Duration::from_secs(5);

/// Addresses from which an account has logged in are forgotten when it hasn't for so long.
pub const PLACE_FORGOTTEN_AFTER: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Failures are forgotten when there was none for so long.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: i64,
    /// The last one.
    pub last_at: Timestamp,
}

impl Failures {
    /// How long the next attempt has to wait from `now` on; `None` when it may come. A clock that was set back doesn't
    /// make it longer than the whole wait (L04).
    #[must_use]
    pub fn wait(self, scope: Scope, now: Timestamp) -> Option<Duration> {
        let longest = match scope {
            Scope::Address => LONGEST_OF_ADDRESS,
            Scope::Anywhere => LONGEST_ANYWHERE,
            Scope::Account | Scope::Registration | Scope::Names => LONGEST,
        };
        self.wait_at_most(longest, scope, now)
    }

    /// The same for an account at a place from which it has logged in before.
    #[must_use]
    pub fn wait_where_known(self, now: Timestamp) -> Option<Duration> {
        self.wait_at_most(LONGEST_WHERE_KNOWN, Scope::Account, now)
    }

    fn wait_at_most(self, longest: Duration, scope: Scope, now: Timestamp) -> Option<Duration> {
        let over = self.count.checked_sub(scope.free()).filter(|over| *over >= 0)?;
        let whole = Duration::from_secs(1 << over.min(10)).min(longest);
        whole.checked_sub(now.since(self.last_at)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(count: i64, seconds_ago: i64) -> Option<u64> {
        let now = Timestamp(1_000_000_000_000);
        let last_at = Timestamp(now.0 - seconds_ago * 1_000_000);
        Failures { count, last_at }.wait(Scope::Account, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn r18_waits_grow_and_end() {
        assert_eq!(wait(9, 0), None);
        assert_eq!(wait(10, 0), Some(1));
        assert_eq!(wait(13, 0), Some(8));
        assert_eq!(wait(13, 8), None);
        assert_eq!(wait(100, 0), Some(900));
        assert_eq!(wait(i64::MAX, 0), Some(900));
        assert_eq!(wait(100, 900), None, "never a lock-out");
        assert_eq!(wait(100, -86_400), Some(900), "a clock that was set back");
    }

    #[test]
    fn a08_where_an_account_was_before_it_waits_for_seconds() {
        let now = Timestamp(1_000_000_000_000);
        let failures = |count, ago: i64| Failures { count, last_at: Timestamp(now.0 - ago * 1_000_000) };
        assert_eq!(failures(9, 0).wait_where_known(now), None);
        assert_eq!(failures(1_000_000, 0).wait_where_known(now), Some(LONGEST_WHERE_KNOWN));
        assert_eq!(failures(1_000_000, 5).wait_where_known(now), None);
    }

    #[test]
    fn a08_strangers_elsewhere_make_a_new_place_wait_for_seconds_alone() {
        let now = Timestamp(1_000_000_000_000);
        let failures = Failures { count: 1_000_000, last_at: now };
        assert_eq!(failures.wait(Scope::Anywhere, now), Some(LONGEST_ANYWHERE));
        assert_eq!(failures.wait(Scope::Address, now), Some(LONGEST_OF_ADDRESS));
        assert_eq!(failures.wait(Scope::Account, now), Some(LONGEST));
    }

    #[test]
    fn a08_who_comes_again_when_told_takes_part_in_what_is_drawn() {
        for seconds in [1, 5, 15, 16, 17, 30, 900] {
            let wait = Duration::from_secs(seconds);
            let left = wait.saturating_sub(Duration::from_secs(come_again_in(wait)));
            assert!(left < HELD, "{seconds}");
            // Later by a second, too.
            assert!(wait <= HELD || left > Duration::from_secs(1), "{seconds}");
        }
    }

    #[test]
    fn a08_networks_lie_in_wider_ones() {
        let path = |address: &str| Origin::of(address.parse().ok()).path().to_vec();
        assert_eq!(path("::ffff:192.0.2.200"), ["192.0.0.0/16", "192.0.2.0/24", "192.0.2.200"]);
        assert_eq!(path("2001:db8:1:2:3:4:5:6"), ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64"]);
        assert_eq!(Origin::local(5001).path().len(), 1);
        assert_eq!(address_key("2001:db8:1:2::1".parse().ok()), "2001:db8:1:2::/64");
        assert_eq!(address_key(None), "unknown");
    }

    #[test]
    fn a08_the_bounds_of_one_side_alone_are_looser() {
        let now = Timestamp(1_000_000_000_000);
        for scope in [Scope::Address, Scope::Anywhere] {
            assert_eq!(Failures { count: 99, last_at: now }.wait(scope, now), None);
            assert!(Failures { count: 100, last_at: now }.wait(scope, now).is_some());
        }
    }
}
