//! How much of requests' bodies is in memory at once (W10): a body is read as a whole before its handler runs, so its
//! size is paid for before a byte of it is taken, and given back when the handler is done with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::id::UserId;
use master::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long somebody waits for room before being told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to come again, in seconds.
const AGAIN: u64 = 10;

/// One account's share of all, unless it is one body and nothing else.
const SHARE: u64 = 8;

/// Room for bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bodies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: u64,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    by: HashMap<UserId, u64>,
}

/// Room that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    bodies: Bodies,
    payer: UserId,
    size: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut taken = self.bodies.taken();
        taken.all = taken.all.saturating_sub(self.size);
        let left = taken.by.get(&self.payer).map_or(0, |held| held.saturating_sub(self.size));
        if left == 0 {
            taken.by.remove(&self.payer);
        } else {
            taken.by.insert(self.payer, left);
        }
        drop(taken);
        self.bodies.0.freed.notify_waiters();
    }
}

impl Bodies {
    /// Room for `total` bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self(Arc::new(Inner { total, taken: Mutex::default(), freed: Notify::new() }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for `size` bytes; waits a little for it.
    ///
    /// # Errors
    /// When there is none, to be tried again.
    pub(crate) async fn charge(&self, payer: UserId, size: u64) -> Result<Charge, Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Registered before it is looked, so that nothing is missed in between.
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if let Some(charge) = self.try_charge(payer, size) {
                return Ok(charge);
            }
            if timeout_at(until, freed).await.is_err() {
                let what = "too much is being sent at the moment";
                return Err(Error::TooMany { what, seconds: AGAIN });
            }
        }
    }

    fn try_charge(&self, payer: UserId, size: u64) -> Option<Charge> {
        // What is larger than all is alone.
        let size = size.min(self.0.total);
        let mut taken = self.taken();
        let own = taken.by.get(&payer).copied().unwrap_or(0);
        let share = self.0.total / SHARE;
        if (own > 0 && own.saturating_add(size) > share) || taken.all.saturating_add(size) > self.0.total {
            return None;
        }
        taken.all += size;
        *taken.by.entry(payer).or_default() += size;
        drop(taken);
        Some(Charge { bodies: self.clone(), payer, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a06_bodies_share_the_memory() {
        let bodies = Bodies::new(800);
        let [alice, bob] = [UserId(1), UserId(2)];
        let whole = bodies.try_charge(alice, 500).expect("one, however large");
        assert!(bodies.try_charge(alice, 1).is_none(), "and nothing beside it");
        assert!(bodies.try_charge(bob, 301).is_none(), "not more than there is");
        let small: Vec<_> = (0..10).map(|_| bodies.try_charge(bob, 10).expect("an eighth")).collect();
        assert!(bodies.try_charge(bob, 1).is_none());
        drop(whole);
        drop(small);
        let all = bodies.try_charge(bob, u64::MAX).expect("what is too large is alone");
        assert!(bodies.try_charge(alice, 1).is_none());
        drop(all);
        assert_eq!(bodies.taken().by.len(), 0);
    }

    #[tokio::test]
    async fn a06_who_finds_no_room_waits_for_it() {
        let bodies = Bodies::new(100);
        let held = bodies.charge(UserId(1), 100).await.expect("room");
        let (got, ()) = tokio::join!(bodies.charge(UserId(2), 1), async { drop(held) });
        got.expect("room again");
    }
}
