//! All connections of a server: who is let in, who has to go for them, who is too slow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::life::{Life, Worth};
use super::limits::Limits;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    open: Mutex<HashMap<u64, Arc<Life>>>,
}

/// A place among the open connections, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.open().remove(&self.number);
    }
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Life>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection. When there are too many, the least dear of those that are open has to go; `None`
    /// when all of them are dearer than a newcomer.
    pub(super) fn admit(self: &Arc<Self>, number: u64, life: &Arc<Life>) -> Option<Place> {
        let mut open = self.open();
        let living = || open.values().filter(|other| !other.end.is_cancelled());
        let strangers = || living().filter(|other| !other.known());
        let neighbours = || strangers().filter(|other| other.source == life.source);
        let leaves = if neighbours().count() >= self.limits.per_address {
            Some(least_dear(neighbours(), Worth::Answering)?)
        } else if strangers().count() >= self.limits.strangers {
            Some(least_dear(strangers(), Worth::Answering)?)
        } else if living().count() >= self.limits.total {
            Some(least_dear(living(), Worth::KnownIdle)?)
        } else {
            None
        };
        if let Some(leaves) = leaves {
            leaves.end.cancel();
        }
        open.insert(number, Arc::clone(life));
        Some(Place { registry: Arc::clone(self), number })
    }

    /// Ends the least dear connection, when descriptors have run out all the same.
    pub(super) fn shed(&self) {
        let open = self.open();
        let living = open.values().filter(|other| !other.end.is_cancelled());
        if let Some(life) = least_dear(living, Worth::KnownIdle) {
            life.end.cancel();
        }
    }

    /// Ends what is too slow.
    pub(super) fn end_late(&self) {
        for life in self.open().values().filter(|life| life.is_late(&self.limits)) {
            life.end.cancel();
        }
    }
}

/// The one to go first, among those that may go at all.
fn least_dear<'a>(lives: impl Iterator<Item = &'a Arc<Life>>, dearest: Worth) -> Option<&'a Arc<Life>> {
    let ranked = lives.map(|life| (life.worth(), life)).filter(|((worth, _), _)| *worth <= dearest);
    ranked.min_by_key(|(worth, _)| *worth).map(|(_, life)| life)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::peer::Source;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    thread_local! {
        /// How far this test's time is.
        static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn now() -> Instant {
        *START + AHEAD.get()
    }

    fn advance(seconds: u64) {
        AHEAD.set(AHEAD.get() + Duration::from_secs(seconds));
    }

    fn limits() -> Limits {
        let second = Duration::from_secs(1);
        Limits {
            total: 6,
            strangers: 4,
            per_address: 2,
            head: second * 10,
            body: second * 30,
            idle: second * 60,
            stalled: second * 60,
        }
    }

    struct Guests {
        registry: Arc<Registry>,
        places: Vec<(Arc<Life>, Option<Place>)>,
    }

    impl Guests {
        fn new() -> Self {
            Self { registry: Registry::new(limits()), places: Vec::new() }
        }

        fn come(&mut self, address: u8) -> Option<Arc<Life>> {
            let life = Arc::new(Life::new(Source::V4([10, 0, 0, address]), now));
            let number = u64::try_from(self.places.len()).expect("few");
            let place = self.registry.admit(number, &life)?;
            self.places.push((Arc::clone(&life), Some(place)));
            Some(life)
        }
    }

    #[test]
    fn a07_the_oldest_silent_stranger_goes_first() {
        let mut guests = Guests::new();
        let first = guests.come(1).expect("room");
        first.heard();
        advance(1);
        let silent = guests.come(1).expect("room");
        advance(1);
        let third = guests.come(1).expect("somebody goes");
        assert!(silent.end.is_cancelled() && !first.end.is_cancelled() && !third.end.is_cancelled());
        // Another address isn't touched by that.
        guests.come(2).expect("room");
        assert!(!first.end.is_cancelled() && !third.end.is_cancelled());
    }

    #[test]
    fn a07_who_is_logged_in_stays_and_finds_room() {
        let mut guests = Guests::new();
        let known = guests.come(1).expect("room");
        known.asked();
        known.is_known();
        for address in 2..60 {
            guests.come(address).expect("a stranger goes for a stranger");
        }
        assert!(!known.end.is_cancelled());
        let living = guests.places.iter().filter(|(life, _)| !life.end.is_cancelled()).count();
        assert_eq!(living, 5, "four strangers and one who is known");
    }

    #[test]
    fn a07_nobody_at_work_goes_for_a_newcomer() {
        let mut guests = Guests::new();
        for address in 1..=6 {
            let life = guests.come(address).expect("room");
            life.asked();
            life.is_known();
        }
        assert!(guests.come(7).is_none());
        guests.places[0].1 = None;
        guests.come(7).expect("a place was given back");
    }

    #[test]
    fn a07_each_step_has_its_time() {
        let mut guests = Guests::new();
        let late = |life: &Life| life.is_late(&limits());
        let silent = guests.come(1).expect("room");
        let body = guests.come(2).expect("room");
        body.asked();
        body.wants_body();
        advance(9);
        silent.heard();
        advance(9);
        silent.heard();
        assert!(!late(&silent), "ten seconds from the first byte");
        advance(1);
        assert!(late(&silent), "whatever dribbles in");
        body.got_body(1000);
        advance(10);
        assert!(!late(&body));
        advance(1);
        assert!(late(&body), "a byte a second is no progress");
        body.got_body(24);
        assert!(!late(&body), "a kilobyte is");
        body.answered(false);
        advance(59);
        assert!(!late(&body));
        advance(1);
        assert!(late(&body), "idle");
    }
}
