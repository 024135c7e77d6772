//! The log store: a file of records for each task (`domain::log`), appended to while the task lives.
//!
//! Exactly once: an agent sends pieces of its own log file by their offset there. A task's log file here holds those
//! records byte for byte, with the master's own between them, so how far the agent got is known by adding up the
//! records that aren't the master's, after any crash. A torn record at the end is cut off; the agent sends it again.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::TaskId;
use domain::log::{Lines, Record, Records, Source, end_mark, gap_mark, one_line};
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
    /// How much of the agent's log file is here, in bytes of that file.
    pub(crate) fn received(&self) -> u64 {
        lock(&self.writer).from_agent
    }

    /// Whether the disk didn't take the latest piece of the agent's (A4).
    pub(crate) fn is_starved(&self) -> bool {
        lock(&self.writer).starved
    }

    /// Adds a piece of the agent's log file that begins at `offset` there; what is here already is passed over, and a
    /// piece behind a gap isn't taken. What is beyond the log's limit is thrown away. Answers how much is here then.
    pub(crate) fn append_from_agent(&self, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let mut writer = lock(&self.writer);
        let known = writer.from_agent.checked_sub(offset).map(usize::try_from);
        let Some(Ok(known)) = known else {
            return Ok(writer.from_agent);
        };
        let Some(news) = bytes.get(known..).filter(|news| !news.is_empty()) else {
            return Ok(writer.from_agent);
        };
        let (mut records, mut at) = (Records::new(news), Timestamp::default());
        let foreign = records.by_ref().any(|record| {
            at = record.at;
            record.source == Source::Master
        });
        if foreign || records.consumed() != news.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the agent sent what is no log record"));
        }
        if writer.dropped.is_some() || writer.len.saturating_add(news.len() as u64) > writer.limit {
            let dropped = writer.drop_from_agent(at, news.len() as u64);
            writer.starved = dropped.is_err();
            dropped?;
            writer.from_agent += news.len() as u64;
            self.tell(&writer);
            return Ok(writer.from_agent);
        }
        let mut tails = writer.tails.clone();
        let masked = tails.mask(news);
        let appended = writer.append_with_space(&masked);
        // Whatever else the disk says, the end of a task doesn't wait for it either.
        writer.starved = appended.is_err();
        appended?;
        writer.from_agent += news.len() as u64;
        writer.last_own = None;
        writer.tails = tails;
        self.tell(&writer);
        Ok(writer.from_agent)
    }

    /// Passes over a part of the agent's log file that nobody has any more, and says so, if this log ends where the part
    /// begins. Answers how much is here then.
    pub(crate) fn append_gap(&self, at: Timestamp, from: u64, to: u64) -> io::Result<u64> {
        let mut writer = lock(&self.writer);
        let Some(missing) = to.checked_sub(from).filter(|missing| *missing > 0 && from == writer.from_agent)
        else {
            return Ok(writer.from_agent);
        };
        // Nobody makes it longer by many small ones.
        if writer.dropped.is_some() || writer.len > writer.limit {
            let dropped = writer.drop_from_agent(at, missing);
            writer.starved = dropped.is_err();
            dropped?;
            writer.from_agent = to;
            self.tell(&writer);
            return Ok(writer.from_agent);
        }
        let line = format!(
            "{missing} bytes of this log are missing here: the agent gave them to a master and keeps them no more, and this one \
             doesn't have them (was a back-up restored?)\n"
        );
        let mut bytes = gap_mark(missing).to_vec();
        Record { at, source: Source::Master, payload: line.as_bytes() }.encode(&mut bytes);
        let appended = writer.append_with_space(&bytes);
        writer.starved = appended.is_err();
        appended?;
        writer.from_agent = to;
        (writer.last_own, writer.tails) = (Some(line.into_bytes()), Tails::default());
        self.tell(&writer);
        Ok(writer.from_agent)
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
        Record { at, source: Source::Master, payload: line.as_bytes() }.encode(&mut bytes);
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

    /// How much of the agent's log file is on the disk for certain.
    pub(crate) fn kept(&self) -> u64 {
        lock(&self.writer).kept
    }

    /// Whether so much isn't on the disk for certain that it should be seen to.
    pub(crate) fn is_due(&self) -> bool {
        let writer = lock(&self.writer);
        !writer.securing && writer.from_agent - writer.kept >= UNCERTAIN
    }

    /// Makes what is here durable; what comes meanwhile doesn't wait for it. What can't be done leaves it as it is.
    pub(crate) fn secure(&self) {
        let mut writer = lock(&self.writer);
        let Ok(Some(file)) = writer.unsure() else { return };
        let here = writer.from_agent;
        writer.securing = true;
        drop(writer);
        let synced = file.sync_data();
        let mut writer = lock(&self.writer);
        writer.securing = false;
        match synced {
            Ok(()) => writer.kept = writer.kept.max(here),
            Err(error) => tracing::warn!(%error, "a task's log isn't on the disk for certain"),
        }
    }

    fn tell(&self, writer: &Writer) {
        self.progress.send_modify(|progress| progress.bytes = writer.len);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use domain::log::HEADER_BYTES;

    use super::*;

    fn records(texts: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in texts {
            let payload = text.as_bytes();
            Record { at: Timestamp(1), source: Source::Stdout, payload }.encode(&mut bytes);
        }
        bytes
    }

    async fn text(logs: &Logs, task: TaskId) -> String {
        let mut follower = logs.read(task, 0, false);
        let mut text = String::new();
        while let Some(bytes) = follower.next().await.expect("readable") {
            for record in Records::new(&bytes) {
                text.push_str(&String::from_utf8_lossy(record.payload));
            }
        }
        text
    }

    fn logs() -> (tempfile::TempDir, Logs, TaskId) {
        let folder = tempfile::tempdir().expect("folder");
        let logs = Logs::new(folder.path().to_owned());
        (folder, logs, TaskId(uuid::Uuid::from_u128(7)))
    }

    #[tokio::test]
    async fn l02_repeated_and_overlapping_pieces_count_once() {
        let (_folder, logs, task) = logs();
        let log = logs.open(task).expect("open");
        let all = records(&["a\n", "b\n", "c\n"]);
        let one = records(&["a\n"]).len();
        log.append_own(Timestamp(0), "scheduled").expect("appended");
        assert_eq!(log.append_from_agent(0, &all[..one]).expect("first"), one as u64);
        assert_eq!(log.append_from_agent(0, &all[..2 * one]).expect("overlap"), 2 * one as u64);
        assert_eq!(log.append_from_agent(0, &all[..one]).expect("old"), 2 * one as u64);
        let gap = log.append_from_agent(3 * one as u64, &all[..one]).expect("gap");
        assert_eq!(gap, 2 * one as u64, "behind a gap nothing is taken");
        assert_eq!(log.append_from_agent(2 * one as u64, &all[2 * one..]).expect("rest"), all.len() as u64);
        assert_eq!(text(&logs, task).await, "scheduled\na\nb\nc\n");
    }

    #[tokio::test]
    async fn a04_an_agent_that_lies_fills_no_disk_with_one_log() {
        let (folder, logs, task) = logs();
        let logs = logs.limited(1 << 20);
        let piece = records(&["a line\n"; 1000]);
        let log = logs.open(task).expect("open");
        let mut sent = 0;
        for _ in 0..200 {
            sent += piece.len() as u64;
            let here = log.append_from_agent(sent - piece.len() as u64, &piece).expect("appended");
            assert_eq!(here, sent, "it counts as had: an agent goes on and ends");
        }
        // Also in the smallest of pieces.
        let small = records(&["x"]);
        for _ in 0..1000 {
            sent = log.append_from_agent(sent, &small).expect("appended");
        }
        log.append_end(Timestamp(0), "over").expect("appended");
        let len = std::fs::metadata(logs.path(task)).expect("there").len();
        assert!(((1 << 20)..=(2 << 20) + 500).contains(&len) && sent > 4 << 20, "{len} of {sent}");
        let told = text(&logs, task).await;
        assert_eq!(told.matches("thrown away").count(), 1, "one line says so");
        assert!(
            told.contains("limits.log_bytes") && told.ends_with("over\n"),
            "{}",
            &told[told.len() - 200..]
        );
        // A master that starts anew still knows how far the agent is.
        let again = Logs::new(folder.path().to_owned()).limited(1 << 20);
        assert_eq!(again.open(task).expect("open").received(), sent);
    }

    /// MC2: ten thousand tasks that waited had all files open that a process may have.
    #[tokio::test]
    async fn a07_living_logs_keep_no_files_open() {
        let (_folder, logs, _) = logs();
        let open = || std::fs::read_dir("/proc/self/fd").expect("there").count();
        let before = open();
        let piece = records(&["a line\n"; 1000]);
        let many: Vec<_> = (0..500).map(|n| logs.begin(TaskId(uuid::Uuid::from_u128(n)))).collect();
        for log in &many {
            log.append_own(Timestamp(0), "queued").expect("appended");
            let mut sent = 0;
            // Long enough for an index.
            for _ in 0..30 {
                sent = log.append_from_agent(sent, &piece).expect("appended");
            }
            log.sync().expect("durable");
            log.secure();
        }
        assert!(open() < before + 50, "{} of {before}", open());
    }

    #[tokio::test]
    async fn l02_a_torn_record_is_cut_off_after_a_crash() {
        let (folder, logs, task) = logs();
        let log = logs.open(task).expect("open");
        let all = records(&["a\n", "b\n"]);
        log.append_own(Timestamp(0), "scheduled").expect("appended");
        log.append_from_agent(0, &all).expect("appended");
        let path = logs.path(task);
        let len = std::fs::metadata(&path).expect("there").len();
        File::options().write(true).open(&path).expect("open").set_len(len - 1).expect("cut");
        let logs = Logs::new(folder.path().to_owned());
        let log = logs.open(task).expect("open again");
        let known = log.received();
        assert_eq!(known, all.len() as u64 / 2);
        log.append_from_agent(0, &all).expect("sent again");
        assert_eq!(text(&logs, task).await, "scheduled\na\nb\n");
    }

    #[tokio::test]
    async fn a14_a_line_of_the_masters_is_one_line() {
        let (_folder, logs, task) = logs();
        let log = logs.open(task).expect("open");
        log.append_own(Timestamp(0), "Scheduling a\nresources exited\u{1b}[2J").expect("appended");
        log.append_end(Timestamp(0), "b\rc was terminated").expect("appended");
        let expected = "Scheduling a\\nresources exited\\u{1b}[2J\nb\\rc was terminated\n";
        assert_eq!(text(&logs, task).await, expected);
    }

    #[tokio::test]
    async fn a10_a_token_is_not_stored_even_in_two_halves_around_a_crash() {
        let (folder, logs, task) = logs();
        let token = format!("mtt_{}", "aB3-".repeat(11).get(..43).expect("long"));
        let all = records(&[&format!("token {}", &token[..30]), &format!("{}\n", &token[30..])]);
        let first = HEADER_BYTES + "token ".len() + 30;
        let log = logs.open(task).expect("open");
        log.append_from_agent(0, &all[..first]).expect("appended");
        let logs = Logs::new(folder.path().to_owned());
        let log = logs.open(task).expect("open again");
        assert_eq!(log.received(), first as u64, "lengths stay");
        assert_eq!(log.append_from_agent(0, &all).expect("the rest"), all.len() as u64);
        assert_eq!(text(&logs, task).await, format!("token mtt_{}\n", "*".repeat(43)));
    }

    #[tokio::test]
    async fn a_follower_sees_lines_as_they_come_and_ends_with_the_task() {
        let (_folder, logs, task) = logs();
        let log = logs.open(task).expect("open");
        let mut follower = logs.read(task, 0, true);
        let reading = tokio::spawn(async move {
            let mut pieces = 0;
            while follower.next().await.expect("readable").is_some() {
                pieces += 1;
            }
            pieces
        });
        log.append_own(Timestamp(0), "one").expect("appended");
        logs.close(task);
        assert_eq!(reading.await.expect("ended"), 1);
    }
}
