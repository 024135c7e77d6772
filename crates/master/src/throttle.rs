//! Guards passwords against guessing: counts failed logins by account and address together, and more loosely by each
//! alone, across restarts (R18). Who has logged in from an address before isn't stopped by others' failures (A8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::throttle::{FORGOTTEN_AFTER, Failures, PLACE_FORGOTTEN_AFTER, Scope, address_key};
use domain::time::Timestamp;
use store::login_failure as failures;
use store::{Store, Tx};

use domain::id::SessionId;

use crate::password::Lane;
use crate::session::{Device, Visitor};
use crate::system::{Clock, Entropy};
use crate::{Error, secret};

/// Programs of one account that are known by what they were given at a log-in; of more, the ones that were seen last.
const DEVICES: i64 = 50;

/// Counts failed logins.
#[derive(Clone)]
pub(crate) struct Throttle {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Attempts begin one after the other.
    gate: Arc<tokio::sync::Mutex<()>>,
    under_way: Arc<Mutex<HashMap<(Scope, String), i64>>>,
}

/// A login that is under way. Until it is over it counts as a failure, so that many at once count as many.
pub(crate) struct Attempt {
    /// What it counts for when it fails; the account from the address comes first.
    subjects: [(Scope, String); 3],
    /// Digest of the account's name.
    account: String,
    address: String,
    device: Device,
    /// The account has logged in with it before.
    knows_device: bool,
    /// Its owner is logged in, or has logged in from there before.
    known: bool,
    /// Failures of the account from the address before this one.
    before: i64,
    under_way: Arc<Mutex<HashMap<(Scope, String), i64>>>,
}

impl Attempt {
    /// With whom its password waits to be looked at.
    pub(crate) fn lane(&self) -> Lane {
        if self.known { Lane::Known(self.account.clone()) } else { Lane::Strangers }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &self.subjects {
            let left = under_way.get_mut(subject).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left <= 0 {
                under_way.remove(subject);
            }
        }
    }
}

/// A device among the places from which an account has logged in.
const DEVICE: &str = "device ";

/// What failures are counted by and log-ins remembered: the address, and for programs of this machine their Unix user,
/// who is somebody else than the other users of the machine, whichever of its addresses is used (W12).
fn place_key(visitor: &Visitor) -> String {
    match visitor.uid {
        Some(uid) => format!("uid {uid} of this machine"),
        None => address_key(visitor.address),
    }
}

impl Throttle {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, gate: Arc::default(), under_way: Arc::default() }
    }

    /// Before a password is looked at: refuses who has to wait, else counts the attempt.
    ///
    /// `session` is what whoever asks holds of the account, if it is that: its failures are counted by themselves, and so
    /// are those of a device from which it has logged in.
    pub(crate) async fn begin(
        &self,
        username: &str,
        visitor: &Visitor,
        session: Option<SessionId>,
    ) -> Result<Attempt, Error> {
        let address = place_key(visitor);
        let account = secret::digest(username);
        let _gate = self.gate.lock().await;
        let mut conn = self.store.read().await?;
        let device = visitor.device.shown().map(|digest| format!("{DEVICE}{digest}"));
        let device = match device {
            Some(device) if failures::is_known_place(&mut conn, &account, &device).await? => Some(device),
            _ => None,
        };
        let own = session.map(|id| format!("session {id}")).or_else(|| device.clone());
        let was_here = match &own {
            Some(_) => device.is_some(),
            None => failures::is_known_place(&mut conn, &account, &address).await?,
        };
        let known = own.is_some() || was_here;
        let subjects = [
            (Scope::Account, format!("{account} from {}", own.as_ref().unwrap_or(&address))),
            (Scope::Address, address.clone()),
            (Scope::Anywhere, account.clone()),
        ];
        // Looked at before the database: one that fails in between is counted twice rather than not at all.
        let now_under_way = {
            let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            subjects.each_ref().map(|subject| under_way.get(subject).copied().unwrap_or(0))
        };
        let now = self.clock.now();
        let mut before = 0;
        for ((scope, subject), under_way) in subjects.iter().zip(now_under_way) {
            let failed = failures::get(&mut conn, *scope, subject).await?;
            let failed = failed.unwrap_or(Failures { count: 0, last_at: now });
            if *scope == Scope::Account {
                before = failed.count;
            } else if known {
                continue;
            }
            let last_at = if under_way > 0 { now } else { failed.last_at };
            let all = Failures { count: failed.count.saturating_add(under_way), last_at };
            let wait = match scope {
                Scope::Account if was_here => all.wait_where_known(now),
                scope => all.wait(*scope, now),
            };
            if let Some(wait) = wait {
                return Err(Error::Throttled { seconds: wait.as_secs() + 1 });
            }
        }
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &subjects {
            *under_way.entry(subject.clone()).or_default() += 1;
        }
        let (device, knows_device) = (visitor.device.clone(), device.is_some());
        let under_way = Arc::clone(&self.under_way);
        Ok(Attempt { subjects, account, address, device, knows_device, known, before, under_way })
    }

    /// The password was wrong.
    pub(crate) async fn failed(&self, attempt: Attempt) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.store.write_urgent().await?;
        for (scope, subject) in &attempt.subjects {
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
        let [(scope, account), ..] = &attempt.subjects;
        // Those that came meanwhile are still under way, or wrong guesses of somebody else.
        if attempt.before > 0 {
            failures::clear(tx, *scope, account).await?;
        }
        failures::add_place(tx, &attempt.account, &attempt.address, now).await?;
        let device = match &attempt.device {
            Device::None => return Ok(None),
            Device::Shown(digest) if attempt.knows_device => digest.clone(),
            Device::Shown(_) | Device::New => {
                let token = secret::token(entropy, "mud");
                let digest = secret::digest(&token);
                failures::add_place(tx, &attempt.account, &format!("{DEVICE}{digest}"), now).await?;
                failures::delete_oldest_places(tx, &attempt.account, DEVICE, DEVICES).await?;
                return Ok(Some(token));
            }
        };
        failures::add_place(tx, &attempt.account, &format!("{DEVICE}{device}"), now).await?;
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
