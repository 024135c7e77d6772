//! How fast one account may make the database grow: nothing shortens the audit log, tasks stay listed for good, and so what any
//! of them adds in a day has a bound, in whichever table, however small each change is (KX4, A4).

use std::time::Duration;

use crate::id::UserId;
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What may be used at once, in the time that it takes to come together: a quarter of what a day gives.
const AT_ONCE: Duration = Duration::from_secs(6 * 60 * 60);

/// Whose allowance something is written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spender {
    /// An account's, for what it and its tasks change.
    Change(UserId),
    /// An account's, for its logins: of these there may be as many again.
    LogIn(UserId),
    /// An account's, for a new password of its own, and as much again: who has come into one of its sessions can use up the
    /// first, and not keep its owner from shutting them out.
    Safety(UserId),
}

/// What one account may add in a day, in bytes; 0 is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance(pub u64);

impl Allowance {
    /// When what was used will have come together again: a moment in the past where nothing has been used. `used` is what
    /// this answered before.
    #[must_use]
    pub fn spend(self, used: Timestamp, bytes: usize, now: Timestamp) -> Timestamp {
        let bytes = u128::try_from(bytes).unwrap_or(u128::MAX);
        let micros = bytes.saturating_mul(DAY.as_micros()).checked_div(u128::from(self.0)).unwrap_or(0);
        used.max(now).plus(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// How long somebody has to wait who has used that much; `None` when they needn't.
    #[must_use]
    pub fn wait(self, used: Timestamp, now: Timestamp) -> Option<Duration> {
        let over = used.since(now).checked_sub(AT_ONCE).filter(|over| !over.is_zero());
        over.filter(|_| self.0 > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp(1_000_000);

    /// Bytes that somebody adds who tries all the time, `size` each, once in `every`.
    fn added(allowance: Allowance, size: usize, every: Duration, during: Duration) -> usize {
        let (mut used, mut now, mut sum) = (Timestamp(0), BEGIN, 0);
        while now < BEGIN.plus(during) {
            if allowance.wait(used, now).is_none() {
                used = allowance.spend(used, size, now);
                sum += size;
            }
            now = now.plus(every);
        }
        sum
    }

    #[test]
    fn r47_what_an_account_adds_in_a_day_has_a_bound() {
        let allowance = Allowance(256 << 20);
        let most = (256 << 20) + (64 << 20) + 5_000;
        let two_days = added(allowance, 5_000, Duration::from_millis(100), 2 * DAY);
        assert!(two_days <= most + (256 << 20), "{two_days}");
        assert!(two_days > 500 << 20, "and all of that may be used: {two_days}");
        // Twenty thousand commands at once are nothing.
        let at_once = added(allowance, 3_000, Duration::from_micros(1), Duration::from_millis(20));
        assert_eq!(at_once, 20_000 * 3_000);
        // Nor is one each second for ever.
        let day = added(allowance, 3_000, Duration::from_secs(1), DAY);
        assert_eq!(day, 24 * 60 * 60 * 3_000);
    }

    #[test]
    fn r47_who_has_used_it_up_waits_for_what_was_too_much_and_no_longer() {
        let allowance = Allowance(DAY.as_secs());
        let used = allowance.spend(Timestamp(0), 6 * 60 * 60 + 7, BEGIN);
        assert_eq!(allowance.wait(used, BEGIN), Some(Duration::from_secs(7)), "a byte a second");
        assert_eq!(allowance.wait(used, BEGIN.plus(Duration::from_secs(7))), None);
        let used = allowance.spend(Timestamp(0), 1 << 20, BEGIN);
        assert!(allowance.wait(used, BEGIN).is_some_and(|wait| wait > DAY * 11), "however much it was");
        assert_eq!(Allowance(0).wait(allowance.spend(used, usize::MAX, BEGIN), BEGIN), None, "no bound");
        assert_eq!(Allowance(0).spend(Timestamp(0), usize::MAX, BEGIN), BEGIN);
    }
}
