//! A clock that moves only when a test says so.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::time::Timestamp;
use master::system::Clock;
use tokio::sync::{Notify, watch};

/// 2026-01-01T00:00:00Z, in microseconds.
const START: i64 = 1_767_225_600_000_000;

/// What doesn't happen in so long doesn't happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// The clock.
#[derive(Debug)]
pub struct FakeClock {
    now: AtomicI64,
    /// Who waits for a time waits until a test sets it; else nobody waits.
    holds: AtomicBool,
    /// Until when those wait who do, by their number.
    waiting: watch::Sender<BTreeMap<u64, Timestamp>>,
    numbers: AtomicU64,
    moved: Notify,
}

impl Default for FakeClock {
    fn default() -> Self {
        Self {
            now: AtomicI64::new(START),
            holds: AtomicBool::new(false),
            waiting: watch::Sender::default(),
            numbers: AtomicU64::new(0),
            moved: Notify::new(),
        }
    }
}

impl FakeClock {
    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Jumps, also back.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// From now on who waits for a time does so until it is set. Without that they learn at once that it isn't so late,
    /// as when a clock is set back: no test waits for a time that nobody sets.
    pub fn hold(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    /// Returns when so many wait for a time to come: whose time has come is under way, whether or not they know yet.
    ///
    /// # Panics
    /// When they don't.
    pub async fn held(&self, number: usize) {
        let mut waiting = self.waiting.subscribe();
        let still = |waiting: &BTreeMap<_, _>| waiting.values().filter(|then| **then > self.now()).count();
        let enough = tokio::time::timeout(DEADLINE, waiting.wait_for(|waiting| still(waiting) == number));
        let enough = matches!(enough.await, Ok(Ok(_)));
        assert!(enough, "{} wait, not {number}", still(&self.waiting.borrow()));
    }
}

/// One that waits.
struct Waits<'a>(&'a watch::Sender<BTreeMap<u64, Timestamp>>, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| {
            waiting.remove(&self.1);
        });
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn until(&self, then: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            self.waiting.send_modify(|waiting| {
                waiting.insert(number, then);
            });
            let _waits = Waits(&self.waiting, number);
            while self.holds.load(Ordering::SeqCst) {
                let moved = self.moved.notified();
                if self.now() >= then {
                    return;
                }
                moved.await;
            }
        })
    }
}
