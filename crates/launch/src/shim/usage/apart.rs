//! A count in a thread of its own: who is counted can have it wait in the kernel for as long as he likes, for a directory that
//! he reads into memory that doesn't come, or for a list of his mappings (MG4). Whoever wants to know waits for the thread
//! as long as it does anything, and no longer.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

use super::{Found, Usage, count_until};
use crate::shim::too_much::TooMuch;
use crate::shim::watch::STACK;

/// How often it is looked whether the thread does anything.
const LOOK: Duration = Duration::from_millis(250);

/// What was counted, as [`count_until`] says it, and what was found meanwhile.
pub(in crate::shim) type Outcome = (Result<Option<Usage>, TooMuch>, Found);

/// A count that goes on.
pub(in crate::shim) struct Count {
    outcome: Receiver<Outcome>,
    /// Of the thread, in `/proc`.
    status: PathBuf,
    /// How often it had waited for something when that was looked at first, and when.
    waited: (Option<u64>, Instant),
    looked: Instant,
}

impl Count {
    /// Begins one.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(in crate::shim) fn begin(
        root: &OwnedFd,
        processes: Vec<PathBuf>,
        until: Option<Instant>,
        mut found: Found,
    ) -> io::Result<Self> {
        let (root, (says, outcome), (tells, thread)) = (root.try_clone()?, channel(), channel());
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let _ = tells.send(gettid());
            let counted = count_until(&root, &processes, until, &mut found);
            let _ = says.send((counted, found));
        })?;
        let thread = thread.recv().map_err(io::Error::other)?.as_raw_nonzero();
        let status = format!("/proc/self/task/{thread}/status").into();
        let now = Instant::now();
        Ok(Self { outcome, status, waited: (None, now), looked: now })
    }

    /// Waits for its outcome for so long.
    pub(in crate::shim) fn within(&self, time: Duration) -> Option<Outcome> {
        match self.outcome.recv_timeout(time) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            // It has panicked.
            Err(RecvTimeoutError::Disconnected) => Some((Err(TooMuch::Held), Found::new())),
        }
    }

    /// For how long it has been waiting for one thing.
    pub(in crate::shim) fn stuck_for(&mut self) -> Duration {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let status = fs::read_to_string(&self.status).unwrap_or_default();
            let waited = waited(&status);
            if waited.is_none() || waited != self.waited.0 {
                self.waited = (waited, self.looked);
            }
        }
        self.looked.saturating_duration_since(self.waited.1)
    }

    /// Waits for its outcome; nothing when it has been waiting for one thing for so long.
    pub(in crate::shim) fn unless_stuck(&mut self, patience: Duration) -> Option<Outcome> {
        loop {
            let outcome = self.within(LOOK);
            if outcome.is_some() || self.stuck_for() >= patience {
                return outcome;
            }
        }
    }
}

/// How often a thread has waited for something, if it waits now.
fn waited(status: &str) -> Option<u64> {
    let value = |key| status.lines().find_map(|line: &str| line.strip_prefix(key)).map(str::trim);
    if value("State:")?.starts_with('R') {
        return None;
    }
    value("voluntary_ctxt_switches:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_mg4_who_waits_for_one_thing_is_seen_to() {
        let status = |state: &str, times: u64| {
            format!("Name:\tx\nState:\t{state}\nvoluntary_ctxt_switches:\t{times}\n")
        };
        assert_eq!(waited(&status("D (disk sleep)", 7)), Some(7));
        assert_eq!(waited(&status("R (running)", 7)), None);
        assert_eq!(waited(""), None);
        let own = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_eq!(waited(&own), None, "it runs: {own}");
    }
}
