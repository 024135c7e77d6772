//! Lines, made of records: assembled for each source on its own, as a terminal would show them. Where records are kept
//! and how they are read is the master's.

use std::collections::BTreeMap;

use memchr::{memchr, memrchr};

use super::{Output, Record, Source};
use crate::time::Timestamp;

/// A line is cut here, in bytes; the rest becomes the next line.
pub const MAX_LINE: usize = 64 * 1024;

/// One line of a log, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Position in the log, from 1.
    pub number: u64,
    /// When its last part was written.
    pub at: Timestamp,
    /// Who wrote it.
    pub source: Source,
    /// Of which run's output it is, and which part's.
    pub of: Output,
    /// Its text as a terminal would leave it; bytes that aren't UTF-8 are replaced.
    pub text: String,
}

/// Makes lines of records. Standard output and standard error are assembled each on their own, so that a line of one
/// is never torn by the other, nor one part's of a run on several agents by another's. What comes out doesn't depend on how the bytes were split into records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    number: u64,
    /// Runs that were over before the one whose output comes.
    before: u32,
    /// By [`Source::as_byte`].
    open: [Open; 4],
    /// The same of parts that have a rank; those that have nothing open aren't there.
    ranked: Ranked,
}

/// Unfinished lines of parts, by rank and [`Source::as_byte`].
type Ranked = BTreeMap<(u16, u8), Open>;

/// Who wrote a line.
type Writer = (Source, Output);

/// The unfinished line of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Open {
    /// At most [`MAX_LINE`].
    bytes: Vec<u8>,
    /// When its last part was written.
    at: Timestamp,
    /// So much of it was given out already, by [`Lines::give_unfinished`].
    given: usize,
}

/// The sources, in the order in which their unfinished lines end.
const SOURCES: [Source; 4] = [Source::Stdout, Source::Stderr, Source::Agent, Source::Master];

impl Lines {
    /// Lines given out so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.number
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.open.iter().chain(self.ranked.values()).map(|open| open.bytes.len()).sum()
    }

    /// This state as bytes, for [`Self::from_stored`]: the number of lines and, for each source, the time and the length of
    /// its unfinished line and that itself. If another run than the first one writes or parts do, there are behind that the number
    /// of runs before, and the same for each unfinished line of a part, behind rank and source. All is little-endian. What was
    /// given out of a line isn't kept.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        let mut stored = self.number.to_le_bytes().to_vec();
        self.open.iter().for_each(|open| open.store(&mut stored));
        if self.before > 0 || !self.ranked.is_empty() {
            stored.extend_from_slice(&self.before.to_le_bytes());
        }
        for ((rank, source), open) in &self.ranked {
            stored.extend_from_slice(&rank.to_le_bytes());
            stored.push(*source);
            open.store(&mut stored);
        }
        stored
    }

    /// Reads what [`Self::stored`] made; `None` when it is something else.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        let (number, mut rest) = bytes.split_first_chunk()?;
        let mut lines = Self { number: u64::from_le_bytes(*number), ..Self::default() };
        for open in &mut lines.open {
            (*open, rest) = Open::from_stored(rest)?;
        }
        if !rest.is_empty() {
            let (before, tail) = rest.split_first_chunk()?;
            (lines.before, rest) = (u32::from_le_bytes(*before), tail);
        }
        while !rest.is_empty() {
            let (rank, tail) = rest.split_first_chunk()?;
            let (source, tail) = tail.split_first()?;
            let (open, tail) = Open::from_stored(tail)?;
            lines.ranked.insert((u16::from_le_bytes(*rank), Source::from_byte(*source)?.as_byte()), open);
            rest = tail;
        }
        Some(lines)
    }

    /// Adds a record and gives each line that it completes to `emit`.
    pub fn push(&mut self, record: Record<'_>, mut emit: impl FnMut(Line)) {
        self.feed(record, |number, at, (source, of), bytes, given| {
            if let Some(text) = rest_of(bytes, given) {
                emit(Line { number, at, source, of, text });
            }
        });
    }

    /// Adds a record whose lines nobody wants; they count.
    pub fn skip(&mut self, record: Record<'_>) {
        self.feed(record, |_, _, _, _, _| {});
    }

    fn feed(&mut self, record: Record<'_>, mut done: impl FnMut(u64, Timestamp, Writer, &[u8], usize)) {
        let (at, byte) = (record.at, record.source.as_byte());
        if record.source == Source::Master && record.payload.is_empty() {
            self.end(done);
            if let Some(run) = record.run() {
                self.before = run.saturating_sub(1);
            }
            return;
        }
        let source = (record.source, Output { run: self.before.saturating_add(1), rank: record.rank });
        let Self { number, open, ranked, .. } = self;
        let open = match record.rank {
            None => open.get_mut(usize::from(byte)),
            Some(rank) => Some(ranked.entry((rank, byte)).or_default()),
        };
        let Some(open) = open else { return };
        let mut rest = record.payload;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, tail) = rest.split_at(end);
            rest = tail.get(1..).unwrap_or_default();
            if open.bytes.is_empty() && line.len() <= MAX_LINE {
                *number += 1;
                done(*number, at, source, line, 0);
                continue;
            }
            open.add(line, at, |bytes, given| {
                *number += 1;
                done(*number, at, source, bytes, given);
            });
            *number += 1;
            done(*number, at, source, &open.bytes, open.given);
            open.clear();
        }
        open.add(rest, at, |bytes, given| {
            *number += 1;
            done(*number, at, source, bytes, given);
        });
        if let Some(rank) = record.rank.filter(|_| open.bytes.is_empty()) {
            ranked.remove(&(rank, byte));
        }
    }

    /// Nothing more will come: what has no line end is a line.
    fn end(&mut self, mut done: impl FnMut(u64, Timestamp, Writer, &[u8], usize)) {
        let Self { number, before, open, ranked } = self;
        for (writer, open) in all(*before, open, ranked) {
            if !open.bytes.is_empty() {
                *number += 1;
                done(*number, open.at, writer, &open.bytes, open.given);
                open.clear();
            }
        }
        ranked.clear();
    }

    /// Gives out what has no line end, once nothing more will come.
    pub fn finish(&mut self, mut emit: impl FnMut(Line)) {
        self.end(|number, at, (source, of), bytes, given| {
            if let Some(text) = rest_of(bytes, given) {
                emit(Line { number, at, source, of, text });
            }
        });
    }

    /// Whether there is something that [`Self::give_unfinished`] would give out.
    #[must_use]
    pub fn has_unfinished(&self) -> bool {
        self.open.iter().chain(self.ranked.values()).any(|open| open.news().is_some())
    }

    /// Gives out what is known of unfinished lines and wasn't given out yet, under the number that the line will have
    /// (B13): who follows a log mustn't wait for a line's end. What comes later gives only the rest of the line.
    pub fn give_unfinished(&mut self, mut emit: impl FnMut(Line)) {
        let Self { number, before, open, ranked } = self;
        for ((source, of), open) in all(*before, open, ranked) {
            if let Some((text, end)) = open.news() {
                open.given = end;
                emit(Line { number: *number + 1, at: open.at, source, of, text });
            }
        }
    }

    /// The unfinished lines as they are now.
    pub fn unfinished(&self) -> impl Iterator<Item = Line> {
        let run = self.before.saturating_add(1);
        let line = move |(source, rank, open): (Source, Option<u16>, &Open)| {
            let text = whole_characters(&open.bytes);
            let text = as_shown(&String::from_utf8_lossy(text));
            let of = Output { run, rank };
            (!text.is_empty()).then_some(Line { number: self.number + 1, at: open.at, source, of, text })
        };
        let plain = SOURCES.into_iter().zip(&self.open).map(|(source, open)| (source, None, open));
        let ranked = self
            .ranked
            .iter()
            .filter_map(|((rank, source), open)| Some((Source::from_byte(*source)?, Some(*rank), open)));
        plain.chain(ranked).filter_map(line)
    }
}

/// All that can be unfinished, in the order in which it ends.
fn all<'a>(
    before: u32,
    open: &'a mut [Open; 4],
    ranked: &'a mut Ranked,
) -> impl Iterator<Item = (Writer, &'a mut Open)> {
    let of = move |rank| Output { run: before.saturating_add(1), rank };
    let plain = SOURCES.into_iter().zip(open).map(move |(source, open)| ((source, of(None)), open));
    let ranked = ranked.iter_mut().filter_map(move |((rank, source), open)| {
        Some(((Source::from_byte(*source)?, of(Some(*rank))), open))
    });
    plain.chain(ranked)
}

impl Open {
    fn store(&self, stored: &mut Vec<u8>) {
        stored.extend_from_slice(&self.at.0.to_le_bytes());
        // At most `MAX_LINE`.
        stored.extend_from_slice(&u32::try_from(self.bytes.len()).unwrap_or(0).to_le_bytes());
        stored.extend_from_slice(&self.bytes);
    }

    /// What [`Self::store`] wrote, and what stands behind it.
    fn from_stored(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (at, tail) = bytes.split_first_chunk()?;
        let (len, tail) = tail.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= MAX_LINE)?;
        let (line, tail) = tail.split_at_checked(len)?;
        Some((Self { bytes: line.to_vec(), at: Timestamp(i64::from_le_bytes(*at)), given: 0 }, tail))
    }

    /// Adds to the line; `cut` takes it when it grows too long. Of text that is written over (`\r`) the oldest is dropped
    /// before that, so that a progress bar of a day is still one line.
    fn add(&mut self, mut rest: &[u8], at: Timestamp, mut cut: impl FnMut(&[u8], usize)) {
        while !rest.is_empty() {
            if self.bytes.len() == MAX_LINE {
                match memrchr(b'\r', self.bytes.get(..MAX_LINE - 1).unwrap_or_default()) {
                    Some(over) => {
                        self.bytes.drain(..=over);
                        self.given = self.given.saturating_sub(over + 1);
                    }
                    None => {
                        cut(&self.bytes, self.given);
                        self.clear();
                    }
                }
            }
            let room = MAX_LINE - self.bytes.len();
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.bytes.extend_from_slice(now);
            self.at = at;
            rest = later;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.given = 0;
    }

    /// What wasn't given out yet, and where it ends.
    fn news(&self) -> Option<(String, usize)> {
        let news = whole_characters(self.bytes.get(self.given..)?);
        let text = as_shown(&String::from_utf8_lossy(news));
        (!text.is_empty()).then_some((text, self.given + news.len()))
    }
}

/// A line's text, without what was given out before; `None` when nothing is left of it.
fn rest_of(line: &[u8], given: usize) -> Option<String> {
    let rest = line.get(given..)?;
    let text = as_shown(&String::from_utf8_lossy(rest.strip_suffix(b"\r").unwrap_or(rest)));
    (given == 0 || !text.is_empty()).then_some(text)
}

/// Without the beginning of a character at the end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.get(..error.valid_up_to()).unwrap_or(bytes),
        _ => bytes,
    }
}

/// What a terminal shows in the end: what stands behind `\r` is written over what was there. Where a part moves the
/// cursor or sets colours, it stands alone.
fn as_shown(text: &str) -> String {
    if !text.contains('\r') {
        return text.to_owned();
    }
    let mut shown = String::new();
    for part in text.split('\r').filter(|part| !part.is_empty()) {
        let steers = part.contains('\u{1b}') || shown.contains('\u{1b}');
        let behind = if steers { None } else { shown.char_indices().nth(part.chars().count()) };
        let tail = behind.and_then(|(at, _)| shown.get(at..)).unwrap_or_default();
        shown = format!("{part}{tail}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(source: Source, payload: &[u8]) -> Record<'_> {
        Record { at: Timestamp(7), source, rank: None, payload }
    }

    fn lines_of(parts: &[Record<'_>]) -> Vec<(u64, String)> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for part in parts {
            lines.push(*part, |l| seen.push((l.number, l.text)));
        }
        lines.finish(|l| seen.push((l.number, l.text)));
        seen
    }

    #[test]
    fn parts_do_not_tear_each_other_and_a_run_ends_all_lines_of_the_one_before() {
        let rank = |rank, payload| Record { rank: Some(rank), ..record(Source::Stdout, payload) };
        let mark = super::super::run_mark(2);
        let run = Record::decode(&mark).expect("a record").expect("whole");
        let parts = [rank(0, b"half of "), rank(1, b"b\nno end"), rank(0, b"a\n"), run, rank(1, b"next")];
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for part in parts {
            // The state can be stored anywhere.
            let again = Lines::from_stored(&lines.stored()).expect("what was stored");
            assert_eq!(again, lines);
            lines.push(part, |line| seen.push((line.of, line.text)));
        }
        assert_eq!(lines.held(), 4);
        lines.finish(|line| seen.push((line.of, line.text)));
        let of = |run, rank| Output { run, rank: Some(rank) };
        let expected = [(of(1, 1), "b"), (of(1, 0), "half of a"), (of(1, 1), "no end"), (of(2, 1), "next")];
        assert_eq!(seen, expected.map(|(of, text)| (of, text.to_owned())));
        // What was stored before there were runs and parts is understood, and still written so.
        assert_eq!(Lines::default().stored().len(), 8 + 4 * 12);
    }

    #[test]
    fn lines_of_two_streams_do_not_tear_each_other() {
        let seen = lines_of(&[
            record(Source::Stdout, b"a\r\nhal"),
            record(Source::Stderr, b"err\n"),
            record(Source::Stdout, b"f\nrest"),
        ]);
        assert_eq!(seen, [(1, "a"), (2, "err"), (3, "half"), (4, "rest")].map(|(n, t)| (n, t.to_owned())));
    }

    #[test]
    fn b13_a_line_without_an_end_stands_before_what_is_said_of_the_end() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let late = |payload| Record { at: Timestamp(9), source: Source::Master, rank: None, payload };
        for part in [record(Source::Stdout, b"no end"), late(b""), late(b"resources exited\n")] {
            lines.push(part, |l| seen.push((l.at.0, l.text)));
        }
        assert_eq!(seen, [(7, "no end".to_owned()), (9, "resources exited".to_owned())]);
    }

    #[test]
    fn b13_a_progress_bar_is_seen_as_it_goes_and_given_out_once() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut give = |lines: &mut Lines, payload: &[u8]| {
            lines.push(record(Source::Stdout, payload), |l| seen.push(l.text));
            lines.give_unfinished(|l| seen.push(l.text));
            std::mem::take(&mut seen)
        };
        assert_eq!(give(&mut lines, b"Loading... "), ["Loading... "]);
        assert!(give(&mut lines, b"").is_empty());
        assert_eq!(give(&mut lines, b"done\n"), ["done"], "only the rest");
        assert_eq!(give(&mut lines, b"\r 10%\r 20%"), [" 20%"]);
        assert_eq!(give(&mut lines, b"\r 30%"), [" 30%"]);
        assert!(give(&mut lines, b"\n").is_empty(), "all of it was given out");
        assert_eq!(give(&mut lines, b"Gr\xc3"), ["Gr"]);
        assert_eq!(give(&mut lines, b"\xbcn\n"), ["\u{fc}n"], "no half characters");
        assert_eq!(lines.count(), 3);
    }

    #[test]
    fn b13_text_is_written_over_as_on_a_terminal() {
        for (raw, shown) in [
            ("10%\r20%\r", "20%"),
            ("12345\rab", "ab345"),
            ("long text\r\u{1b}[Kx", "\u{1b}[Kx"),
            ("\r\r", ""),
            ("plain", "plain"),
        ] {
            assert_eq!(as_shown(raw), shown, "{raw:?}");
        }
        let day: Vec<u8> = (0..50_000).flat_map(|n| format!("\r{n:6}").into_bytes()).collect();
        let seen = lines_of(&[record(Source::Stdout, &day), record(Source::Stdout, b"\n")]);
        assert_eq!(seen, [(1, " 49999".to_owned())], "a long progress bar is one line");
    }

    #[test]
    fn the_state_of_lines_is_kept_as_bytes() {
        let mut lines = Lines::default();
        for part in [
            record(Source::Stdout, b"one\nhal"),
            record(Source::Stderr, b"\xff\r"),
            record(Source::Agent, b"x\n"),
        ] {
            lines.skip(part);
        }
        let stored = lines.stored();
        assert_eq!(Lines::from_stored(&stored), Some(lines));
        assert_eq!(Lines::from_stored(&stored[..stored.len() - 1]), None);
        assert_eq!(Lines::from_stored(&[stored, vec![0]].concat()), None);
        assert_eq!(Lines::from_stored(&[0xff; 200]), None, "no line is as long");
    }

    proptest! {
        #[test]
        fn a05_lines_do_not_depend_on_the_splits(
            bytes in prop::collection::vec(prop_oneof![4 => 0_u8..=255, 1 => Just(b'\n'), 1 => Just(b'\r')], 0..400),
            repeat in 1_usize..400,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let bytes = bytes.repeat(repeat);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                parts.push(record(Source::Stdout, &bytes[from..cut]));
                from = cut;
            }
            prop_assert_eq!(lines_of(&parts), lines_of(&[record(Source::Stdout, &bytes)]));
        }
    }
}
