//! Guards passwords against guessing: counts failed logins by account and by address, across restarts (R18).

use std::net::IpAddr;
use std::sync::Arc;

use domain::throttle::{FORGOTTEN_AFTER, Scope};
use store::Store;
use store::login_failure as failures;

use crate::system::Clock;
use crate::{Error, secret};

/// Counts failed logins.
#[derive(Clone)]
pub(crate) struct Throttle {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// A login that is under way. It counts as failed until it is settled, so that many at once count as many.
#[derive(Debug)]
pub(crate) struct Attempt {
    account: String,
    address: String,
}

/// IPv6 hosts choose among 2⁶⁴ addresses of their network, so that counts as one.
pub(crate) fn address_key(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        None => "unknown".to_owned(),
    }
}

impl Throttle {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Before a password is looked at: refuses who has to wait, else counts the attempt.
    pub(crate) async fn begin(&self, username: &str, address: Option<IpAddr>) -> Result<Attempt, Error> {
        let address = address_key(address);
        let account = format!("{} from {address}", secret::digest(username));
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        for (scope, subject) in [(Scope::Account, &account), (Scope::Address, &address)] {
            let known = failures::get(&mut tx, scope, subject).await?;
            if let Some(wait) = known.and_then(|known| known.wait(scope, now)) {
                return Err(Error::Throttled { seconds: wait.as_secs() + 1 });
            }
            failures::add(&mut tx, scope, subject, now).await?;
        }
        tx.commit_unaudited("the refusal itself is noted").await?;
        Ok(Attempt { account, address })
    }

    /// The password was right: the row of failures is over. The address keeps what it had before.
    pub(crate) async fn succeeded(&self, attempt: Attempt) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        failures::clear(&mut tx, Scope::Account, &attempt.account).await?;
        failures::take_back(&mut tx, Scope::Address, &attempt.address).await?;
        tx.commit_unaudited("the refusal itself is noted").await?;
        Ok(())
    }

    /// The password was not looked at after all.
    pub(crate) async fn abandoned(&self, attempt: Attempt) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        failures::take_back(&mut tx, Scope::Account, &attempt.account).await?;
        failures::take_back(&mut tx, Scope::Address, &attempt.address).await?;
        tx.commit_unaudited("the refusal itself is noted").await?;
        Ok(())
    }

    /// Forgets what is long ago.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        let age = i64::try_from(FORGOTTEN_AFTER.as_micros()).unwrap_or(i64::MAX);
        let before = domain::time::Timestamp(self.clock.now().0.saturating_sub(age));
        let mut tx = self.store.write().await?;
        failures::delete_old(&mut tx, before).await?;
        tx.commit_unaudited("the refusal itself is noted").await?;
        Ok(())
    }
}
