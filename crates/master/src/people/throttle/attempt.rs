//! A login, from the moment when it may be looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::throttle::{Origin, Scope};

use crate::password::Lane;
use crate::session::Device;

/// What failures are counted for.
pub(super) type Subject = (Scope, String);

/// How many of each are being looked at.
pub(super) type UnderWay = Arc<Mutex<HashMap<Subject, i64>>>;

/// Who wants to log in.
#[derive(Clone)]
pub(super) struct Try {
    /// What it counts for when it fails; the account from the address comes first.
    pub(super) subjects: [Subject; 3],
    /// Digest of the account's name.
    pub(super) account: String,
    pub(super) origin: Origin,
    pub(super) device: Device,
    /// The account has logged in with it before.
    pub(super) knows_device: bool,
    /// Its owner is logged in, or has logged in from there before.
    pub(super) known: bool,
    /// It has logged in from there before.
    pub(super) was_here: bool,
    /// Tells the password, together with the account, from others.
    pub(super) password: u64,
    /// Failures of the account from the address before this one.
    pub(super) before: i64,
}

impl Try {
    /// Whose failures it has to wait for.
    pub(super) fn waits_for(&self) -> &[Subject] {
        let [own, ..] = &self.subjects;
        if self.known { std::slice::from_ref(own) } else { &self.subjects }
    }
}

/// A login that is under way. Until it is over it counts as a failure, so that many at once count as many.
pub(crate) struct Attempt {
    pub(super) of: Try,
    /// Others tried other passwords of the account at the same time.
    pub(super) contested: bool,
    under_way: UnderWay,
}

impl Attempt {
    pub(super) fn new(of: Try, contested: bool, under_way: &UnderWay) -> Self {
        let mut counts = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &of.subjects {
            *counts.entry(subject.clone()).or_default() += 1;
        }
        drop(counts);
        Self { of, contested, under_way: Arc::clone(under_way) }
    }

    /// With whom its password waits to be looked at.
    pub(crate) fn lane(&self) -> Lane {
        if self.of.known {
            Lane::Known(self.of.account.clone())
        } else {
            Lane::Stranger(self.of.origin.clone())
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &self.of.subjects {
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
