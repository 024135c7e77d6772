//! The log store: a file of records for each task (`domain::log`), appended to while the task lives.
//!
//! Exactly once: an agent sends pieces of its own log file by their offset there. A task's log file here holds those
//! records byte for byte, with the master's own between them, so how far the agent got is known by adding up the
//! records that aren't the master's, after any crash. A torn record at the end is cut off; the agent sends it again.
//! Of a run on several agents each record tells its part, and each part is counted for itself. Where another run's output
//! begins stands a mark, and all is counted from there: a task has one log, to which each of its runs adds.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::TaskId;
use domain::log::{Lines, Output, Record, Records, Source, end_mark, gap_mark, one_line, stamp};
use domain::time::Timestamp;
use tokio::sync::watch;

mod backward;
mod index;
mod kept;
mod mask;
mod reading;
mod writer;

pub use backward::Backward;
use backward::Known;
pub use kept::{Kept, KeptLog, Of, Removal};
use mask::Tails;
pub use reading::Follower;
use writer::Writer;

/// Bytes of an agent's that may be here without being on the disk for certain.
const UNCERTAIN: u64 = 8 << 20;

/// What a log that is full may have beyond its limit, in bytes: an honest agent's own lines about that, and the master's.
const BEYOND: u64 = 1 << 20;

/// All logs.
#[derive(Debug, Clone)]
pub struct Logs {
    root: Arc<PathBuf>,
    /// Most bytes of one.
    limit: u64,
    /// Of living tasks only.
    open: Arc<Mutex<HashMap<TaskId, Arc<TaskLog>>>>,
    /// Where in logs reading can begin.
    known: Known,
}

/// The log of a living task.
#[derive(Debug)]
pub(crate) struct TaskLog {
    writer: Mutex<Writer>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    bytes: u64,
    complete: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logs {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root: Arc::new(root), limit: u64::MAX, open: Arc::default(), known: Known::default() }
    }

    /// With a bound on what is kept of one task's, whatever its agent sends: a limit that an honest agent keeps to, which may
    /// say so behind it (A4).
    pub(crate) fn limited(self, bytes: u64) -> Self {
        Self { limit: bytes.saturating_add(BEYOND), ..self }
    }

    fn path(&self, task: TaskId) -> PathBuf {
        let id = task.to_string();
        self.root.join(id.get(..2).unwrap_or("00")).join(format!("{id}.log"))
    }

    /// What there is of a log, its index too, takes so much of the disk, in bytes; `None` when there is none.
    fn on_disk(&self, task: TaskId) -> Option<u64> {
        let path = self.path(task);
        let takes = |path: &Path| std::fs::metadata(path).ok().map(|file| file.blocks() * 512);
        Some(takes(&path)? + takes(&index::beside(&path)).unwrap_or(0))
    }

    /// Removes the log of a task that is over. Who is reading it is told, and keeps none of its space.
    fn remove(&self, task: TaskId) -> io::Result<()> {
        let path = self.path(task);
        let file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        // Nobody looks for an index without its log.
        match std::fs::remove_file(index::beside(&path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => std::fs::remove_file(&path)?,
        }
        self.known.forget(task);
        file.set_len(0)
    }

    /// Opens the log of a living task, making it or taking up what is there.
    pub(crate) fn open(&self, task: TaskId) -> io::Result<Arc<TaskLog>> {
        let mut open = lock(&self.open);
        if let Some(log) = open.get(&task) {
            return Ok(Arc::clone(log));
        }
        let writer = Writer { limit: self.limit, ..Writer::recover(self.path(task))? };
        let (progress, _) = watch::channel(Progress { bytes: writer.len, complete: false });
        let log = Arc::new(TaskLog { writer: Mutex::new(writer), progress });
        open.insert(task, Arc::clone(&log));
        Ok(log)
    }

    /// The log of a task that was just made. Nothing is there yet, so that nothing can fail.
    pub(crate) fn begin(&self, task: TaskId) -> Arc<TaskLog> {
        let writer = Writer { limit: self.limit, ..Writer::new(self.path(task)) };
        let (progress, _) = watch::channel(Progress { bytes: 0, complete: false });
        let log = Arc::new(TaskLog { writer: Mutex::new(writer), progress });
        lock(&self.open).insert(task, Arc::clone(&log));
        log
    }

    /// The log of a task that is over is complete: followers end.
    pub(crate) fn close(&self, task: TaskId) {
        if let Some(log) = lock(&self.open).remove(&task) {
            log.progress.send_modify(|progress| progress.complete = true);
        }
    }

    /// Reads a log from byte `offset` on; with `follow`, until the task is over.
    #[must_use]
    pub fn read(&self, task: TaskId, offset: u64, follow: bool) -> Follower {
        let progress = lock(&self.open).get(&task).map(|log| log.progress.subscribe());
        Follower::new(self.path(task), offset, progress, follow)
    }

    /// Reads what there is of a log backwards, block by block.
    #[must_use]
    pub fn read_back(&self, task: TaskId) -> Backward {
        let progress = lock(&self.open).get(&task).map(|log| log.progress.subscribe());
        let end = progress.map(|progress| progress.borrow().bytes);
        Backward::new(task, self.path(task), end, self.known.clone())
    }

    /// Reads a log from about its `last` lines on (a block more, all at most), and on as [`Self::read`] does: with the
    /// state of the lines where reading begins.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn read_last(&self, task: TaskId, last: u64, follow: bool) -> io::Result<(Follower, Lines)> {
        let (offset, lines) = self.read_back(task).beginning_of_last(last).await?;
        Ok((self.read(task, offset, follow), lines))
    }
}

impl TaskLog {
    /// How much of a part's log file is here, in bytes of that file.
    pub(crate) fn received(&self, of: Output) -> u64 {
        lock(&self.writer).received(of)
    }

    /// Whether the disk didn't take the latest piece of an agent's (A4).
    pub(crate) fn is_starved(&self) -> bool {
        lock(&self.writer).starved
    }

    /// Another run begins: what is written from here on is of it. It begins with its first piece anyway.
    pub(crate) fn begin_run(&self, run: u32) -> io::Result<()> {
        let mut writer = lock(&self.writer);
        writer.begin_run(run)?;
        self.tell(&writer);
        Ok(())
    }

    /// Adds a piece of an agent's log file that begins at `offset` there; what is here already is passed over, and a
    /// piece behind a gap isn't taken. What is beyond the log's limit is thrown away. Answers how much is here then.
    pub(crate) fn append_from_agent(&self, of: Output, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let mut writer = lock(&self.writer);
        let here = writer.received(of);
        let known = here.checked_sub(offset).map(usize::try_from);
        let Some(Ok(known)) = known else {
            return Ok(here);
        };
        let Some(news) = bytes.get(known..).filter(|news| !news.is_empty()) else {
            return Ok(here);
        };
        let (mut records, mut at) = (Records::new(news), Timestamp::default());
        let foreign = records.by_ref().any(|record| {
            at = record.at;
            record.source == Source::Master || record.rank.is_some()
        });
        if foreign || records.consumed() != news.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the agent sent what is no log record"));
        }
        let (count, here) = (news.len() as u64, here + news.len() as u64);
        let begun = writer.begin_run(of.run);
        writer.starved = begun.is_err();
        begun?;
        let part = writer.parts.get(&of.rank).cloned().unwrap_or_default();
        if part.dropped.is_some() || writer.len.saturating_add(count) > writer.limit {
            let dropped = writer.drop_from_agent(of.rank, at, count);
            writer.starved = dropped.is_err();
            dropped?;
            self.tell(&writer);
            return Ok(here);
        }
        let mut tails = part.tails;
        let mut masked = tails.mask(news);
        if of.rank.is_some() {
            stamp(masked.to_mut(), of.rank);
        }
        let appended = writer.append_with_space(&masked);
        // Whatever else the disk says, the end of a task doesn't wait for it either.
        writer.starved = appended.is_err();
        appended?;
        writer.last_own = None;
        let part = writer.parts.entry(of.rank).or_default();
        (part.received, part.tails) = (here, tails);
        self.tell(&writer);
        Ok(here)
    }

    /// Passes over a part of an agent's log file that nobody has any more, and says so, if this log ends where the part
    /// begins. Answers how much is here then.
    pub(crate) fn append_gap(&self, of: Output, at: Timestamp, from: u64, to: u64) -> io::Result<u64> {
        let mut writer = lock(&self.writer);
        let here = writer.received(of);
        let Some(missing) = to.checked_sub(from).filter(|missing| *missing > 0 && from == here) else {
            return Ok(here);
        };
        let begun = writer.begin_run(of.run);
        writer.starved = begun.is_err();
        begun?;
        // Nobody makes it longer by many small ones.
        let is_dropped = writer.parts.get(&of.rank).is_some_and(|part| part.dropped.is_some());
        if is_dropped || writer.len > writer.limit {
            let dropped = writer.drop_from_agent(of.rank, at, missing);
            writer.starved = dropped.is_err();
            dropped?;
            self.tell(&writer);
            return Ok(to);
        }
        let line = format!(
            "{missing} bytes of this log are missing here: the agent gave them to a master and keeps them no more, and this one \
             doesn't have them (was a back-up restored?)\n"
        );
        let mut bytes = gap_mark(of.rank, missing).to_vec();
        Record { at, source: Source::Master, rank: None, payload: line.as_bytes() }.encode(&mut bytes);
        let appended = writer.append_with_space(&bytes);
        writer.starved = appended.is_err();
        appended?;
        writer.last_own = Some(line.into_bytes());
        let part = writer.parts.entry(of.rank).or_default();
        (part.received, part.tails) = (to, Tails::default());
        self.tell(&writer);
        Ok(to)
    }

    /// Adds a line of the master's own; not twice in a row, so that a step that is repeated after a crash isn't told
    /// twice.
    pub(crate) fn append_own(&self, at: Timestamp, text: &str) -> io::Result<()> {
        self.append_line(at, text, Vec::new())
    }

    /// Adds the line that says how the task ended. What it printed last without a line end stands before it (B13).
    pub(crate) fn append_end(&self, at: Timestamp, text: &str) -> io::Result<()> {
        self.append_line(at, text, end_mark(at).to_vec())
    }

    fn append_line(&self, at: Timestamp, text: &str, mut bytes: Vec<u8>) -> io::Result<()> {
        let line = format!("{}\n", one_line(text));
        Record { at, source: Source::Master, rank: None, payload: line.as_bytes() }.encode(&mut bytes);
        let mut writer = lock(&self.writer);
        if writer.last_own.as_deref() == Some(line.as_bytes()) {
            return Ok(());
        }
        writer.append(&bytes)?;
        writer.last_own = Some(line.into_bytes());
        self.tell(&writer);
        Ok(())
    }

    /// Makes all of it durable, and gives the space behind it back.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut writer = lock(&self.writer);
        let (len, ahead) = (writer.len, std::mem::take(&mut writer.ahead));
        let Some(file) = writer.unsure()? else { return Ok(()) };
        if ahead {
            file.set_len(len)?;
        }
        file.sync_data()
    }

    /// How much of a part's log file is on the disk for certain.
    pub(crate) fn kept(&self, of: Output) -> u64 {
        let writer = lock(&self.writer);
        writer.parts.get(&of.rank).filter(|_| of.run == writer.run).map_or(0, |part| part.kept)
    }

    /// Whether so much isn't on the disk for certain that it should be seen to.
    pub(crate) fn is_due(&self) -> bool {
        let writer = lock(&self.writer);
        let uncertain: u64 = writer.parts.values().map(|part| part.received.saturating_sub(part.kept)).sum();
        !writer.securing && uncertain >= UNCERTAIN
    }

    /// Makes what is here durable; what comes meanwhile doesn't wait for it. What can't be done leaves it as it is.
    pub(crate) fn secure(&self) {
        let mut writer = lock(&self.writer);
        let Ok(Some(file)) = writer.unsure() else { return };
        let run = writer.run;
        let parts: Vec<_> = writer.parts.iter().map(|(rank, part)| (*rank, part.received)).collect();
        writer.securing = true;
        drop(writer);
        let synced = file.sync_data();
        let mut writer = lock(&self.writer);
        writer.securing = false;
        if let Err(error) = synced {
            tracing::warn!(%error, "a task's log isn't on the disk for certain");
        } else if writer.run == run {
            for (rank, here) in parts {
                let part = writer.parts.entry(rank).or_default();
                part.kept = part.kept.max(here);
            }
        }
    }

    fn tell(&self, writer: &Writer) {
        self.progress.send_modify(|progress| progress.bytes = writer.len);
    }
}

#[cfg(test)]
mod tests;
