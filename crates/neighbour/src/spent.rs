//! How long looks have waited, and for whom. Time goes by the user who makes a look wait, not by the question: however many
//! processes he has and however just in time each of them answers (T5), his share is one. Who has used it up is left out for
//! a minute. What the machine takes for its own work is nobody's.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::scan::user;

/// How long looks wait for one user, before he is left out.
const SHARE: Duration = Duration::from_millis(400);

/// So much of each look is given to everybody: processes that start programs hold the kernel's locks for moments.
const FREE: Duration = Duration::from_millis(50);

/// How long somebody is left out.
const FOR: Duration = Duration::from_secs(60);

/// Uids below are given to people and services by hand, those above also in ranges.
const RANGE: u32 = 1 << 16;

/// Whose a process is, as far as that is for who pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum User {
    /// One of this machine.
    Of(u32),
    /// Whoever lives in another user namespace by subordinate uids, which one user has any number of.
    Range(u32),
}

impl User {
    /// Nobody is protected from root, who is never left out for being slow.
    const ROOT: Self = Self::Of(0);

    /// Whose a process is that is shown as that uid's.
    pub(crate) fn of(process: u32, owner: u32) -> Self {
        let uid = user(process).unwrap_or(owner);
        let map = |process: &str| fs::read(format!("/proc/{process}/uid_map")).ok();
        if uid < RANGE || map(&process.to_string()).is_some_and(|theirs| Some(theirs) == map("self")) {
            Self::Of(uid)
        } else {
            Self::Range(uid / RANGE)
        }
    }
}

/// What was waited for each.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// Of looks that are over, beyond what each gives.
    debts: HashMap<User, Duration>,
    /// Until when somebody is left out.
    out: HashMap<User, Instant>,
}

impl Spent {
    /// How long a look may still wait for somebody for whom it has waited already; `None` for as long as it likes.
    pub(crate) fn left(&self, user: User, waited: Duration) -> Option<Duration> {
        let debt = self.debts.get(&user).copied().unwrap_or_default();
        (user != User::ROOT).then(|| (SHARE + FREE).saturating_sub(debt + waited))
    }

    /// Leaves somebody out from now on, for a time.
    pub(crate) fn leave_out(&mut self, user: User, now: Instant) {
        self.debts.remove(&user);
        if user != User::ROOT {
            self.out.insert(user, now + FOR);
        }
    }

    pub(crate) fn is_out(&self, user: User, now: Instant) -> bool {
        self.out.get(&user).is_some_and(|until| now < *until)
    }

    /// Nobody is left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// A look is over, which has waited so long for those.
    pub(crate) fn settle(&mut self, waited: &HashMap<User, Duration>, now: Instant) {
        self.out.retain(|_, until| now < *until);
        for (user, waited) in waited.iter().filter(|(user, _)| **user != User::ROOT) {
            *self.debts.entry(*user).or_default() += *waited;
        }
        self.debts.retain(|_, debt| {
            *debt = debt.saturating_sub(FREE);
            !debt.is_zero()
        });
    }
}

/// How often this thread has waited for anything. That it was another one's turn doesn't count.
pub(crate) fn waits() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r15_who_is_slow_again_and_again_is_left_out_and_comes_back() {
        let (mut spent, now) = (Spent::default(), Instant::now());
        let (slow, quick) = (User::Of(5001), User::Of(5002));
        let waited = HashMap::from([(slow, FREE * 2), (quick, FREE), (User::ROOT, FOR)]);
        let mut looks = 0;
        while spent.left(slow, FREE * 2) > Some(Duration::ZERO) {
            looks += 1;
            spent.settle(&waited, now);
        }
        assert_eq!(looks, 7, "what is beyond the share of each look adds up");
        assert_eq!(spent.left(quick, Duration::ZERO), Some(SHARE + FREE));
        assert_eq!(spent.left(User::ROOT, FOR), None);
        for user in [slow, User::ROOT] {
            spent.leave_out(user, now);
        }
        assert_eq!([slow, quick, User::ROOT].map(|user| spent.is_out(user, now)), [true, false, false]);
        spent.settle(&HashMap::new(), now + FOR);
        assert!(spent.is_empty() && spent.left(slow, Duration::ZERO) == Some(SHARE + FREE));
    }

    #[test]
    fn r15_who_computes_waits_for_nobody() {
        assert_eq!(User::of(std::process::id(), 1), User::Of(nix::unistd::getuid().as_raw()));
        let before = waits();
        std::thread::spawn(|| ()).join().expect("over");
        assert!(waits() >= before);
    }
}
