//! Reading a log backwards (A5), in bounded memory.
//!
//! Lines can only be made forwards: their numbers are counted, and those of two streams lie between each other. So there are
//! marks, places where reading can begin with the state of the lines there. The index beside a log has them (`index`); only
//! what is behind its last one is passed. The stretch behind the last mark is then passed to note more of them, until it is a
//! block that can be held. Where there is no index (a log of an earlier version's), the log is passed as a whole once, and
//! its marks are kept in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use domain::id::TaskId;
use domain::log::{HEADER_BYTES, Line, Lines, MAX_PAYLOAD, Records};
use domain::time::Timestamp;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::index;
use super::reading::{of_removed, opened, piece, removed_at};

/// Shortest stretch between two marks, in bytes.
const SHORTEST: u64 = 16 << 10;

/// What is given out at once takes about so many bytes, or is one line: whoever reads a log's end holds that for as long as they
/// like (MC7). The lines of one block may take 4 MiB.
const AT_ONCE: usize = 64 << 10;

/// A stretch that isn't divided further: it may hold a mark's distance and one record.
const BLOCK: u64 = SHORTEST + (HEADER_BYTES + MAX_PAYLOAD) as u64;

/// Most marks of one pass.
const MARKS: usize = 64;

/// Most bytes of unfinished lines in the marks of one pass.
const HELD: usize = 1 << 20;

/// Bytes that the marks of all logs may take together.
const KNOWN_BYTES: u64 = 8 << 20;

/// What an index may lack of a log's end, in bytes: more is passed once, and then known.
const UNINDEXED: u64 = 4 << 20;

/// A place where reading can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// In bytes.
    pub(super) offset: u64,
    /// The state of the lines there.
    pub(super) lines: Lines,
}

/// Marks of a stretch, about evenly spread; the first is where it begins.
#[derive(Debug, Clone)]
struct Marks {
    distance: u64,
    marks: Vec<Mark>,
    /// Up to here was passed.
    passed: u64,
    /// The state of the lines there.
    lines: Lines,
}

impl Marks {
    fn from(begin: Mark, distance: u64) -> Self {
        let Mark { offset: passed, lines } = begin.clone();
        Self { distance, marks: vec![begin], passed, lines }
    }

    /// Passes on to `end`.
    fn pass(&mut self, file: &File, end: u64) -> io::Result<()> {
        while self.passed < end {
            let bytes = piece(file, self.passed, end)?;
            if bytes.is_empty() {
                return Ok(());
            }
            for record in Records::new(&bytes) {
                if self.marks.last().is_none_or(|last| self.passed >= last.offset + self.distance) {
                    self.marks.push(Mark { offset: self.passed, lines: self.lines.clone() });
                    self.thin_out();
                }
                self.lines.skip(record);
                self.passed += record.stored_len() as u64;
            }
        }
        Ok(())
    }

    fn held(&self) -> usize {
        self.marks.iter().map(|mark| mark.lines.held()).sum()
    }

    /// Leaves out every second mark when there are too many.
    fn thin_out(&mut self) {
        while self.marks.len() > 2 && (self.marks.len() > MARKS || self.held() > HELD) {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
            self.distance *= 2;
        }
    }
}

/// The marks of whole logs, as long as there is room.
#[derive(Debug, Clone)]
pub(super) struct Known(Arc<Cache<TaskId, Marks, Size>>);

/// Bytes that marks take.
#[derive(Debug, Clone)]
struct Size;

impl Weighter<TaskId, Marks> for Size {
    fn weight(&self, _: &TaskId, marks: &Marks) -> u64 {
        (size_of::<Marks>() + marks.marks.len() * size_of::<Mark>() + marks.held()) as u64
    }
}

impl Known {
    /// A log isn't there any more.
    pub(super) fn forget(&self, task: TaskId) {
        self.0.remove(&task);
    }
}

impl Default for Known {
    fn default() -> Self {
        Self(Arc::new(Cache::with_weighter(1000, KNOWN_BYTES, Size)))
    }
}

/// Reads a log backwards.
#[derive(Debug)]
pub struct Backward {
    task: TaskId,
    path: PathBuf,
    /// What is known of a living log's length.
    end: Option<u64>,
    known: Known,
    file: Option<Arc<File>>,
    begun: Option<Begun>,
    /// The log isn't there any more: all that there is to be read.
    removed: Option<Vec<u8>>,
}

/// What is read of.
#[derive(Debug)]
struct Begun {
    file: Arc<File>,
    /// Where stretches begin that weren't given out yet.
    marks: Vec<Mark>,
    /// Where the last of them ends.
    upto: u64,
    /// It is the log's end: unfinished lines belong to it.
    last: bool,
    /// So many of the lines of the last stretch weren't given out yet; all of them when that isn't known.
    left: Option<usize>,
    /// Lines in all.
    total: u64,
}

impl Backward {
    pub(super) fn new(task: TaskId, path: PathBuf, end: Option<u64>, known: Known) -> Self {
        Self { task, path, end, known, file: None, begun: None, removed: None }
    }

    /// Reads a log that was removed `at` that time.
    pub(crate) fn removed(task: TaskId, at: Timestamp) -> Self {
        let removed = Some(of_removed(at));
        Self { removed, ..Self::new(task, PathBuf::new(), None, Known::default()) }
    }

    /// As [`super::Follower::begun`].
    ///
    /// # Errors
    /// When the file can't be opened.
    pub(crate) async fn begun(mut self) -> io::Result<(Self, bool)> {
        let path = self.path.clone();
        let open = move || opened(&path);
        self.file = tokio::task::spawn_blocking(open).await.map_err(io::Error::other).flatten()?;
        let is_there = self.file.is_some() || self.end.is_some();
        Ok((self, is_there))
    }

    /// The last lines that weren't given out yet and are `wanted`, oldest first, about [`AT_ONCE`] of them; `None` when all were.
    /// There may be none in a block.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn next(
        mut self,
        wanted: impl Fn(&Line) -> bool + Send + 'static,
    ) -> io::Result<(Self, Option<Vec<Line>>)> {
        let read = move || {
            let lines = self.block(wanted)?;
            Ok((self, lines))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten()
    }

    /// Where the block begins in which the last `count` lines begin.
    pub(super) async fn beginning_of_last(mut self, count: u64) -> io::Result<(u64, Lines)> {
        let find = move || {
            let Some(begun) = self.begin()? else { return Ok((0, Lines::default())) };
            let before = begun.total.saturating_sub(count);
            loop {
                while begun.marks.len() > 1
                    && begun.marks.last().is_some_and(|mark| mark.lines.count() > before)
                {
                    begun.upto = begun.marks.pop().map_or(0, |mark| mark.offset);
                }
                if !begun.divide()? {
                    return Ok(begun.marks.pop().map_or_else(Default::default, |m| (m.offset, m.lines)));
                }
            }
        };
        tokio::task::spawn_blocking(find).await.map_err(io::Error::other).flatten()
    }

    /// Passes over what isn't known of the log yet.
    fn begin(&mut self) -> io::Result<Option<&mut Begun>> {
        if self.begun.is_none() {
            let there = self.file.take().map_or_else(|| opened(&self.path), |file| Ok(Some(file)));
            let Some(file) = there? else { return Ok(None) };
            let end = self.end.unwrap_or(u64::MAX).min(file.metadata()?.len());
            let fresh = || Marks::from(Mark { offset: 0, lines: Lines::default() }, BLOCK);
            let mut indexed = index::read(&self.path, end)?;
            let begin = indexed.pop_if(|last| end - last.offset <= UNINDEXED);
            let mut marks = if let Some(begin) = begin {
                let mut marks = Marks::from(begin, BLOCK);
                marks.pass(&file, end)?;
                marks.marks.splice(..0, [fresh().marks, indexed].concat());
                marks
            } else {
                // A log that lost its end in a crash of the machine is another one.
                let known = self.known.0.get(&self.task).filter(|marks| marks.passed <= end);
                let mut marks = known.unwrap_or_else(fresh);
                marks.pass(&file, end)?;
                self.known.0.insert(self.task, marks.clone());
                marks
            };
            let (total, upto) = (marks.lines.count(), marks.passed);
            let marks = std::mem::take(&mut marks.marks);
            self.begun = Some(Begun { file, marks, upto, last: true, left: None, total });
        }
        Ok(self.begun.as_mut())
    }

    fn block(&mut self, wanted: impl Fn(&Line) -> bool) -> io::Result<Option<Vec<Line>>> {
        if let Some(bytes) = self.removed.take() {
            return Ok(Some(only(&bytes, wanted)));
        }
        let Some(begun) = self.begin()? else { return Ok(None) };
        while begun.left.is_none() && begun.divide()? {}
        let Some(Mark { mut offset, mut lines }) = begun.marks.last().cloned() else { return Ok(None) };
        let (mut latest, mut read) = (LatestLines::default(), 0);
        let mut take = |line: Line| {
            if begun.left.is_none_or(|left| read < left) && wanted(&line) {
                latest.add(read, line);
            }
            read += 1;
        };
        while offset < begun.upto {
            let bytes = piece(&begun.file, offset, begun.upto)?;
            if bytes.is_empty() {
                break;
            }
            Records::new(&bytes).for_each(|record| lines.push(record, &mut take));
            offset += bytes.len() as u64;
        }
        if begun.last {
            lines.finish(&mut take);
        }
        if let Some(at) = removed_at(&begun.file)? {
            // Nothing comes before it.
            begun.marks.clear();
            return Ok(Some(only(&of_removed(at), wanted)));
        }
        begun.left = latest.first_of_more();
        if begun.left.is_none() {
            begun.upto = begun.marks.pop().map_or(0, |mark| mark.offset);
            begun.last = false;
        }
        Ok(Some(latest.lines.into_iter().map(|(_, line)| line).collect()))
    }
}

/// The latest lines of a stretch, as far as there is room for them.
#[derive(Default)]
struct LatestLines {
    /// With the number of each in the stretch.
    lines: VecDeque<(usize, Line)>,
    bytes: usize,
    /// There were more before them.
    is_cut: bool,
}

impl LatestLines {
    fn add(&mut self, number: usize, line: Line) {
        let takes = |line: &Line| size_of::<(usize, Line)>() + line.text.len();
        self.bytes += takes(&line);
        self.lines.push_back((number, line));
        while self.bytes > AT_ONCE
            && self.lines.len() > 1
            && let Some((_, first)) = self.lines.pop_front()
        {
            self.bytes -= takes(&first);
            self.is_cut = true;
        }
    }

    /// The number of the first one, when there were more before it.
    fn first_of_more(&self) -> Option<usize> {
        self.lines.front().filter(|_| self.is_cut).map(|(number, _)| *number)
    }
}

/// The wanted ones of a few lines.
fn only(bytes: &[u8], wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
    let mut found = Vec::new();
    Records::new(bytes).for_each(|record| Lines::default().push(record, |line| found.push(line)));
    found.retain(wanted);
    found
}

impl Begun {
    /// Divides the last stretch, if it is longer than a block. Tells whether it was.
    fn divide(&mut self) -> io::Result<bool> {
        let Some(last) = self.marks.last().filter(|last| self.upto - last.offset > BLOCK) else {
            return Ok(false);
        };
        let distance = ((self.upto - last.offset) / MARKS as u64).max(SHORTEST);
        let mut marks = Marks::from(last.clone(), distance);
        marks.pass(&self.file, self.upto)?;
        let divided = marks.marks.len() > 1;
        self.marks.pop();
        self.marks.append(&mut marks.marks);
        Ok(divided)
    }
}

#[cfg(test)]
mod tests {
    use domain::log::{Record, Source, end_mark};
    use domain::time::Timestamp;

    use super::*;
    use crate::log::Logs;

    /// A log with everything in it that makes reading backwards hard: lines over many records, of two streams, endless
    /// ones, empty ones, one without an end.
    fn log() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |n: i64, source, payload: &[u8]| {
            Record { at: Timestamp(n), source, rank: None, payload }.encode(&mut bytes);
        };
        add(0, Source::Master, b"Scheduling\n");
        add(1, Source::Stderr, b"a warning that is not over until the end");
        for n in 2..600 {
            match n % 6 {
                0 => add(n, Source::Stdout, &b"\n".repeat(700)),
                1 => add(n, Source::Stdout, "x".repeat(3000).as_bytes()),
                2 => add(n, Source::Stdout, b"end of it\nand a"),
                3 => add(n, Source::Stdout, format!(" number {n}\n").as_bytes()),
                4 => add(n, Source::Agent, b"said\n"),
                _ => add(n, Source::Stdout, &[b'y'; 20_000]),
            }
        }
        add(600, Source::Stderr, b"!\n");
        add(601, Source::Stdout, b"no end");
        bytes.extend_from_slice(&end_mark(Timestamp(602)));
        Record { at: Timestamp(602), source: Source::Master, rank: None, payload: b"over\n" }
            .encode(&mut bytes);
        Record { at: Timestamp(603), source: Source::Stderr, rank: None, payload: b"late" }
            .encode(&mut bytes);
        bytes
    }

    fn forwards(bytes: &[u8]) -> Vec<Line> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        Records::new(bytes).for_each(|record| lines.push(record, |line| all.push(line)));
        lines.finish(|line| all.push(line));
        all
    }

    fn stored(bytes: &[u8]) -> (tempfile::TempDir, Logs, TaskId) {
        let folder = tempfile::tempdir().expect("folder");
        let logs = Logs::new(folder.path().to_owned());
        let task = TaskId(uuid::Uuid::from_u128(7));
        let path = logs.path(task);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
        (folder, logs, task)
    }

    async fn backwards(logs: &Logs, task: TaskId) -> Vec<Line> {
        let (mut reading, mut all) = (logs.read_back(task), Vec::new());
        while let (rest, Some(block)) = reading.next(|_| true).await.expect("readable") {
            all.extend(block.into_iter().rev());
            reading = rest;
        }
        all.reverse();
        all
    }

    #[tokio::test]
    async fn a05_backwards_gives_what_forwards_gives() {
        let bytes = log();
        let (_folder, logs, task) = stored(&bytes);
        let expected = forwards(&bytes);
        assert!(bytes.len() as u64 > 20 * BLOCK && expected.len() > 50_000, "large enough to be divided");
        assert!(backwards(&logs, task).await == expected, "the first time");
        assert!(backwards(&logs, task).await == expected, "with what is known");
        assert!(backwards(&logs, TaskId(uuid::Uuid::from_u128(8))).await.is_empty(), "none is there");
    }

    /// MC7: the 80 000 empty lines of one block were megabytes for each connection that read no further.
    #[tokio::test]
    async fn a05_who_reads_backwards_holds_little() {
        let mut bytes = Vec::new();
        for n in 0..4 {
            let payload = b"\n".repeat(MAX_PAYLOAD);
            Record { at: Timestamp(n), source: Source::Stdout, rank: None, payload: &payload }
                .encode(&mut bytes);
        }
        let (_folder, logs, task) = stored(&bytes);
        let (mut reading, mut blocks) = (logs.read_back(task), 0);
        while let (rest, Some(block)) = reading.next(|line| line.number % 50 == 0).await.expect("readable") {
            assert!(block.len() * size_of::<Line>() <= AT_ONCE && block.capacity() <= 2 * block.len() + 8);
            blocks += 1;
            reading = rest;
        }
        assert!(blocks > 4, "{blocks}");
    }

    #[tokio::test]
    async fn a05_the_last_lines_are_found_without_the_others() {
        let bytes = log();
        let (_folder, logs, task) = stored(&bytes);
        let expected = forwards(&bytes);
        for last in [0, 1, 10, 5000, 1_000_000] {
            let (mut follower, mut lines) = logs.read_last(task, last, false).await.expect("readable");
            let first = lines.count();
            let mut all = Vec::new();
            let mut read = 0;
            while let Some(piece) = follower.next().await.expect("readable") {
                read += piece.len() as u64;
                Records::new(&piece).for_each(|record| lines.push(record, |line| all.push(line)));
            }
            lines.finish(|line| all.push(line));
            assert!(all.len() as u64 >= last.min(expected.len() as u64), "{last}");
            assert!(all == expected[usize::try_from(first).expect("small")..], "{last}");
            assert!(last > 10 || read <= 2 * BLOCK, "{last}: {read} bytes were read");
        }
    }

    #[tokio::test]
    async fn a05_what_is_known_grows_with_the_log() {
        let bytes = log();
        let half = Records::new(&bytes).take(300).map(|record| record.stored_len()).sum();
        let (_folder, logs, task) = stored(&bytes[..half]);
        assert!(backwards(&logs, task).await == forwards(&bytes[..half]));
        std::fs::write(logs.path(task), &bytes).expect("written");
        assert!(backwards(&logs, task).await == forwards(&bytes));
        std::fs::write(logs.path(task), &bytes[..half]).expect("cut off");
        assert!(backwards(&logs, task).await == forwards(&bytes[..half]), "a log may lose its end");
    }

    #[test]
    fn a05_marks_stay_few() {
        let (_folder, logs, task) = stored(&log());
        let file = File::open(logs.path(task)).expect("there");
        let mut marks = Marks::from(Mark { offset: 0, lines: Lines::default() }, 1);
        marks.pass(&file, u64::MAX).expect("readable");
        assert!((MARKS / 4..=MARKS).contains(&marks.marks.len()), "{}", marks.marks.len());
        assert!(marks.held() <= HELD);
    }
}
