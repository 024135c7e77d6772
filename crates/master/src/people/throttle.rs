//! Guards passwords against guessing: counts failed logins by account and address together, and more loosely by each
//! alone, across restarts (R18). Who has logged in from an address before isn't stopped by others' failures (A8), and who
//! has to wait isn't kept out by who comes first: when the wait is over one of all who are held is drawn.

mod attempt;
mod draw;
mod gate;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::id::SessionId;
use domain::throttle::{
    FORGOTTEN_AFTER, Failures, HELD, Origin, PLACE_FORGOTTEN_AFTER, Scope, come_again_in,
};
use domain::time::Timestamp;
use quick_cache::sync::Cache;
use store::login_failure as failures;
use store::{Conn, Store, Tx};

pub(crate) use self::attempt::Attempt;
use self::attempt::{Subject, Try, UnderWay};
use self::draw::{Draws, Holder};
use self::gate::Gate;
use crate::password::{Lane, Presented};
use crate::session::{Device, Visitor};
use crate::system::{Clock, Entropy};
use crate::unbroken::while_there;
use crate::{Error, secret};

/// Programs of one account that are known by what they were given at a login; of more, the ones that were seen last.
const DEVICES: i64 = 50;

/// Accounts at places where they are known, that were seen since the start.
const SEEN: usize = 20_000;

/// Counts failed logins.
#[derive(Clone)]
pub(crate) struct Throttle {
    store: Store,
    clock: Arc<dyn Clock>,
    gate: Gate,
    draws: Draws,
    under_way: UnderWay,
    /// Who goes to the gate with those who are known. The database says who is.
    seen: Arc<Cache<u64, ()>>,
    /// Tells accounts, places and passwords from each other as long as the master runs.
    marks: RandomState,
}

/// A device among the places from which an account has logged in.
const DEVICE: &str = "device ";

/// What failures are counted by and logins remembered, and what has a share of the turns.
pub(crate) fn origin(visitor: &Visitor) -> Origin {
    visitor.uid.map_or_else(|| Origin::of(visitor.address), Origin::local)
}

/// Somebody who wants to log in.
struct Asks<'a> {
    username: &'a str,
    password: &'a Presented,
    visitor: &'a Visitor,
    /// What they hold of the account, if they do.
    session: Option<SessionId>,
}

impl Throttle {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (gate, draws, under_way) = (Gate::default(), Draws::new(entropy), UnderWay::default());
        let (seen, marks) = (Arc::new(Cache::new(SEEN)), RandomState::new());
        Self { store, clock, gate, draws, under_way, seen, marks }
    }

    /// Before a password is looked at: counts the attempt. Who has to wait is held for some seconds, and refused if that
    /// isn't enough or others were drawn.
    ///
    /// `session` is what whoever asks holds of the account, if it is that: its failures are counted by themselves, and so
    /// are those of a device from which it has logged in.
    pub(crate) async fn begin(
        &self,
        username: &str,
        password: &Presented,
        visitor: &Visitor,
        session: Option<SessionId>,
    ) -> Result<Attempt, Error> {
        let asks = Asks { username, password, visitor, session };
        let lane = self.lane_at_the_gate(&asks);
        let patience = self.clock.now().plus(HELD);
        let (mut found, mut holder): (Option<Try>, Option<Holder>) = (None, None);
        loop {
            let pass = self.gate.pass(lane.clone()).await?;
            if let Some(attempt) = holder.as_mut().and_then(Holder::called) {
                return Ok(attempt);
            }
            let mut conn = self.store.read().await?;
            let me = match &mut found {
                Some(me) => me,
                None => found.insert(self.recognise(&mut conn, &asks).await?),
            };
            let wait = self.wait(&mut conn, me).await?;
            drop(conn);
            let Some((subject, wait)) = wait else {
                if let Some(attempt) = self.draws.draw(me, holder.as_ref(), &self.under_way) {
                    return Ok(attempt);
                }
                continue;
            };
            let then = self.clock.now().plus(wait);
            if then > patience {
                return Err(Error::Throttled { seconds: come_again_in(wait) });
            }
            let mine = match holder.take() {
                Some(mine) if mine.subject == subject => mine,
                other => {
                    drop(other);
                    self.draws.hold(subject, me.clone())
                }
            };
            drop(pass);
            let mine = holder.insert(mine);
            let time = async {
                tokio::select! {
                    called = mine.call() => Some(called),
                    () = self.clock.until(then) => None,
                }
            };
            let throttled = || Error::Throttled { seconds: come_again_in(wait) };
            match while_there(time).await {
                Some(Some(called)) => return called.ok_or_else(throttled),
                Some(None) if self.clock.now() >= then => {}
                Some(None) | None => return Err(throttled()),
            }
        }
    }

    /// With whom somebody waits to be judged: only a hint, for nobody is looked up for it.
    fn lane_at_the_gate(&self, asks: &Asks<'_>) -> Lane {
        let account = secret::digest(asks.username);
        let origin = origin(asks.visitor);
        let device = asks.visitor.device.shown().map(|digest| format!("{DEVICE}{digest}"));
        let seen = |place: &str| self.seen.get(&self.marks.hash_one((&account, place))).is_some();
        if asks.session.is_some() || device.as_deref().is_some_and(seen) || seen(origin.narrowest()) {
            Lane::Known(account)
        } else {
            Lane::Stranger(origin)
        }
    }

    /// Who it is that asks, and what their failures count for.
    async fn recognise(&self, conn: &mut Conn, asks: &Asks<'_>) -> Result<Try, Error> {
        let origin = origin(asks.visitor);
        let address = origin.narrowest().to_owned();
        let account = secret::digest(asks.username);
        let device = asks.visitor.device.shown().map(|digest| format!("{DEVICE}{digest}"));
        let device = match device {
            Some(device) if failures::is_known_place(conn, &account, &device).await? => Some(device),
            _ => None,
        };
        let own = asks.session.map(|id| format!("session {id}")).or_else(|| device.clone());
        let was_here = match &own {
            Some(_) => device.is_some(),
            None => failures::is_known_place(conn, &account, &address).await?,
        };
        if was_here {
            self.is_known(&account, device.as_deref().unwrap_or(&address));
        }
        let subjects = [
            (Scope::Account, format!("{account} from {}", own.as_ref().unwrap_or(&address))),
            (Scope::Address, address),
            (Scope::Anywhere, account.clone()),
        ];
        Ok(Try {
            subjects,
            password: self.marks.hash_one((&account, asks.password.secret())),
            account,
            origin,
            device: asks.visitor.device.clone(),
            knows_device: device.is_some(),
            known: own.is_some() || was_here,
            was_here,
            before: 0,
        })
    }

    fn is_known(&self, account: &str, place: &str) {
        self.seen.insert(self.marks.hash_one((account, place)), ());
    }

    /// What somebody has to wait for the longest, and how long that is.
    async fn wait(&self, conn: &mut Conn, me: &mut Try) -> Result<Option<(Subject, Duration)>, Error> {
        // Looked at before the database: one that fails in between is counted twice rather than not at all.
        let now_under_way = {
            let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            me.subjects.each_ref().map(|subject| under_way.get(subject).copied().unwrap_or(0))
        };
        let now = self.clock.now();
        let mut longest: Option<(Subject, Duration)> = None;
        for (subject, under_way) in me.waits_for().to_vec().iter().zip(now_under_way) {
            let (scope, name) = subject;
            let failed = failures::get(conn, *scope, name).await?;
            let failed = failed.unwrap_or(Failures { count: 0, last_at: now });
            if *scope == Scope::Account {
                me.before = failed.count;
            }
            let last_at = if under_way > 0 { now } else { failed.last_at };
            let all = Failures { count: failed.count.saturating_add(under_way), last_at };
            let wait = match scope {
                Scope::Account if me.was_here => all.wait_where_known(now),
                scope => all.wait(*scope, now),
            };
            if let Some(wait) = wait
                && longest.as_ref().is_none_or(|(_, longest)| wait > *longest)
            {
                longest = Some((subject.clone(), wait));
            }
        }
        Ok(longest)
    }

    /// The password was wrong.
    pub(crate) async fn failed(&self, attempt: Attempt) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.store.write_urgent().await?;
        self.draws.was_wrong(attempt.of.password);
        for (scope, subject) in &attempt.of.subjects {
            failures::add(&mut tx, *scope, subject, now).await?;
        }
        tx.commit_unaudited("the refusal itself is noted").await?;
        Ok(())
    }

    /// The password was right: the account's row of failures from there is over, and from now on it is known there. The
    /// address by itself and the account by itself keep what they had. Answers what the device is to show from now on: a
    /// new secret of its own, so that nobody is known by what somebody else put there.
    pub(crate) async fn succeeded(
        &self,
        tx: &mut Tx,
        attempt: &Attempt,
        entropy: &dyn Entropy,
    ) -> Result<Option<String>, Error> {
        let now = self.clock.now();
        let Try { subjects: [(scope, subject), ..], account, origin, device, knows_device, .. } = &attempt.of;
        // Those that came meanwhile are still under way, or wrong guesses of somebody else; and who guesses there now isn't
        // given new ones by it.
        if attempt.of.before > 0 && !attempt.contested {
            failures::clear(tx, *scope, subject).await?;
        }
        failures::add_place(tx, account, origin.narrowest(), now).await?;
        self.is_known(account, origin.narrowest());
        let device = match device {
            Device::None => return Ok(None),
            Device::Shown(digest) if *knows_device => digest.clone(),
            Device::Shown(_) | Device::New => {
                let token = secret::token(entropy, "mud");
                let digest = secret::digest(&token);
                failures::add_place(tx, account, &format!("{DEVICE}{digest}"), now).await?;
                failures::delete_oldest_places(tx, account, DEVICE, DEVICES).await?;
                return Ok(Some(token));
            }
        };
        failures::add_place(tx, account, &format!("{DEVICE}{device}"), now).await?;
        Ok(None)
    }

    /// As [`Self::succeeded`], where nothing else changes.
    pub(crate) async fn settle(&self, attempt: Attempt, entropy: &dyn Entropy) -> Result<(), Error> {
        let mut tx = self.store.write_urgent().await?;
        self.succeeded(&mut tx, &attempt, entropy).await?;
        tx.commit_unaudited("a right password forgets the wrong ones").await?;
        Ok(())
    }

    /// Forgets what is long ago.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let before = |age: Duration| {
            Timestamp(now.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
        };
        let mut tx = self.store.write_urgent().await?;
        failures::delete_old(&mut tx, before(FORGOTTEN_AFTER)).await?;
        failures::delete_old_places(&mut tx, before(PLACE_FORGOTTEN_AFTER)).await?;
        tx.commit_unaudited("what is long ago is forgotten").await?;
        Ok(())
    }
}
