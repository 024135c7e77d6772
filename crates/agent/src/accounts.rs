//! The highest number of an account whose task ran here. What a task leaves on the machine's disks is an id's that goes by
//! its account's number: a master of which a back-up was restored must not give that number to somebody else (P2).

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use domain::id::UserId;

use crate::data_dir::write_file;

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Accounts {
    file: PathBuf,
    /// By the master's key: another one has accounts of its own.
    known: Mutex<Option<(String, i64)>>,
}

impl Accounts {
    /// What the file says; nothing when it says nothing.
    pub(crate) fn open(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let known =
            text.trim().split_once(' ').and_then(|(master, id)| Some((master.to_owned(), id.parse().ok()?)));
        Self { file, known: Mutex::new(known) }
    }

    /// The highest of this master's.
    pub(crate) fn highest(&self, master: &str) -> Option<UserId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(of, _)| of == master).map(|(_, id)| UserId(*id))
    }

    /// A task of that account is about to run. Blocks, where that is new.
    pub(crate) fn seen(&self, master: &str, account: UserId) {
        if self.highest(master).is_some_and(|highest| highest >= account) {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((master.to_owned(), account.0));
        // The next start tries again to have it remembered by the next agent, too.
        if let Err(error) = write_file(&self.file, format!("{master} {account}\n").as_bytes()) {
            tracing::warn!("{} can't be written: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r45_an_agent_remembers_the_highest_account_of_its_master() {
        let temp = tempfile::tempdir().expect("temp dir");
        let file = temp.path().join("accounts");
        let accounts = Accounts::open(file.clone());
        assert_eq!(accounts.highest("one"), None);
        for id in [3, 7, 5] {
            accounts.seen("one", UserId(id));
        }
        assert_eq!(Accounts::open(file.clone()).highest("one"), Some(UserId(7)));
        assert_eq!(Accounts::open(file.clone()).highest("two"), None);
        accounts.seen("two", UserId(2));
        assert_eq!(Accounts::open(file).highest("two"), Some(UserId(2)));
    }
}
