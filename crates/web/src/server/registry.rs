//! All connections of a server: who is let in, who has to go for them, who is too slow.
//!
//! Strangers and tasks have three quarters of all places, people who are logged in may have seven eighths: what is left
//! is for administrators and agents (W4, F7). When there are too many, strangers go that do nothing, first of the network
//! that has most; then whoever holds most has to give way, also in the middle of an answer: a stream of a log can be asked
//! for again. Nobody is judged by what a newcomer can't have done yet (KX2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use domain::id::UserId;

use super::life::{Holder, Life, Worth};
use super::limits::Limits;
use crate::peer::Source;

/// Places beyond all others, for this machine's own socket.
const OWN: usize = 16;

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

/// A connection as it is at one moment.
#[derive(Clone, Copy)]
struct Seen<'a> {
    life: &'a Arc<Life>,
    holder: Option<Holder>,
    worth: Worth,
    since: Instant,
}

impl Seen<'_> {
    fn is_strangers(&self) -> bool {
        self.holder.is_none()
    }

    fn is_tasks(&self) -> bool {
        matches!(self.holder, Some(Holder::Task { .. }))
    }

    /// Somebody's who is logged in and no administrator.
    fn is_ordinary(&self) -> bool {
        matches!(self.holder, Some(Holder::Account { admin: false, .. }))
    }

    fn account(&self) -> Option<UserId> {
        self.holder.and_then(Holder::account)
    }

    fn end(&self) {
        self.life.end.cancel();
    }
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Life>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection. When there are too many, another one has to go; `None` when all of them are dearer
    /// than a newcomer.
    pub(super) fn admit(self: &Arc<Self>, number: u64, life: &Arc<Life>) -> Option<Place> {
        let mut open = self.open();
        if !life.inner {
            let all = living(&open);
            let strangers = || all.iter().filter(|seen| seen.is_strangers());
            let others = || all.iter().filter(|seen| seen.is_strangers() || seen.is_tasks());
            let neighbours = || strangers().filter(|seen| seen.life.source == life.source);
            let leaves = if neighbours().count() >= self.limits.per_address {
                Some(idlest(neighbours(), Worth::Answering)?)
            } else if others().count() >= self.limits.strangers {
                self.for_a_stranger(life, &all)?
            } else if all.len() >= self.limits.total {
                let found = for_a_newcomer(&all);
                if found.is_none() && !self.has_a_place_of_its_own(life, &all) {
                    return None;
                }
                found
            } else {
                None
            };
            if let Some(leaves) = leaves {
                leaves.end();
            }
        }
        open.insert(number, Arc::clone(life));
        Some(Place { registry: Arc::clone(self), number })
    }

    /// Who goes when strangers and tasks have all their places: `None` when there is nobody. Who comes from where few come
    /// from finds room all the same, until it is known what they want. Others that do nothing go with the one that goes, so
    /// that not each newcomer costs a look at all connections.
    fn for_a_stranger<'a>(&self, life: &Life, all: &[Seen<'a>]) -> Option<Option<Seen<'a>>> {
        let strangers = || all.iter().filter(|seen| seen.is_strangers());
        let tasks = || all.iter().filter(|seen| seen.is_tasks());
        let count = strangers().count() + tasks().count();
        let idle = of_the_largest(strangers(), Worth::New, self.limits.at_once);
        let found = idle.first().copied();
        if found.is_none_or(|found| found.worth == Worth::New) {
            let [_, network, ..] = life.source.wider();
            let near = strangers().filter(|seen| seen.life.source.wider()[1] == network).count();
            if near < self.limits.few && count < self.limits.newcomers {
                return Some(None);
            }
        }
        if let Some(found) = found.filter(|_| count > self.limits.strangers) {
            // Of those who were let in beyond the number, somebody goes as well.
            let rest = strangers().filter(|seen| !Arc::ptr_eq(seen.life, found.life));
            of_the_largest(rest, Worth::New, 1).iter().for_each(Seen::end);
        }
        idle.iter().skip(1).filter(|seen| seen.worth <= Worth::Idle).for_each(Seen::end);
        let found = found.or_else(|| of_the_greediest(tasks()));
        let found = found.or_else(|| of_the_largest(strangers(), Worth::Answering, 1).pop());
        found.or_else(|| idlest(tasks(), Worth::Answering)).map(Some)
    }

    /// The command line on this machine always gets in.
    fn has_a_place_of_its_own(&self, life: &Arc<Life>, all: &[Seen<'_>]) -> bool {
        matches!(life.source, Source::Uid(_)) && all.len() < self.limits.total + OWN
    }

    /// A connection became somebody's: who has too many by now gives one up.
    pub(super) fn settle(&self, life: &Arc<Life>) {
        let (Some(holder), _, _) = life.seen() else { return };
        if life.inner {
            return;
        }
        let open = self.open();
        let all = living(&open);
        let others = || all.iter().filter(|seen| !Arc::ptr_eq(seen.life, life));
        if let Holder::Task { task, .. } = holder {
            let own =
                |seen: &&Seen<'_>| matches!(seen.holder, Some(Holder::Task { task: t, .. }) if t == task);
            if others().filter(own).count() >= self.limits.per_task {
                idlest(others().filter(own), Worth::Answering).iter().for_each(|seen| seen.end());
                return;
            }
        }
        if let Some(account) = holder.account() {
            let own = || others().filter(|seen| seen.account() == Some(account));
            if own().count() >= self.limits.per_account {
                // A person doesn't lose what is open to a task.
                let tasks = of_the_greediest(own().filter(|seen| seen.is_tasks()));
                let leaves = tasks.or_else(|| idlest(own(), Worth::Answering));
                leaves.iter().for_each(|seen| seen.end());
                return;
            }
        }
        let ordinary = || others().filter(|seen| seen.is_ordinary());
        if matches!(holder, Holder::Account { admin: false, .. })
            && ordinary().count() >= self.limits.ordinary
        {
            let leaves = of_the_greediest(ordinary()).or_else(|| idlest(ordinary(), Worth::Answering));
            leaves.iter().for_each(|seen| seen.end());
        }
    }

    /// Ends a connection, when descriptors have run out all the same.
    pub(super) fn shed(&self) {
        let open = self.open();
        for_a_newcomer(&living(&open)).iter().for_each(Seen::end);
    }

    /// How many connections there are.
    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// All of them.
    pub(super) fn lives(&self) -> Vec<Arc<Life>> {
        self.open().values().map(Arc::clone).collect()
    }

    /// Ends what is too slow.
    pub(super) fn end_late(&self) {
        for life in self.open().values().filter(|life| life.is_late(&self.limits)) {
            life.end.cancel();
        }
    }
}

/// The connections that count and haven't been told to go.
fn living(open: &HashMap<u64, Arc<Life>>) -> Vec<Seen<'_>> {
    let living = open.values().filter(|life| !life.inner && !life.end.is_cancelled());
    let seen = living.map(|life| {
        let (holder, worth, since) = life.seen();
        Seen { life, holder, worth, since }
    });
    seen.collect()
}

/// Who goes when every place is taken.
fn for_a_newcomer<'a>(all: &[Seen<'a>]) -> Option<Seen<'a>> {
    let strangers = || all.iter().filter(|seen| seen.is_strangers());
    let many = || all.iter().filter(|seen| seen.is_ordinary() || seen.is_tasks());
    let found = of_the_largest(strangers(), Worth::Idle, 1).pop().or_else(|| of_the_greediest(many()));
    found
        .or_else(|| of_the_largest(strangers(), Worth::Answering, 1).pop())
        .or_else(|| idlest(all.iter(), Worth::Idle))
}

/// The one that does least, among equals the oldest; nobody who does more than `most`.
fn idlest<'s, 'a: 's>(seen: impl Iterator<Item = &'s Seen<'a>>, most: Worth) -> Option<Seen<'a>> {
    // An agent's own channel never goes.
    let may = seen.filter(|seen| seen.worth <= most && seen.holder != Some(Holder::Agent));
    may.min_by_key(|seen| (seen.worth, seen.since)).copied()
}

/// Of the network that holds most, in that of the part that holds most and so on, those that do least, at most `few`;
/// nobody who does more than `most`. Who has many addresses gains nothing by that.
fn of_the_largest<'s, 'a: 's>(
    seen: impl Iterator<Item = &'s Seen<'a>>,
    most: Worth,
    few: usize,
) -> Vec<Seen<'a>> {
    let mut left: Vec<_> =
        seen.filter(|seen| seen.worth <= most).map(|seen| (seen, seen.life.source.wider())).collect();
    for width in 0..4 {
        let Some(first) = left.first().map(|(_, wider)| wider[width]) else { break };
        if left.iter().all(|(_, wider)| wider[width] == first) {
            continue;
        }
        let mut counts: HashMap<Source, usize> = HashMap::new();
        left.iter().for_each(|(_, wider)| *counts.entry(wider[width]).or_default() += 1);
        let largest = counts.values().copied().max();
        left.retain(|(_, wider)| counts.get(&wider[width]).copied() == largest);
    }
    let mut left: Vec<Seen<'a>> = left.into_iter().map(|(seen, _)| *seen).collect();
    left.retain(|seen| seen.holder != Some(Holder::Agent));
    left.sort_by_key(|seen| (seen.worth, seen.since));
    left.truncate(few);
    left
}

/// Of the account that holds most, if that is more than one, the one that does least; tasks' first.
fn of_the_greediest<'s, 'a: 's>(seen: impl Iterator<Item = &'s Seen<'a>> + Clone) -> Option<Seen<'a>> {
    let mut held: HashMap<UserId, usize> = HashMap::new();
    seen.clone().filter_map(Seen::account).for_each(|account| *held.entry(account).or_default() += 1);
    let (account, _) = held.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(_, count)| *count)?;
    let own = || seen.clone().filter(|seen| seen.account() == Some(account));
    let tasks = idlest(own().filter(|seen| seen.is_tasks()), Worth::Answering);
    tasks.or_else(|| idlest(own(), Worth::Answering))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::Duration;

    use domain::id::TaskId;

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
        body.body_over();
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
        body.body_over();
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
}
