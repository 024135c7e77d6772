//! An entry in its place in the log: each holds the digest of the one before, so that whoever has the last digest can tell
//! whether any entry was changed. What a rule removed is the oldest ones, and an entry behind them says how many.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{By, Entry, Outcome, Who};
use crate::time::Timestamp;

/// An entry in its place. Its JSON, fields in this order, is what the digest is taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub seq: i64,
    /// RFC 3339.
    pub at: String,
    /// Who really acted.
    pub actor: Who,
    /// As whom.
    #[serde(rename = "as")]
    pub acts_as: Option<Who>,
    /// What they proved it with, or why the system acted.
    pub via: String,
    /// From where; empty when it isn't known.
    pub address: String,
    /// `noun.verb`.
    pub action: String,
    /// What it was done to.
    pub target: Who,
    /// What was there before; null when nothing was.
    pub before: Value,
    /// What is there afterwards; null when nothing is.
    pub after: Value,
    /// How it ended.
    pub result: Outcome,
    /// Why it was refused.
    pub reason: String,
    /// Digest of the record before it; 64 zeros for the first.
    pub previous: String,
}

/// What the first record has in place of the digest of one before it.
pub const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Record {
    /// Gives an entry its place.
    #[must_use]
    pub fn of(entry: &Entry, seq: i64, at: Timestamp, previous: &str) -> Self {
        Self {
            seq,
            at: at.rfc3339(),
            actor: entry.by.actor(),
            acts_as: entry.by.acts_as(),
            via: entry.by.via(),
            address: entry.by.address().map(|address| address.to_canonical().to_string()).unwrap_or_default(),
            action: entry.action.to_owned(),
            target: entry.target.clone(),
            before: entry.before.clone(),
            after: entry.after.clone(),
            result: entry.result,
            reason: entry.reason.clone(),
            previous: previous.to_owned(),
        }
    }

    /// Its text. Two records that are equal have the same.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The digest of a record's text: SHA-256, hexadecimal. The text names the record before, so that the digest stands for
/// all of them.
#[must_use]
pub fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A place where the log isn't what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The text can't be read.
    #[error("entry {seq} can't be read")]
    Unreadable {
        /// The entry's number.
        seq: i64,
    },
    /// Entries are missing or in another order.
    #[error("entry {expected} is missing: {found} follows in its place")]
    Missing {
        /// The number that should follow.
        expected: i64,
        /// The number that does.
        found: i64,
    },
    /// The text isn't what the digest was taken of.
    #[error("entry {seq} was changed: its digest doesn't fit")]
    Changed {
        /// The entry's number.
        seq: i64,
    },
    /// The oldest are missing.
    #[error("entries 1 to {upto} are missing, and no entry says that they were removed")]
    Beheaded {
        /// The last of them.
        upto: i64,
    },
    /// It doesn't name the digest of the one before it.
    #[error("entry {seq} doesn't follow the one before it: something before it was replaced")]
    Unchained {
        /// The entry's number.
        seq: i64,
    },
}

/// The oldest entries of a log, which were removed; the entry that says so ([`Cut::entry`]) is in the log behind them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Number of the last of them.
    pub upto: i64,
    /// Its digest, which the first entry that is left names.
    pub digest: String,
}

/// What the entry of a cut says was done.
const CUT: &str = "audit.cut";

impl Cut {
    /// What tells of it in the log.
    #[must_use]
    pub fn entry(&self, by: &By) -> Entry {
        let entry = Entry::done(by, CUT, Who::named("audit log", &"", ""));
        entry.removed(json!({ "upto": self.upto, "digest": self.digest }))
    }

    fn of(record: &Record) -> Option<Self> {
        let is_cut = record.action == CUT && record.result == Outcome::Done && record.actor.kind == "system";
        is_cut.then(|| Self::deserialize(&record.before).ok()).flatten()
    }
}

/// Goes through a log from its beginning, or from where it was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Number of the last entry so far.
    pub count: i64,
    /// Its digest: noted elsewhere, it proves that nothing up to here was changed since.
    pub head: String,
    /// What isn't there of its beginning.
    cut: Option<Cut>,
    /// An entry says so.
    told: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Self { count: 0, head: BEGINNING.to_owned(), cut: None, told: false }
    }
}

impl Chain {
    /// Checks the next one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn follow(&mut self, text: &str, hash: &str) -> Result<Record, Broken> {
        let expected = self.count + 1;
        let record: Record = serde_json::from_str(text).map_err(|_| Broken::Unreadable { seq: expected })?;
        let seq = record.seq;
        if self.count == 0 && seq > 1 {
            self.count = seq - 1;
            record.previous.clone_into(&mut self.head);
            self.cut = Some(Cut { upto: self.count, digest: self.head.clone() });
        } else if seq != expected {
            return Err(Broken::Missing { expected, found: seq });
        }
        if digest(text) != hash {
            return Err(Broken::Changed { seq });
        }
        if record.previous != self.head {
            return Err(Broken::Unchained { seq });
        }
        self.count = seq;
        hash.clone_into(&mut self.head);
        self.told |= self.cut.is_some() && Cut::of(&record) == self.cut;
        Ok(record)
    }

    /// How many of the oldest entries aren't there. They were removed by a rule, if [`Self::whole`] says so.
    #[must_use]
    pub fn removed(&self) -> i64 {
        self.cut.as_ref().map_or(0, |cut| cut.upto)
    }

    /// Checks, at the end of the log, that what isn't there of its beginning was removed by the log's own word.
    ///
    /// # Errors
    /// When no entry says so.
    pub fn whole(&self) -> Result<(), Broken> {
        match &self.cut {
            Some(Cut { upto, .. }) if !self.told => Err(Broken::Beheaded { upto: *upto }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::System;

    fn log(count: i64) -> Vec<(String, String)> {
        let mut previous = BEGINNING.to_owned();
        let entry = |n: i64| {
            Entry::done(&System::at_start().by("test"), "user.create", Who::named("user", &n, "x"))
                .changed(json!({"a": 1, "b": n}), json!({"a": 1, "b": n + 1}))
        };
        let mut lines = Vec::new();
        for seq in 1..=count {
            let text = Record::of(&entry(seq), seq, Timestamp(seq), &previous).text();
            previous = digest(&text);
            lines.push((text, previous.clone()));
        }
        lines
    }

    fn verify(lines: &[(String, String)]) -> Result<Chain, Broken> {
        let mut chain = Chain::default();
        for (text, hash) in lines {
            chain.follow(text, hash)?;
        }
        chain.whole()?;
        Ok(chain)
    }

    #[test]
    fn an_untouched_log_verifies() {
        let lines = log(5);
        let chain = verify(&lines).expect("sound");
        assert_eq!((chain.count, chain.head), (5, lines[4].1.clone()));
    }

    #[test]
    fn whatever_is_done_to_it_shows() {
        let mut changed = log(5);
        changed[2].0 = changed[2].0.replace("user.create", "user.delete");
        assert_eq!(verify(&changed), Err(Broken::Changed { seq: 3 }));
        changed[2].1 = digest(&changed[2].0);
        assert_eq!(verify(&changed), Err(Broken::Unchained { seq: 4 }));
        let mut cut = log(5);
        cut.remove(1);
        assert_eq!(verify(&cut), Err(Broken::Missing { expected: 2, found: 3 }));
        let mut swapped = log(5);
        swapped.swap(0, 1);
        assert!(verify(&swapped).is_err());
        let mut garbled = log(5);
        garbled[0].0.push('x');
        assert_eq!(verify(&garbled), Err(Broken::Unreadable { seq: 1 }));
    }

    #[test]
    fn what_was_removed_by_a_rule_is_told_by_what_is_left() {
        let by = System::at_start().by("retention.audit_days");
        let mut lines = log(5);
        let cut = Cut { upto: 3, digest: lines[2].1.clone() };
        let text = Record::of(&cut.entry(&by), 6, Timestamp(6), &lines[4].1).text();
        lines.push((text.clone(), digest(&text)));
        assert_eq!(verify(&lines).map(|chain| chain.removed()), Ok(0), "not yet");
        let left = verify(&lines[3..]).expect("sound from the cut on");
        assert_eq!((left.count, left.removed(), left.head), (6, 3, lines[5].1.clone()));
        // Neither more nor less was removed than that.
        assert_eq!(verify(&lines[4..]), Err(Broken::Beheaded { upto: 4 }));
        assert_eq!(verify(&lines[2..]), Err(Broken::Beheaded { upto: 2 }));
        assert_eq!(verify(&lines[3..5]), Err(Broken::Beheaded { upto: 3 }));
        // What is left is held to what was removed, …
        let mut other = log(5);
        other[3].0 = other[3].0.replace(&cut.digest, &"0".repeat(64));
        other[3].1 = digest(&other[3].0);
        assert!(verify(&other[3..]).is_err());
        // … and nobody's entry but Muster's own says it.
        let anybody = By::Anonymous { address: None };
        let text = Record::of(&cut.entry(&anybody), 6, Timestamp(6), &lines[4].1).text();
        lines[5] = (text.clone(), digest(&text));
        assert_eq!(verify(&lines[3..]), Err(Broken::Beheaded { upto: 3 }));
    }

    #[test]
    fn only_what_differs_is_kept() {
        let text = log(1).remove(0).0;
        assert!(text.contains(r#""before":{"b":1},"after":{"b":2}"#), "{text}");
    }
}
