//! What accounts have used of their allowance in the database ([`Allowance`], KX4, A4): all bytes that their commits add for good,
//! in the audit log and in every other table ([`Tx::adds`]). In memory: whoever could start the master anew to forget it could
//! write into the database, too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::audit::{Allowance, Spender};
use domain::time::Timestamp;

use crate::{Store, StoreError, Tx};

/// What a row takes beside its texts, about, in bytes: its numbers, and what it is found by.
pub(crate) const ROW: usize = 512;

/// Accounts that are remembered before those are looked for that have all of theirs again.
const MANY: usize = 4096;

/// A clock that is behind by more than this was set back; by less, it was read a moment ago.
const SET_BACK: Duration = Duration::from_secs(60);

/// What is used.
#[derive(Debug, Default)]
pub(crate) struct Growth(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    allowance: Allowance,
    used: HashMap<Spender, Timestamp>,
    /// The latest time that was told.
    latest: Timestamp,
}

impl Ledger {
    /// Who has used something when the clock is set back has used no more than that.
    fn at(&mut self, now: Timestamp) {
        let back = self.latest.since(now);
        if back > SET_BACK {
            let back = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
            self.used.values_mut().for_each(|used| *used = Timestamp(used.0.saturating_sub(back)));
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }
}

impl Growth {
    fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses who has used up theirs.
    pub(crate) fn ask(&self, spender: Spender, now: Timestamp) -> Result<(), StoreError> {
        let wait = self.with(|ledger| {
            ledger.at(now);
            ledger.allowance.wait(*ledger.used.get(&spender)?, now)
        });
        let whole = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        wait.map_or(Ok(()), |wait| Err(StoreError::TooFast { seconds: whole(wait) }))
    }

    /// Notes what somebody has used.
    pub(crate) fn spend(&self, spender: Spender, bytes: usize, now: Timestamp) {
        self.with(|ledger| {
            ledger.at(now);
            if ledger.used.len() > MANY {
                ledger.used.retain(|_, used| *used > now);
            }
            let used = ledger.used.entry(spender).or_default();
            *used = ledger.allowance.spend(*used, bytes, now);
        });
    }
}

impl Store {
    /// How much one account may make the database grow; there is no bound without this.
    pub fn limit_growth(&self, allowance: Allowance) {
        self.growth.with(|ledger| ledger.allowance = allowance);
    }

    /// Whether somebody may change something now, asked before any work is done for it; [`crate::Tx::commit`] asks all the same.
    ///
    /// # Errors
    /// [`StoreError::TooFast`].
    pub fn may_grow(&self, spender: Spender, now: Timestamp) -> Result<(), StoreError> {
        self.growth.ask(spender, now)
    }
}

impl Tx {
    /// Notes that a row is added for good, with texts of so many bytes: whoever inserts one says so, and [`Tx::commit`] has the
    /// account pay for it.
    pub(crate) fn adds(&mut self, texts: usize) {
        self.replaces(texts);
        self.added = self.added.saturating_add(ROW);
    }

    /// The same of a row that is there: its texts are replaced.
    pub(crate) fn replaces(&mut self, texts: usize) {
        self.added = self.added.saturating_add(texts);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::id::UserId;

    use super::*;

    /// Tables that no account makes grow by its changes, and why.
    const OTHERWISE: [&str; 11] = [
        "audit",              // counted by what `append` answers
        "reserve",            // holds nothing
        "schema_version",     // the program's own
        "schema_checksums",   // the program's own
        "meta",               // the program's own
        "counters",           // a row for each kind
        "agents",             // an administrator's
        "revoked_agent_keys", // an administrator's
        "invitations",        // of agents: an administrator's
        "login_failures",     // forgotten after a time, and bounded by addresses
        "login_places",       // forgotten after a time
    ];

    /// Each source of this crate.
    fn sources(folder: &Path) -> Vec<String> {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.expect("entry").path();
            if path.is_dir() { sources(&path) } else { vec![std::fs::read_to_string(path).expect("text")] }
        };
        std::fs::read_dir(folder).expect("sources").flat_map(read).collect()
    }

    /// What `table!` adds is paid for in `Table::insert`, which is one of these.
    #[test]
    fn a04_who_adds_a_row_says_how_much_that_is() {
        let mut inserts = 0;
        for text in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
            let functions = text.split("\n}\n").filter(|function| !function.contains("fn a04_"));
            for function in functions.filter(|function| !function.contains("#[cfg(test)]")) {
                for insert in function.split("INSERT INTO ").skip(1) {
                    let table = insert.split(' ').next().unwrap_or_default();
                    let counts = function.contains("tx.adds(");
                    assert!(
                        counts || OTHERWISE.contains(&table),
                        "{table} grows, and nobody pays: {function}"
                    );
                    inserts += 1;
                }
            }
        }
        assert!(inserts >= 15, "{inserts}");
    }

    #[test]
    fn r47_a_clock_that_is_set_back_keeps_nobody_waiting() {
        let (growth, who) = (Growth::default(), Spender::Change(UserId(7)));
        growth.with(|ledger| ledger.allowance = Allowance(1 << 20));
        let now = Timestamp(1_000_000_000_000_000);
        growth.spend(who, 1 << 19, now);
        let Err(StoreError::TooFast { seconds }) = growth.ask(who, now) else {
            panic!("half a day's at once")
        };
        let earlier = Timestamp(now.0 - 30 * 24 * 3_600_000_000);
        let Err(StoreError::TooFast { seconds: then }) = growth.ask(who, earlier) else {
            panic!("as before")
        };
        assert_eq!(then, seconds);
        let later = earlier.plus(Duration::from_secs(seconds));
        assert!(growth.ask(who, later).is_ok());
    }
}
