//! Where in a log reading can begin, in a file beside it: its end and its latest pages are read without the rest, also by a
//! master that has just started, and however long the log is.
//!
//! An entry is the state of the lines at an offset. The file is written as the log grows and holds nothing that isn't in the
//! log: what is missing of it or torn is passed over in the log itself, and what it says of a log that is shorter now (its
//! end was lost with the machine) doesn't count.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use domain::log::{Lines, Record, Records};

use super::backward::Mark;

/// Between two entries, in bytes of the log.
const DISTANCE: u64 = 512 << 10;

/// Most bytes of unfinished lines in an entry: it waits for a place where it holds no more. Whoever reads the end of a log holds
/// all of its index, however many do so at once (A5); one whose lines never end has none, and is passed.
const HELD: usize = 256;

/// Before the state of the lines: the offset, and the state's length (u64, u32, little-endian).
const HEADER: usize = 12;

/// The index of a log that grows.
#[derive(Debug, Default)]
pub(super) struct Index {
    path: PathBuf,
    len: u64,
    /// The state of the lines at the log's end.
    lines: Lines,
    /// Where the last entry stands in the log.
    last: u64,
}

impl Index {
    /// Of a log of which nothing is there.
    pub(super) fn new(log: &Path) -> Self {
        Self { path: beside(log), ..Self::default() }
    }

    /// The next record of what is there of a log.
    pub(super) fn found(&mut self, record: Record<'_>) {
        self.lines.skip(record);
    }

    /// The log has these bytes, all of which were `found`: what is said beyond that is forgotten.
    pub(super) fn taken_up(&mut self, bytes: u64) -> io::Result<()> {
        let stored = match std::fs::read(&self.path) {
            Ok(stored) => stored,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for (mark, end) in entries(&stored).take_while(|(mark, _)| mark.offset <= bytes) {
            (self.last, self.len) = (mark.offset, end);
        }
        // The log may have something else there soon.
        if self.len < stored.len() as u64 {
            OpenOptions::new().write(true).open(&self.path)?.set_len(self.len)?;
        }
        Ok(())
    }

    /// Whole records were added to the log at `at`.
    ///
    /// An entry that the disk doesn't take is left out: the next one holds as much.
    pub(super) fn add(&mut self, mut at: u64, records: &[u8]) {
        for record in Records::new(records) {
            let since = at.saturating_sub(self.last);
            if since >= DISTANCE && self.lines.held() <= HELD {
                self.last = at;
                if let Err(error) = self.write(at) {
                    tracing::debug!(%error, "an index of a log lacks an entry");
                }
            }
            self.lines.skip(record);
            at += record.stored_len() as u64;
        }
    }

    fn write(&mut self, offset: u64) -> io::Result<()> {
        let state = self.lines.stored();
        let mut entry = offset.to_le_bytes().to_vec();
        entry.extend_from_slice(&u32::try_from(state.len()).map_err(io::Error::other)?.to_le_bytes());
        entry.extend_from_slice(&state);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
        if let Err(error) = file.write_all_at(&entry, self.len) {
            let _ = file.set_len(self.len);
            return Err(error);
        }
        self.len += entry.len() as u64;
        Ok(())
    }
}

/// Where the index of a log is.
pub(super) fn beside(log: &Path) -> PathBuf {
    log.with_extension("index")
}

/// Where reading can begin in the first `end` bytes of a log, in order. Empty when nothing is known.
pub(super) fn read(log: &Path, end: u64) -> io::Result<Vec<Mark>> {
    let stored = match std::fs::read(beside(log)) {
        Ok(stored) => stored,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    Ok(entries(&stored).map(|(mark, _)| mark).take_while(|mark| mark.offset <= end).collect())
}

/// The entries that are whole, and where each ends in the file. Offsets grow: what doesn't was never written.
fn entries(stored: &[u8]) -> impl Iterator<Item = (Mark, u64)> {
    let (mut at, mut last) = (0, 0);
    std::iter::from_fn(move || {
        let (header, rest) = stored.get(at..)?.split_at_checked(HEADER)?;
        let (offset, len) = header.split_at(8);
        let offset = u64::from_le_bytes(offset.try_into().ok()?);
        let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
        let lines = Lines::from_stored(rest.get(..len)?)?;
        if offset <= last {
            return None;
        }
        (at, last) = (at + HEADER + len, offset);
        Some((Mark { offset, lines }, at as u64))
    })
}

#[cfg(test)]
mod tests {
    use domain::id::TaskId;
    use domain::log::{Line, Output, Source};
    use domain::time::Timestamp;

    use super::*;
    use crate::log::Logs;

    const TASK: TaskId = TaskId(uuid::Uuid::from_u128(7));
    const ONE: Output = Output { run: 1, rank: None };

    /// What an agent sends: lines of two streams over many records, with long ones among them.
    fn pieces() -> Vec<Vec<u8>> {
        let record = |n: i64| {
            let (source, payload) = match n % 5 {
                0 => (Source::Stdout, "x\n".repeat(9000)),
                1 => (Source::Stderr, "a line that goes on ".repeat(300)),
                2 => (Source::Stdout, "y".repeat(40_000)),
                3 => (Source::Agent, format!("number {n}\n")),
                _ => (Source::Stderr, format!("and ends\nwith {n}")),
            };
            let mut bytes = Vec::new();
            Record { at: Timestamp(n), source, rank: None, payload: payload.as_bytes() }.encode(&mut bytes);
            bytes
        };
        (0..300).map(record).collect()
    }

    fn send(logs: &Logs, pieces: &[Vec<u8>]) {
        let log = logs.open(TASK).expect("open");
        for piece in pieces {
            let sent = log.received(ONE);
            assert_eq!(log.append_from_agent(ONE, sent, piece).expect("appended"), sent + piece.len() as u64);
        }
    }

    fn log_of(logs: &Logs) -> PathBuf {
        logs.path(TASK)
    }

    async fn all(logs: &Logs) -> Vec<Line> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let bytes = std::fs::read(log_of(logs)).expect("there");
        Records::new(&bytes).for_each(|record| lines.push(record, |line| all.push(line)));
        lines.finish(|line| all.push(line));
        all
    }

    async fn backwards(logs: &Logs) -> Vec<Line> {
        let (mut reading, mut all) = (logs.read_back(TASK), Vec::new());
        while let (rest, Some(block)) = reading.next(|_| true).await.expect("readable") {
            all.extend(block.into_iter().rev());
            reading = rest;
        }
        all.reverse();
        all
    }

    #[tokio::test]
    async fn a05_an_index_says_what_the_log_says_whatever_happened_to_either() {
        let folder = tempfile::tempdir().expect("folder");
        let anew = || Logs::new(folder.path().to_owned());
        let pieces = pieces();
        let logs = anew();
        send(&logs, &pieces[..150]);
        // A master that starts anew goes on.
        let logs = anew();
        send(&logs, &pieces[150..]);
        let len = std::fs::metadata(log_of(&logs)).expect("there").len();
        let marks = read(&log_of(&logs), u64::MAX).expect("readable");
        assert!((len / (2 * DISTANCE)..=len / DISTANCE).contains(&(marks.len() as u64)), "{}", marks.len());
        let expected = all(&logs).await;
        assert!(backwards(&logs).await == expected, "with an index");
        let (last, _) = logs.read_back(TASK).beginning_of_last(1).await.expect("readable");
        assert!(last + 2 * DISTANCE > len);
        // A torn one, one with something else in it, none.
        let index = beside(&log_of(&logs));
        let stored = std::fs::read(&index).expect("there");
        let torn = stored[..stored.len() - 3].to_vec();
        let zeros = [&stored[..stored.len() / 2], &[0; 5000]].concat();
        for other in [torn, zeros, Vec::new()] {
            std::fs::write(&index, &other).expect("written");
            assert!(backwards(&anew()).await == expected, "{} bytes", other.len());
        }
        // The machine lost the end of the log, but not that of its index: something else comes there.
        std::fs::write(&index, &stored).expect("written");
        let file = OpenOptions::new().write(true).open(log_of(&logs)).expect("there");
        file.set_len(marks[1].offset + 100).expect("cut");
        let logs = anew();
        send(&logs, &pieces[7..200]);
        assert!(backwards(&logs).await == all(&logs).await, "what was said of the lost part is forgotten");
    }

    #[tokio::test]
    async fn a05_an_index_holds_little_whatever_a_task_prints() {
        let folder = tempfile::tempdir().expect("folder");
        let logs = Logs::new(folder.path().to_owned());
        // Two lines that are nearly as long as lines can be, and never at their end at once.
        let mut pieces = Vec::new();
        for n in 0..200 {
            let mut bytes = Vec::new();
            for source in [Source::Stdout, Source::Stderr] {
                let payload = format!("\n{}", "z".repeat(60_000));
                Record { at: Timestamp(n), source, rank: None, payload: payload.as_bytes() }
                    .encode(&mut bytes);
            }
            pieces.push(bytes);
        }
        send(&logs, &pieces);
        assert!(read(&log_of(&logs), u64::MAX).expect("readable").is_empty());
        assert!(backwards(&logs).await == all(&logs).await, "it is read all the same");
    }

    #[tokio::test]
    async fn a05_an_index_goes_with_its_log_and_counts_with_it() {
        let folder = tempfile::tempdir().expect("folder");
        let logs = Logs::new(folder.path().to_owned());
        send(&logs, &pieces());
        let index = beside(&log_of(&logs));
        let log =
            std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(log_of(&logs)).expect("there")) * 512;
        assert!(logs.on_disk(TASK).expect("there") > log);
        logs.remove(TASK).expect("removed");
        assert!(!index.exists() && logs.on_disk(TASK).is_none());
    }
}
