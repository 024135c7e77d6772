//! What the master itself says: the latest of it is kept in memory for administrators, who may change how much it says
//! until it starts anew. Who writes here is the program's own logger (`muster/src/role/process.rs`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use domain::audit::{Entry, Who};
use domain::authz::{ChangeMasterLog, Permit, ReadMasterLog};
use domain::text::plain;
use domain::time::Timestamp;
use serde_json::json;
use store::Store;
use tokio::sync::watch;

use crate::Error;
use crate::system::Clock;

/// Most lines that are kept, …
const LINES: usize = 10_000;
/// … most characters of one, …
const LINE: usize = 4096;
/// … and most bytes of all.
const BYTES: usize = 4 << 20;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warning,
    /// What failed.
    Error,
}

impl Level {
    /// As filters of logs name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error => "error",
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLine {
    /// Its number, from 0 since the start.
    pub number: u64,
    /// When it was said.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// What it says, on one line.
    pub text: String,
}

/// What of the log can be changed while the program runs.
pub trait Controls: Send + Sync {
    /// Says so much from now on; answers whether that can be done.
    fn set_level(&self, level: Level) -> bool;
    /// Writes colours on the terminal, or none; answers whether that can be done.
    fn set_color(&self, color: bool) -> bool;
}

/// The latest lines. Cheap to clone.
#[derive(Clone, Default)]
pub struct OwnLog(Arc<Shared>);

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// How many lines there have been.
    count: watch::Sender<u64>,
    controls: OnceLock<Box<dyn Controls>>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<OwnLine>,
    bytes: usize,
    next: u64,
}

impl std::fmt::Debug for OwnLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnLog")
    }
}

impl OwnLog {
    /// One whose program can be told to say more or less.
    #[must_use]
    pub fn controlled(self, controls: impl Controls + 'static) -> Self {
        // Only a second logger of one process would find it set.
        let _ = self.0.controls.set(Box::new(controls));
        self
    }

    /// Keeps a line; the oldest go where there are too many.
    pub fn note(&self, at: Timestamp, level: Level, text: &str) {
        let text = plain(text, LINE);
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.next;
        kept.next += 1;
        kept.bytes += text.len();
        kept.lines.push_back(OwnLine { number, at, level, text });
        while kept.lines.len() > LINES || kept.bytes > BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.text.len();
        }
        drop(kept);
        self.0.count.send_replace(number + 1);
    }

    /// The latest lines, at most so many.
    #[must_use]
    pub fn latest(&self, most: usize) -> Vec<OwnLine> {
        let count = *self.0.count.borrow();
        self.from(count.saturating_sub(u64::try_from(most).unwrap_or(u64::MAX)), most)
    }

    /// Up to `most` lines from number `from` on, or from the oldest one that is still kept.
    fn from(&self, from: u64, most: usize) -> Vec<OwnLine> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = kept.lines.front().map_or(kept.next, |line| line.number);
        let skip = usize::try_from(from.saturating_sub(oldest)).unwrap_or(usize::MAX);
        kept.lines.iter().skip(skip).take(most).cloned().collect()
    }
}

/// Where somebody reads.
#[derive(Debug)]
pub struct Reading {
    log: OwnLog,
    count: watch::Receiver<u64>,
    /// The next line's number.
    next: u64,
    /// Lines that are still wanted.
    left: u64,
    follow: bool,
}

impl Reading {
    /// Up to `most` lines more; with `follow` once there are some. `None` is the end.
    pub async fn next(&mut self, most: usize) -> Option<Vec<OwnLine>> {
        loop {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(most);
            let lines = if most == 0 { Vec::new() } else { self.log.from(self.next, most) };
            if let Some(last) = lines.last() {
                self.next = last.number + 1;
                self.left -= u64::try_from(lines.len()).unwrap_or(u64::MAX).min(self.left);
                return Some(lines);
            }
            if most == 0 || !self.follow {
                return None;
            }
            let next = self.next;
            self.count.wait_for(|count| *count > next).await.ok()?;
        }
    }
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// From which one; so many before the end when it is negative.
    pub offset: i64,
    /// So many; 0 is all.
    pub limit: u64,
    /// And those that come.
    pub follow: bool,
}

/// The master's own log, for administrators.
#[derive(Clone)]
pub struct MasterLog {
    log: OwnLog,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for MasterLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterLog")
    }
}

impl MasterLog {
    pub(crate) fn new(log: OwnLog, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { log, store, clock }
    }

    /// The lines that are wanted, of those that are still kept.
    ///
    /// # Errors
    /// When a limit is to be followed.
    pub fn read(&self, _permit: &Permit<ReadMasterLog>, wanted: Wanted) -> Result<Reading, Error> {
        if wanted.follow && wanted.limit > 0 {
            return Err(Error::Invalid("limit and follow can't be used together".to_owned()));
        }
        let count = self.log.0.count.subscribe();
        let there = *count.borrow();
        let next = match u64::try_from(wanted.offset) {
            Ok(offset) => offset,
            Err(_) => there.saturating_sub(wanted.offset.unsigned_abs()),
        };
        let left = if wanted.limit == 0 { u64::MAX } else { wanted.limit };
        Ok(Reading { log: self.log.clone(), count, next, left, follow: wanted.follow })
    }

    /// Says more or less from now on, with colours or without; what is absent stays.
    ///
    /// # Errors
    /// When this program's log can't be changed.
    pub async fn change(
        &self,
        permit: &Permit<ChangeMasterLog>,
        level: Option<Level>,
        color: Option<bool>,
    ) -> Result<(), Error> {
        let fixed =
            || Error::Precondition("the log of this master can't be changed while it runs".to_owned());
        let controls = self.log.0.controls.get().ok_or_else(fixed)?;
        let tx = self.store.write().await?;
        let after = json!({ "level": level.map(Level::as_str), "color": color });
        let entry = Entry::done(permit.by(), "master.change_log", Who::named("master log", &"", ""));
        tx.commit(&entry.made(after), self.clock.now()).await?;
        let set = level.is_none_or(|level| controls.set_level(level));
        let set = color.is_none_or(|color| controls.set_color(color)) && set;
        if set { Ok(()) } else { Err(fixed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[OwnLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_latest_are_kept_on_one_line_each() {
        let log = OwnLog::default();
        for number in 0..LINES + 5 {
            log.note(Timestamp(0), Level::Info, &format!("line {number}\u{1b}[2J\nx"));
        }
        assert_eq!(texts(&log.from(0, 1)), ["line 5[2Jx"]);
        assert_eq!(log.from(0, usize::MAX).len(), LINES);
        let last = u64::try_from(LINES).expect("a number") + 4;
        assert_eq!(log.from(last, 9).iter().map(|line| line.number).collect::<Vec<_>>(), [last]);
        assert_eq!(log.from(last + 1, 9), []);
        let large = "x".repeat(2 * LINE);
        for _ in 0..2000 {
            log.note(Timestamp(0), Level::Info, &large);
        }
        let kept = log.from(0, usize::MAX);
        assert!(kept.iter().all(|line| line.text.len() == LINE));
        assert!(kept.len() * LINE <= BYTES && kept.len() > 1000, "{}", kept.len());
    }

    #[tokio::test]
    async fn what_comes_is_followed() {
        let log = OwnLog::default();
        log.note(Timestamp(0), Level::Info, "one");
        let count = log.0.count.subscribe();
        let mut reading = Reading { log: log.clone(), count, next: 0, left: u64::MAX, follow: true };
        assert_eq!(texts(&reading.next(9).await.expect("lines")), ["one"]);
        let writes = async {
            tokio::task::yield_now().await;
            log.note(Timestamp(0), Level::Info, "two");
        };
        let (lines, ()) = tokio::join!(reading.next(9), writes);
        assert_eq!(texts(&lines.expect("lines")), ["two"]);
        reading.follow = false;
        assert_eq!(reading.next(9).await, None);
    }
}
