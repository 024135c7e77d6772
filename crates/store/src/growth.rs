//! What accounts have used of their allowance in the audit log ([`Allowance`], X4). In memory: whoever could start the master
//! anew to forget it could write into the database, too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::audit::{Allowance, Spender};
use domain::time::Timestamp;

use crate::{Store, StoreError};

/// Accounts that are remembered before those are looked for that have all of theirs again.
const MANY: usize = 4096;

/// What is used.
#[derive(Debug, Default)]
pub(crate) struct Growth(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    allowance: Allowance,
    used: HashMap<Spender, Timestamp>,
}

impl Growth {
    fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses who has used up theirs.
    pub(crate) fn ask(&self, spender: Spender, now: Timestamp) -> Result<(), StoreError> {
        let wait = self.with(|ledger| ledger.allowance.wait(*ledger.used.get(&spender)?, now));
        let whole = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        wait.map_or(Ok(()), |wait| Err(StoreError::TooFast { seconds: whole(wait) }))
    }

    /// Notes what somebody has used.
    pub(crate) fn spend(&self, spender: Spender, bytes: usize, now: Timestamp) {
        self.with(|ledger| {
            if ledger.used.len() > MANY {
                ledger.used.retain(|_, used| *used > now);
            }
            let used = ledger.used.entry(spender).or_default();
            *used = ledger.allowance.spend(*used, bytes, now);
        });
    }
}

impl Store {
    /// How much one account may make the audit log grow; there is no bound without this.
    pub fn limit_growth(&self, allowance: Allowance) {
        self.growth.with(|ledger| ledger.allowance = allowance);
    }

    /// Whether somebody may make an entry now, asked before any work is done for it; [`crate::Tx::commit`] asks all the same.
    ///
    /// # Errors
    /// [`StoreError::TooFast`].
    pub fn may_grow(&self, spender: Spender, now: Timestamp) -> Result<(), StoreError> {
        self.growth.ask(spender, now)
    }
}
