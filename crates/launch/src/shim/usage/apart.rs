//! A count in a thread of its own: who is counted can have it wait in the kernel for as long as he likes, for a directory that
//! he reads into memory that doesn't come, or for a list of his mappings (MG4); or for a little while in each of very many
//! (MJ1). Whoever wants to know waits for the thread as long as it does anything, and no longer: as long as it runs, and as
//! what it reads from the disk explains.

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
/// So long a busy disk may take to read …
const READ: Duration = Duration::from_millis(50);
/// … so many bytes.
const BLOCK: u64 = 4096;

/// What was counted, as [`count_until`] says it, and what was found meanwhile.
pub(in crate::shim) type Outcome = (Result<Option<Usage>, TooMuch>, Found);

/// A count that goes on.
pub(in crate::shim) struct Count {
    outcome: Receiver<Outcome>,
    /// Of the thread, in `/proc`.
    thread: PathBuf,
    /// How often it had waited for something when that was looked at first, and when.
    waited: (Option<u64>, Instant),
    /// How long it was seen waiting, for whatever it was.
    waiting: Duration,
    looked: Instant,
}

/// How long is waited for a count that does nothing: for one thing, and for everything together.
#[derive(Debug, Clone, Copy)]
pub(in crate::shim) struct Patience {
    pub(in crate::shim) one: Duration,
    pub(in crate::shim) all: Duration,
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
        let root = root.try_clone()?;
        Self::made_by(move || (count_until(&root, &processes, until, &mut found), found))
    }

    fn made_by(count: impl FnOnce() -> Outcome + Send + 'static) -> io::Result<Self> {
        let ((says, outcome), (tells, thread)) = (channel(), channel());
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let _ = tells.send(gettid());
            let _ = says.send(count());
        })?;
        let thread = thread.recv().map_err(io::Error::other)?.as_raw_nonzero();
        let thread = format!("/proc/self/task/{thread}").into();
        let now = Instant::now();
        Ok(Self { outcome, thread, waited: (None, now), waiting: Duration::ZERO, looked: now })
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

    /// Whether it waits for who is counted.
    pub(in crate::shim) fn is_stuck(&mut self, patience: Patience) -> bool {
        if self.looked.elapsed() >= LOOK {
            let before = std::mem::replace(&mut self.looked, Instant::now());
            let status = fs::read_to_string(self.thread.join("status")).unwrap_or_default();
            let waited = waited(&status);
            if waited.is_some() {
                self.waiting += self.looked.saturating_duration_since(before);
            }
            if waited.is_none() || waited != self.waited.0 {
                self.waited = (waited, self.looked);
            }
        }
        self.looked.saturating_duration_since(self.waited.1) >= patience.one
            || self.waited_in_all() >= patience.all
    }

    /// How long it was seen waiting, beyond what the disk explains.
    pub(in crate::shim) fn waited_in_all(&self) -> Duration {
        if self.waiting.is_zero() {
            return Duration::ZERO;
        }
        let io = fs::read_to_string(self.thread.join("io")).unwrap_or_default();
        self.waiting.saturating_sub(READ.saturating_mul(blocks_read(&io)))
    }

    /// Waits for its outcome; nothing when it waits for who is counted.
    pub(in crate::shim) fn unless_stuck(&mut self, patience: Patience) -> Option<Outcome> {
        loop {
            let outcome = self.within(LOOK);
            if outcome.is_some() || self.is_stuck(patience) {
                return outcome;
            }
        }
    }
}

/// How many blocks a thread has read from a disk.
fn blocks_read(io: &str) -> u32 {
    let bytes = io.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    let bytes: u64 = bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX)
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
        assert_eq!(blocks_read("rchar: 9\nread_bytes: 12288\nwrite_bytes: 0\n"), 3);
        assert!(fs::read_to_string("/proc/thread-self/io").unwrap().contains("\nread_bytes: "));
    }

    /// MJ1: each of two hundred directories was held for a second.
    #[test]
    fn a04_mj1_many_short_waits_are_one_long_one() {
        let (gone, stays) = channel::<()>();
        let mut count = Count::made_by(move || {
            // Until nobody waits for it any more.
            while stays.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {}
            (Ok(None), Found::new())
        })
        .unwrap();
        let patience = Patience { one: Duration::from_secs(600), all: Duration::from_millis(600) };
        assert!(count.unless_stuck(patience).is_none(), "it isn't through");
        assert!(count.waited_in_all() >= patience.all);
        drop(gone);
        assert!(count.within(Duration::from_secs(60)).is_some(), "it comes to its end");
    }
}
