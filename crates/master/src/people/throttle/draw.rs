//! Who is next when a wait is over: one of those who are held until then is drawn (A8, R18).
//!
//! Else it would be who is first, and that is always a program that never stops guessing. Networks have a share each, from
//! the widest to the narrowest, and there passwords: the same one many times is one share, and one that was wrong lately
//! has none as long as there are others. So a script with an old password is in nobody's way, and who guesses has no more
//! shares than networks.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use tokio::sync::oneshot;

use super::attempt::{Attempt, Subject, Try, UnderWay};
use crate::fair::descend;
use crate::system::Entropy;

/// Most who are held of those who are known, and of strangers.
const HELD: usize = 512;

/// Passwords that were wrong lately.
const WRONG: usize = 10_000;

/// Who is held.
#[derive(Clone)]
pub(super) struct Draws(Arc<Inner>);

struct Inner {
    held: Mutex<Held>,
    wrong: Cache<u64, ()>,
    entropy: Arc<dyn Entropy>,
}

#[derive(Default)]
struct Held {
    by: HashMap<Subject, Vec<Ticket>>,
    known: usize,
    strangers: usize,
    number: u64,
}

struct Ticket {
    number: u64,
    of: Try,
    call: oneshot::Sender<Attempt>,
}

impl Ticket {
    /// What has a share each of what is held: accounts, or networks of strangers.
    fn path(&self) -> &[String] {
        if self.of.known { std::slice::from_ref(&self.of.account) } else { self.of.origin.path() }
    }
}

/// Somebody's ticket; without it they aren't drawn.
pub(super) struct Holder {
    draws: Draws,
    pub(super) subject: Subject,
    number: u64,
    called: oneshot::Receiver<Attempt>,
}

impl Held {
    fn count(&mut self, known: bool) -> &mut usize {
        if known { &mut self.known } else { &mut self.strangers }
    }

    fn take(&mut self, subject: &Subject, number: u64) -> Option<Ticket> {
        let tickets = self.by.get_mut(subject)?;
        let at = tickets.iter().position(|ticket| ticket.number == number)?;
        let ticket = tickets.swap_remove(at);
        if tickets.is_empty() {
            self.by.remove(subject);
        }
        *self.count(ticket.of.known) -= 1;
        Some(ticket)
    }
}

impl Draws {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(Inner { held: Mutex::default(), wrong: Cache::new(WRONG), entropy }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one, which is an account's alone, was wrong.
    pub(super) fn was_wrong(&self, password: u64) {
        self.0.wrong.insert(password, ());
    }

    fn random(&self, below: usize) -> usize {
        let [a, b, c, d, ..] = self.0.entropy.bytes();
        let number = u32::from_le_bytes([a, b, c, d]) as usize;
        number.checked_rem(below).unwrap_or(0)
    }

    /// Holds somebody. If too many are held it is in place of any one of those who have the most.
    pub(super) fn hold(&self, subject: Subject, of: Try) -> Holder {
        let (call, called) = oneshot::channel();
        let mut held = self.held();
        held.number += 1;
        let number = held.number;
        let known = of.known;
        *held.count(known) += 1;
        held.by.entry(subject.clone()).or_default().push(Ticket { number, of, call });
        let too_much = if *held.count(known) > HELD { self.any_of_the_most(&mut held, known) } else { None };
        drop(held);
        drop(too_much);
        Holder { draws: self.clone(), subject, number, called }
    }

    /// Of those who are known any of the account with most, of strangers any of the network with most.
    fn any_of_the_most(&self, held: &mut Held, known: bool) -> Option<Ticket> {
        let all =
            held.by.iter().flat_map(|(subject, tickets)| tickets.iter().map(move |ticket| (subject, ticket)));
        let all: Vec<_> = all.filter(|(_, ticket)| ticket.of.known == known).collect();
        let paths: Vec<_> = all.iter().map(|(_, ticket)| ticket.path()).collect();
        let of_the_most =
            descend(&paths, |groups| groups.into_iter().map(|(_, all)| all).max_by_key(Vec::len));
        let (subject, ticket) = all.get(*of_the_most.get(self.random(of_the_most.len()))?)?;
        let (subject, number) = ((*subject).clone(), ticket.number);
        held.take(&subject, number)
    }

    /// When no wait is in the way of `me`: whether it is me who is next, among all who are held for what I would have
    /// had to wait for. If it is another they are called.
    pub(super) fn draw(&self, me: &Try, mine: Option<&Holder>, under_way: &UnderWay) -> Option<Attempt> {
        loop {
            let mut held = self.held();
            let mine = mine.map(|holder| holder.number);
            let tickets = me.waits_for().iter().filter_map(|subject| held.by.get(subject)).flatten();
            let others = tickets.filter(|ticket| Some(ticket.number) != mine);
            let all: Vec<_> =
                others.map(|ticket| (Some(ticket.number), &ticket.of)).chain([(None, me)]).collect();
            let contested = all.iter().any(|(_, of)| of.account == me.account && of.password != me.password);
            let drawn = self.one_of(&all);
            let Some(number) = drawn else {
                drop(held);
                return Some(Attempt::new(me.clone(), contested, under_way));
            };
            let subject = me.waits_for().iter().find(|subject| {
                held.by.get(subject).is_some_and(|all| all.iter().any(|ticket| ticket.number == number))
            });
            let ticket = subject.and_then(|subject| held.take(subject, number))?;
            drop(held);
            let attempt = Attempt::new(ticket.of, true, under_way);
            if ticket.call.send(attempt).is_ok() {
                return None;
            }
            // That one has left.
        }
    }

    /// Each network has one share, and in it each password.
    fn one_of(&self, all: &[(Option<u64>, &Try)]) -> Option<u64> {
        let fresh: Vec<_> =
            all.iter().filter(|(_, of)| self.0.wrong.get(&of.password).is_none()).copied().collect();
        let all = if fresh.is_empty() { all } else { &fresh };
        let paths: Vec<_> = all.iter().map(|(_, of)| of.origin.path()).collect();
        let there = descend(&paths, |mut groups| {
            (!groups.is_empty()).then(|| groups.swap_remove(self.random(groups.len())).1)
        });
        let there: Vec<_> = there.into_iter().filter_map(|index| all.get(index)).collect();
        let passwords: BTreeSet<u64> = there.iter().map(|(_, of)| of.password).collect();
        let password = passwords.iter().nth(self.random(passwords.len()))?;
        let (number, _) = there.iter().find(|(_, of)| of.password == *password)?;
        *number
    }
}

impl Holder {
    /// What one was called for, if one was.
    pub(super) fn called(&mut self) -> Option<Attempt> {
        self.called.try_recv().ok()
    }

    /// Waits to be called. `None` when others are held in one's place.
    pub(super) async fn call(&mut self) -> Option<Attempt> {
        (&mut self.called).await.ok()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let ticket = self.draws.held().take(&self.subject, self.number);
        drop(ticket);
    }
}

#[cfg(test)]
mod tests {
    use domain::throttle::{Origin, Scope};

    use super::*;
    use crate::session::Device;
    use crate::system::SystemEntropy;

    fn subject() -> Subject {
        (Scope::Anywhere, "alice".to_owned())
    }

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "198.51.100.1";

    fn asks(address: &str, password: u64) -> Try {
        let other = |scope| (scope, address.to_owned());
        Try {
            subjects: [other(Scope::Account), other(Scope::Address), subject()],
            account: "alice".to_owned(),
            origin: Origin::of(address.parse().ok()),
            device: Device::None,
            knows_device: false,
            known: false,
            was_here: false,
            password,
            before: 0,
        }
    }

    fn draws() -> Draws {
        Draws::new(Arc::new(SystemEntropy))
    }

    /// How often of a hundred times it is `me`, when these are held.
    fn hundred_times(draws: &Draws, me: &Try, others: &[Try]) -> usize {
        let under_way = UnderWay::default();
        let once = |_: &usize| {
            let _held: Vec<_> = others.iter().map(|other| draws.hold(subject(), other.clone())).collect();
            draws.draw(me, None, &under_way).is_some()
        };
        let mine = (0..100).filter(once).count();
        assert!(under_way.lock().expect("whole").is_empty() && draws.held().by.is_empty(), "nothing is left");
        let held = draws.held();
        assert_eq!((held.known, held.strangers), (0, 0));
        drop(held);
        mine
    }

    #[test]
    fn a08_networks_have_a_share_each_and_in_them_passwords() {
        let (draws, me) = (draws(), asks(HERE, 0));
        assert_eq!(hundred_times(&draws, &me, &[]), 100);
        let half = 20..80;
        assert!(half.contains(&hundred_times(&draws, &me, &vec![asks(HERE, 1); 40])), "one password");
        let many: Vec<_> = (1..40).map(|password| asks(THERE, password)).collect();
        assert!(half.contains(&hundred_times(&draws, &me, &many)), "one network");
        let many: Vec<_> = (1..40).map(|password| asks(HERE, password)).collect();
        assert!(hundred_times(&draws, &me, &many) < 20, "who guesses has connections");
        (1..40).for_each(|password| draws.was_wrong(password));
        assert_eq!(hundred_times(&draws, &me, &many), 100, "what was wrong lately is in nobody's way");
        draws.was_wrong(0);
        assert!(hundred_times(&draws, &me, &vec![asks(HERE, 1); 40]) > 20, "unless all were");
    }

    #[tokio::test]
    async fn a08_who_is_drawn_is_called_and_who_has_left_is_not() {
        let (draws, under_way) = (draws(), UnderWay::default());
        draws.was_wrong(0);
        let me = asks(HERE, 0);
        let mut one = draws.hold(subject(), asks(THERE, 1));
        drop(draws.hold(subject(), asks("203.0.113.1", 2)));
        assert!(draws.draw(&me, None, &under_way).is_none(), "another is");
        let called = one.call().await.expect("it");
        assert_eq!((called.of.origin.narrowest(), under_way.lock().expect("whole").len()), (THERE, 3));
        drop(one);
        drop(called);
        assert!(under_way.lock().expect("whole").is_empty());
        assert!(draws.draw(&me, None, &under_way).is_some());
    }

    #[tokio::test]
    async fn a08_no_more_are_held_than_there_is_room_for() {
        let draws = draws();
        let mut many: Vec<_> = (0..HELD).map(|_| draws.hold(subject(), asks(THERE, 1))).collect();
        let other = (Scope::Anywhere, "bob".to_owned());
        let mut one = draws.hold(other, asks(HERE, 1));
        let told = many.iter_mut().filter_map(|holder| holder.called.try_recv().err());
        assert_eq!(told.filter(|error| *error == oneshot::error::TryRecvError::Closed).count(), 1);
        assert_eq!(one.called.try_recv().err(), Some(oneshot::error::TryRecvError::Empty), "who came last");
        drop(many);
        drop(one);
        assert_eq!(draws.held().strangers, 0);
    }

    /// U4: who guesses at one account has most of what waits for it, and still only their own network's place.
    #[tokio::test]
    async fn a08_r18_it_is_in_place_of_one_of_the_network_that_has_most() {
        let draws = draws();
        let mut here = draws.hold(subject(), asks(HERE, 1));
        let from = |number: usize| asks(&format!("198.51.{}.{}", number / 250, number % 250), 2);
        let many: Vec<_> = (0..3 * HELD).map(|number| draws.hold(subject(), from(number))).collect();
        assert_eq!(
            here.called.try_recv().err(),
            Some(oneshot::error::TryRecvError::Empty),
            "as much as they like"
        );
        drop(many);
    }
}
