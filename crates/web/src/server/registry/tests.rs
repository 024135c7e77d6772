//! Who is let in, and who has to go for whom.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use domain::id::{TaskId, UserId};

use super::*;

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
        newcomers: 4,
        few: 2,
        at_once: 1,
        ordinary: 5,
        per_address: 2,
        per_account: 3,
        per_task: 2,
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
        Self::within(limits())
    }

    fn within(limits: Limits) -> Self {
        Self { registry: Registry::new(limits), places: Vec::new() }
    }

    fn come(&mut self, address: u8) -> Option<Arc<Life>> {
        self.come_from(Source::V4([10, 0, 0, address]))
    }

    fn come_from(&mut self, source: Source) -> Option<Arc<Life>> {
        let life = Arc::new(Life::new(source, now));
        let number = u64::try_from(self.places.len()).expect("few");
        let place = self.registry.admit(number, &life)?;
        self.places.push((Arc::clone(&life), Some(place)));
        Some(life)
    }

    /// One that is somebody's and waits for an answer.
    fn at_work(&mut self, address: u8, holder: Holder) -> Option<Arc<Life>> {
        advance(1);
        let life = self.come(address)?;
        life.asked();
        life.is_known(holder);
        self.registry.settle(&life);
        Some(life)
    }

    fn living(&self) -> usize {
        self.places.iter().filter(|(life, _)| !life.end.is_cancelled()).count()
    }
}

fn account(user: i64) -> Holder {
    Holder::Account { user: UserId(user), admin: false }
}

fn task(owner: i64, task: u128) -> Holder {
    Holder::Task { owner: UserId(owner), task: TaskId(uuid::Uuid::from_u128(task)) }
}

#[test]
fn a07_the_oldest_silent_stranger_goes_first() {
    let mut guests = Guests::new();
    let first = guests.come(1).expect("room");
    first.heard(1);
    advance(1);
    let silent = guests.come(1).expect("room");
    advance(2);
    let third = guests.come(1).expect("somebody goes");
    assert!(silent.end.is_cancelled() && !first.end.is_cancelled() && !third.end.is_cancelled());
    // Another address isn't touched by that.
    guests.come(2).expect("room");
    assert!(!first.end.is_cancelled() && !third.end.is_cancelled());
}

/// A stranger who has asked for something, and keeps the connection.
fn idle(life: &Life) {
    life.heard(1);
    life.asked();
    life.answered(false);
}

#[test]
fn a07_a_newcomer_is_dearer_than_who_does_nothing() {
    let mut guests = Guests::within(Limits { per_address: 100, ..limits() });
    for address in 1..=4 {
        idle(&guests.come_from(Source::V4([127, 0, 0, address])).expect("room"));
    }
    let newcomer = guests.come_from(Source::V4([127, 0, 0, 1])).expect("somebody goes");
    // Others come and ask at once, from as many addresses as it takes.
    for address in 5..60 {
        idle(&guests.come_from(Source::V4([127, 0, 0, address])).expect("one of them goes"));
    }
    assert!(!newcomer.end.is_cancelled());
    newcomer.heard(1);
    advance(2);
    idle(&guests.come_from(Source::V4([127, 0, 0, 60])).expect("room"));
    assert!(newcomer.end.is_cancelled(), "it had its time");
    assert_eq!(guests.living(), 4);
}

#[test]
fn a07_the_network_that_holds_most_pays() {
    let mut guests = Guests::within(Limits { total: 20, strangers: 10, newcomers: 12, ..limits() });
    let far = guests.come_from(Source::V6([1, 2, 3, 4])).expect("room");
    idle(&far);
    let other = guests.come(1).expect("room");
    idle(&other);
    advance(1);
    for n in 0..300 {
        idle(&guests.come_from(Source::V6([1, 2, 7, n])).expect("one of them goes"));
    }
    assert!(!far.end.is_cancelled() && !other.end.is_cancelled(), "oldest, but alone");
    assert_eq!(guests.living(), 10);
    // Nobody who comes has said anything yet: those from elsewhere find room, and more of the many don't.
    for n in 0..300 {
        guests.come_from(Source::V6([1, 2, 7, 300 + n])).expect("one of them goes");
    }
    let quiet = guests.come(2).expect("room");
    for n in 0..300 {
        guests.come_from(Source::V6([1, 2, 7, 600 + n])).expect("one of them goes");
    }
    assert!(!quiet.end.is_cancelled() && guests.living() <= 12, "{}", guests.living());
    idle(&quiet);
    advance(2);
    for n in 0..30 {
        idle(&guests.come_from(Source::V6([1, 2, 7, 900 + n])).expect("one of them goes"));
    }
    assert_eq!(guests.living(), 10, "what is kept was lent");
    assert!(![far, other, quiet].iter().any(|life| life.end.is_cancelled()), "the many paid");
}

#[test]
fn a07_not_each_newcomer_costs_a_look_at_all() {
    let limits = Limits { total: 200, strangers: 100, newcomers: 110, at_once: 10, ..limits() };
    let mut guests = Guests::within(limits);
    let other = guests.come(1).expect("room");
    idle(&other);
    advance(1);
    for n in 0..99 {
        idle(&guests.come_from(Source::V6([1, 2, 7, n])).expect("room"));
    }
    assert_eq!(guests.living(), 100);
    let newcomer = guests.come_from(Source::V6([1, 2, 7, 100])).expect("some go");
    assert_eq!(guests.living(), 91, "ten of those that have most");
    for n in 0..9 {
        idle(&guests.come_from(Source::V6([1, 2, 7, 200 + n])).expect("room"));
    }
    assert_eq!(guests.living(), 100, "and nobody for the next ones");
    assert!(!other.end.is_cancelled() && !newcomer.end.is_cancelled());
}

#[test]
fn a07_who_is_logged_in_stays_and_finds_room() {
    let mut guests = Guests::new();
    let known = guests.come(1).expect("room");
    known.asked();
    known.is_known(account(1));
    for address in 2..60 {
        guests.come(address).expect("a stranger goes for a stranger");
    }
    assert!(!known.end.is_cancelled());
    assert_eq!(guests.living(), 5, "four strangers and one who is known");
}

#[test]
fn a07_nobody_at_work_goes_for_a_newcomer() {
    let mut guests = Guests::new();
    for address in 1..=6 {
        let admin = address == 6;
        let holder = Holder::Account { user: UserId(i64::from(address)), admin };
        guests.at_work(address, holder).expect("room");
    }
    assert!(guests.come(7).is_none(), "each has one");
    let own = Arc::new(Life::new(Source::Uid(0), now));
    guests.registry.admit(100, &own).expect("the machine's own socket");
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
    silent.heard(1);
    advance(9);
    silent.heard(1);
    assert!(!late(&silent), "ten seconds from the first byte");
    advance(1);
    assert!(late(&silent), "whatever dribbles in");
    body.got_body(1000);
    advance(10);
    assert!(!late(&body));
    advance(1);
    assert!(late(&body), "a byte a second is no progress");
    body.got_body(1024);
    assert!(!late(&body), "a kilobyte is");
    body.answered(false);
    body.body_over(true);
    advance(59);
    assert!(!late(&body));
    advance(1);
    assert!(late(&body), "idle");
}

#[test]
fn a07_no_body_is_held_back_for_hours() {
    let mut guests = Guests::new();
    let late = |life: &Life| life.is_late(&limits());
    let body = guests.come(1).expect("room");
    body.asked();
    body.wants_body();
    let mut seconds = 0;
    while !late(&body) && seconds < 10_000 {
        advance(29);
        seconds += 29;
        body.got_body(1024);
    }
    assert!(seconds < 60, "less than a kilobyte a second: {seconds} s");
    body.body_over(true);
    // However much came at once, what is left of it can't take for ever.
    body.got_body(138 << 20);
    advance(30 + 256 + 138 * 16);
    assert!(late(&body));
}

#[test]
fn a07_nobody_takes_the_places_of_everybody() {
    let mut guests = Guests::new();
    let boss = guests.at_work(1, Holder::Account { user: UserId(1), admin: true }).expect("room");
    let agent = guests.at_work(2, Holder::Agent).expect("room");
    for address in 3..60 {
        guests.at_work(address, account(2)).expect("the oldest of the same account goes");
        assert!(guests.living() <= 2 + 3, "{address}");
    }
    for address in 60..120 {
        let life = guests.at_work(address, account(i64::from(address % 2) + 3));
        let life = life.expect("who holds most gives way");
        assert!(!life.end.is_cancelled(), "and not who comes");
    }
    assert!(!boss.end.is_cancelled() && !agent.end.is_cancelled());
}

#[test]
fn f07_a_task_is_nobody_who_is_logged_in() {
    let mut guests = Guests::new();
    let person = guests.at_work(1, account(1)).expect("room");
    for address in 2..60 {
        guests.at_work(address, task(1, u128::from(address % 5))).expect("room");
        assert!(guests.living() <= 3, "its owner's number counts");
    }
    for address in 60..120 {
        guests.at_work(address, task(i64::from(address % 7), u128::from(address))).expect("room");
        assert!(guests.living() <= 5, "tasks and strangers leave room");
    }
    assert!(!person.end.is_cancelled());
}
