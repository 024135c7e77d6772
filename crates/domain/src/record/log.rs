//! Task output: the framing of stored records, assembling of lines, the layout that Determined's clients print.
//!
//! A record is what was read from a pipe in one go, with its time and source; records are kept byte for byte, so
//! that our own CLI can give the output back unchanged. Lines are made of them on reading.

mod lines;

pub use lines::{Line, Lines, MAX_LINE};

use crate::time::Timestamp;

/// Length of a record's header in bytes: time in µs (u64 LE), source (u8), rank and one more (u16 LE; 0 for none), a zero,
/// payload length (u32 LE).
pub const HEADER_BYTES: usize = 16;

/// Longest payload of one record, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Who wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The task, on standard output.
    Stdout,
    /// The task, on standard error.
    Stderr,
    /// The agent or its launcher, about the task.
    Agent,
    /// The master, about the task.
    Master,
}

impl Source {
    /// The byte in the header.
    #[must_use]
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
            Self::Agent => 2,
            Self::Master => 3,
        }
    }

    /// Reads the header's byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::Agent, Self::Master].into_iter().find(|s| s.as_byte() == byte)
    }

    /// `source` in the API: `task`, `agent` or `master`.
    #[must_use]
    pub fn origin(self) -> &'static str {
        match self {
            Self::Stdout | Self::Stderr => "task",
            Self::Agent => "agent",
            Self::Master => "master",
        }
    }
}

/// Whose output something is: of which of a task's runs, and of one on several agents of which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Output {
    /// The run, from 1.
    pub run: u32,
    /// The part, from 0; none of what a run on one agent writes, or the master says.
    pub rank: Option<u16>,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read.
    pub at: Timestamp,
    /// Who wrote it.
    pub source: Source,
    /// As [`Output::rank`], as the master keeps it; what agents send has none.
    pub rank: Option<u16>,
    /// The bytes.
    pub payload: &'a [u8],
}

/// What the master writes when nothing of the task's own comes any more: lines without an end are over (B13). A record
/// of the master's without a payload; readers that don't know of it see nothing.
#[must_use]
pub fn end_mark(at: Timestamp) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (time, rest) = header.split_at_mut(8);
    time.copy_from_slice(&at.0.to_le_bytes());
    if let Some(source) = rest.first_mut() {
        *source = Source::Master.as_byte();
    }
    header
}

/// What the master writes where so many bytes of the agent's file are missing, for good: an [`end_mark`] whose time is
/// that number, negative. How far the file is here is still known by adding up (KP2).
#[must_use]
pub fn gap_mark(rank: Option<u16>, bytes: u64) -> [u8; HEADER_BYTES] {
    let bytes = i64::try_from(bytes).map_or(LARGEST_GAP, |bytes| bytes.min(LARGEST_GAP));
    let mut mark = end_mark(Timestamp(-bytes));
    set_rank(&mut mark, rank);
    mark
}

/// More than any gap is long, in bytes: marks with a lower number than that say something else.
const LARGEST_GAP: i64 = i64::MAX / 2;

/// What the master writes where another run's output begins: an [`end_mark`] with a number that no gap has. From here on
/// agents' files are counted from their beginnings.
#[must_use]
pub fn run_mark(run: u32) -> [u8; HEADER_BYTES] {
    end_mark(Timestamp(i64::MIN + i64::from(run)))
}

/// Says in the headers of whole records which part wrote them.
pub fn stamp(records: &mut [u8], rank: Option<u16>) {
    let mut rest = records;
    while rank.is_some() {
        let len = match Record::decode(rest) {
            Ok(Some(record)) => record.stored_len(),
            _ => return,
        };
        let Some((record, behind)) = rest.split_at_mut_checked(len) else { return };
        set_rank(record, rank);
        rest = behind;
    }
}

fn set_rank(record: &mut [u8], rank: Option<u16>) {
    if let Some(field) = record.get_mut(9..11) {
        field.copy_from_slice(&rank.map_or(0, |rank| rank.saturating_add(1)).to_le_bytes());
    }
}

/// Text of others within a line of the master's own: control characters are written out, so that a description can't
/// forge a line of its own (A14).
#[must_use]
pub fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    use crate::text::steers;
    if !text.contains(steers) {
        return text.into();
    }
    let escape = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

/// The bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a log record")]
pub struct BadRecord;

impl<'a> Record<'a> {
    /// Bytes that this record takes when stored.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Bytes of the agent's file that are missing here, if this is a [`gap_mark`].
    #[must_use]
    pub fn gap(&self) -> Option<u64> {
        let is_mark = self.source == Source::Master && self.payload.is_empty();
        (is_mark && (-LARGEST_GAP..0).contains(&self.at.0)).then(|| self.at.0.unsigned_abs())
    }

    /// The run that begins here, if this is a [`run_mark`].
    #[must_use]
    pub fn run(&self) -> Option<u32> {
        let is_mark = self.source == Source::Master && self.payload.is_empty();
        let number = self.at.0.checked_sub(i64::MIN).filter(|_| is_mark && self.at.0 < -LARGEST_GAP);
        number.and_then(|number| u32::try_from(number).ok())
    }

    /// Appends the stored form to `out`. Payloads over [`MAX_PAYLOAD`] become several records.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for part in self.payload.chunks(MAX_PAYLOAD) {
            out.extend_from_slice(&self.at.0.to_le_bytes());
            let [low, high] = self.rank.map_or(0, |rank| rank.saturating_add(1)).to_le_bytes();
            out.extend_from_slice(&[self.source.as_byte(), low, high, 0]);
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(part);
        }
    }

    /// Reads the record at the beginning of `bytes`; `None` when it isn't complete.
    ///
    /// # Errors
    /// When the bytes can't be the beginning of a record.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<Self>, BadRecord> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Ok(None);
        };
        let (time, tail) = header.split_at(8);
        let source = tail.first().copied().and_then(Source::from_byte).ok_or(BadRecord)?;
        let len = tail.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or(BadRecord)?;
        let len = usize::try_from(len).map_err(|_| BadRecord)?;
        let Some([low, high, 0]) = tail.get(1..4) else { return Err(BadRecord) };
        if len > MAX_PAYLOAD {
            return Err(BadRecord);
        }
        let rank = u16::from_le_bytes([*low, *high]).checked_sub(1);
        let at = i64::from_le_bytes(time.try_into().map_err(|_| BadRecord)?);
        Ok(rest.get(..len).map(|payload| Self { at: Timestamp(at), source, rank, payload }))
    }
}

/// Iterates over the complete records at the beginning of `bytes`; stops at the first incomplete or bad one.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    consumed: usize,
}

impl<'a> Records<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, consumed: 0 }
    }

    /// Bytes of the records given out so far.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let record = Record::decode(self.rest).ok().flatten()?;
        self.consumed += record.stored_len();
        self.rest = self.rest.get(record.stored_len()..)?;
        Some(record)
    }
}

/// Gives out the records of a piece in parts, so that whoever makes something larger of them can stop in between (A5):
/// 64 KiB of empty lines are 26 MB of JSON.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    /// Where the record that is being given out begins.
    at: usize,
    /// So much of its payload was given out.
    within: usize,
}

impl Pieces {
    /// Of whole records.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0, within: 0 }
    }

    /// How many bytes are left, those that only say what they are among them.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at + self.within)
    }

    /// The next part, with at most `most` bytes of payload; `None` at the end.
    pub fn next(&mut self, most: usize) -> Option<Record<'_>> {
        let record = Record::decode(self.bytes.get(self.at..)?).ok().flatten()?;
        let left = record.payload.get(self.within..).unwrap_or_default();
        let part = left.get(..most.max(1)).unwrap_or(left);
        if part.len() == left.len() {
            (self.at, self.within) = (self.at + record.stored_len(), 0);
        } else {
            self.within += part.len();
        }
        Some(Record { payload: part, ..record })
    }
}

/// The `message` of a log line in the Determined API (contract "runtime", section 1.5), line end included.
#[must_use]
pub fn determined_message(line: &Line, container: &str) -> String {
    let container = container.get(..8).unwrap_or("        ");
    let rank = line.of.rank.map(|rank| format!(" [rank={rank}]")).unwrap_or_default();
    format!("[{}] {container}{rank} || {}: {}\n", line.at.rfc3339(), level(line), line.text)
}

/// The level shown for a line: what it begins with, else `INFO`.
#[must_use]
pub fn level(line: &Line) -> &'static str {
    let levels = ["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
    let has = |level: &&str| line.text.strip_prefix(*level).is_some_and(|rest| rest.starts_with(':'));
    levels.into_iter().find(has).unwrap_or("INFO")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: Source, payload: &[u8]) -> Record<'_> {
        Record { at: Timestamp(7), source, rank: None, payload }
    }

    #[test]
    fn records_round_trip_and_a_torn_one_is_left() {
        let mut bytes = Vec::new();
        record(Source::Stdout, b"one\ntw").encode(&mut bytes);
        record(Source::Stderr, b"oops\n").encode(&mut bytes);
        let whole = bytes.len();
        record(Source::Master, b"torn").encode(&mut bytes);
        bytes.pop();
        let mut records = Records::new(&bytes);
        let payloads: Vec<_> = records.by_ref().map(|r| r.payload.to_vec()).collect();
        assert_eq!(payloads, [b"one\ntw".to_vec(), b"oops\n".to_vec()]);
        assert_eq!(records.consumed(), whole);
        assert_eq!(Record::decode(&[0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]), Err(BadRecord));
    }

    #[test]
    fn a_part_is_stamped_and_marks_tell_runs_from_gaps() {
        let mut bytes = Vec::new();
        record(Source::Stdout, b"one").encode(&mut bytes);
        record(Source::Stderr, b"two").encode(&mut bytes);
        let plain = bytes.clone();
        stamp(&mut bytes, None);
        assert_eq!(bytes, plain);
        stamp(&mut bytes, Some(2));
        let ranks: Vec<_> = Records::new(&bytes).map(|record| (record.rank, record.payload.len())).collect();
        assert_eq!(ranks, [(Some(2), 3), (Some(2), 3)]);
        let said = |mark: [u8; HEADER_BYTES]| {
            let record = Record::decode(&mark).expect("a record").expect("whole");
            (record.gap(), record.run(), record.rank)
        };
        assert_eq!(said(end_mark(Timestamp(7))), (None, None, None));
        assert_eq!(said(gap_mark(Some(1), 9)), (Some(9), None, Some(1)));
        assert_eq!(said(gap_mark(None, u64::MAX)), (Some(u64::MAX / 4), None, None));
        for run in [1, 2, u32::MAX] {
            assert_eq!(said(run_mark(run)), (None, Some(run), None));
        }
    }

    #[test]
    fn a05_pieces_are_the_records_in_parts() {
        let mut bytes = Vec::new();
        record(Source::Stdout, b"12345").encode(&mut bytes);
        bytes.extend_from_slice(&end_mark(Timestamp(7)));
        record(Source::Stderr, b"6").encode(&mut bytes);
        let mut pieces = Pieces::of(bytes);
        let mut seen = Vec::new();
        while let Some(part) = pieces.next(2) {
            seen.push((part.source, part.payload.to_vec()));
        }
        let expected = [
            (Source::Stdout, b"12".to_vec()),
            (Source::Stdout, b"34".to_vec()),
            (Source::Stdout, b"5".to_vec()),
            (Source::Master, Vec::new()),
            (Source::Stderr, b"6".to_vec()),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn determined_layout() {
        let of = Output { run: 1, rank: None };
        let line = Line { number: 1, at: Timestamp(0), source: Source::Stdout, of, text: "hi".into() };
        let message = determined_message(&line, "0123456789");
        assert_eq!(message, "[1970-01-01T00:00:00.000000Z] 01234567 || INFO: hi\n");
        let of = Output { rank: Some(3), ..of };
        let message = determined_message(&Line { of, ..line }, "0123456789");
        assert_eq!(message, "[1970-01-01T00:00:00.000000Z] 01234567 [rank=3] || INFO: hi\n");
    }
}
