//! The file of one log as it is written: whole records behind each other, what came of the agent's, and what there was no
//! space for.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use domain::log::{HEADER_BYTES, MAX_PAYLOAD, Output, Record, Source, gap_mark, run_mark};
use domain::time::Timestamp;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::index::Index;
use super::mask::Tails;

/// Space for what the master says at a log's end, in bytes: it is there when others have filled the disk (A4).
const FOR_MASTER: u64 = 4096;

/// Bytes read at a time when a log is taken up.
const READ_BYTES: usize = 512 << 10;

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) path: PathBuf,
    /// It was written to since this log was begun or taken up, and a torn end is cut off.
    pub(super) written: bool,
    pub(super) len: u64,
    /// The run whose output comes.
    pub(super) run: u32,
    /// What came of each of its parts' files; of a run on one agent it has no rank.
    pub(super) parts: BTreeMap<Option<u16>, Part>,
    /// The last record, if it is the master's own.
    pub(super) last_own: Option<Vec<u8>>,
    /// The disk didn't take the latest piece of the agent's.
    pub(super) starved: bool,
    /// Bytes of agents' are being made sure of.
    pub(super) securing: bool,
    /// The file has space behind its end.
    pub(super) ahead: bool,
    /// What comes of the agent's beyond this length isn't kept.
    pub(super) limit: u64,
    pub(super) index: Index,
}

/// What came of one agent's file.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// How much, in bytes of that file.
    pub(super) received: u64,
    /// What of it is on the disk for certain.
    pub(super) kept: u64,
    /// Where tokens may go on.
    pub(super) tails: Tails,
    /// What wasn't kept, since this log was taken up.
    pub(super) dropped: Option<Dropped>,
}

/// A part of an agent's log that is thrown away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped {
    /// Where the mark stands that says how long it is.
    pub(super) mark: u64,
    pub(super) bytes: u64,
}

impl Writer {
    /// Of a log of which nothing is there, and which has no limit.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            index: Index::new(&path),
            path,
            written: false,
            len: 0,
            run: 1,
            parts: BTreeMap::new(),
            last_own: None,
            starved: false,
            securing: false,
            ahead: false,
            limit: u64::MAX,
        }
    }

    /// The same of what is there.
    pub(super) fn recover(path: PathBuf) -> io::Result<Self> {
        let mut writer = Self::new(path);
        match File::open(&writer.path) {
            Ok(file) => {
                writer.measure(file);
                writer.index.taken_up(writer.len)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(writer)
    }

    /// Finds the length of the whole records in a file, and of those that came from agents; and what else goes on
    /// from there.
    fn measure(&mut self, file: File) {
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        let mut record = vec![0; HEADER_BYTES + MAX_PAYLOAD];
        loop {
            let header = record.get_mut(..HEADER_BYTES).unwrap_or_default();
            if reader.read_exact(header).is_err() {
                return;
            }
            let payload = header.get(12..16).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
            let end = HEADER_BYTES + usize::try_from(payload).unwrap_or(usize::MAX).min(MAX_PAYLOAD);
            if reader.read_exact(record.get_mut(HEADER_BYTES..end).unwrap_or_default()).is_err() {
                return;
            }
            let Ok(Some(whole)) = Record::decode(record.get(..end).unwrap_or_default()) else { return };
            let stored = whole.stored_len() as u64;
            self.index.found(whole);
            self.len += stored;
            self.last_own = (whole.source == Source::Master).then(|| whole.payload.to_vec());
            if let Some(run) = whole.run() {
                (self.run, self.parts) = (run, BTreeMap::new());
            } else if let Some(gap) = whole.gap() {
                let part = self.parts.entry(whole.rank).or_default();
                part.received = part.received.saturating_add(gap);
                part.tails = Tails::default();
            } else if self.last_own.is_none() {
                let part = self.parts.entry(whole.rank).or_default();
                part.received += stored;
                part.tails.stored(whole.source.as_byte(), whole.payload);
            }
        }
    }

    /// How much of a part's file came; of a run that is over nothing is wanted any more.
    pub(super) fn received(&self, of: Output) -> u64 {
        match of.run.cmp(&self.run) {
            Ordering::Less => u64::MAX,
            Ordering::Equal => self.parts.get(&of.rank).map_or(0, |part| part.received),
            Ordering::Greater => 0,
        }
    }

    /// Another run's output begins, if it hasn't: it stands behind that of the run before.
    pub(super) fn begin_run(&mut self, run: u32) -> io::Result<()> {
        if run > self.run {
            self.append(&run_mark(run))?;
            (self.run, self.parts, self.last_own) = (run, BTreeMap::new(), Some(Vec::new()));
        }
        Ok(())
    }

    /// The file, to be written. It is open for as long as somebody writes and no longer: every living task has a log, and
    /// there may be more of them than a process may have files (MC2).
    pub(super) fn file(&mut self) -> io::Result<File> {
        let (path, first) = (&self.path, !self.written);
        if let Some(folder) = path.parent().filter(|_| first) {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(first).truncate(false).write(true).open(path)?;
        if first {
            file.set_len(self.len)?;
            self.written = true;
        }
        Ok(file)
    }

    /// The file, if something of it may not be on the disk yet. Of one that somebody took away nothing can be.
    pub(super) fn unsure(&mut self) -> io::Result<Option<File>> {
        if !self.written {
            return Ok(None);
        }
        match self.file() {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// As [`Self::append`], where there is space for what the master says behind it, too.
    pub(super) fn append_with_space(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        let space = bytes.len() as u64 + FOR_MASTER;
        match fallocate(&file, FallocateFlags::KEEP_SIZE, self.len, space) {
            Err(Errno::NOSPC | Errno::DQUOT) => return Err(io::ErrorKind::StorageFull.into()),
            // Where no space can be promised, it shows in writing.
            taken => self.ahead |= taken.is_ok(),
        }
        self.append_to(&file, bytes)
    }

    /// Throws so many bytes of the agent's away: they count as had, by a mark that is written once and then changed, and a
    /// line says so. Who sends small pieces makes the file no longer.
    pub(super) fn drop_from_agent(&mut self, rank: Option<u16>, at: Timestamp, bytes: u64) -> io::Result<()> {
        let dropped = self.parts.get(&rank).and_then(|part| part.dropped);
        if let Some(Dropped { mark, bytes: before }) = dropped {
            let all = before.saturating_add(bytes);
            self.file()?.write_all_at(&gap_mark(rank, all), mark)?;
            let part = self.parts.entry(rank).or_default();
            part.dropped = Some(Dropped { mark, bytes: all });
            part.received = part.received.saturating_add(bytes);
            return Ok(());
        }
        let mark = self.len;
        let line = "this log is longer than the master keeps (limits.log_bytes): what comes from here on is thrown away\n";
        let mut piece = gap_mark(rank, bytes).to_vec();
        Record { at, source: Source::Master, rank: None, payload: line.as_bytes() }.encode(&mut piece);
        self.append(&piece)?;
        self.last_own = Some(line.as_bytes().to_vec());
        let part = self.parts.entry(rank).or_default();
        part.received = part.received.saturating_add(bytes);
        (part.dropped, part.tails) = (Some(Dropped { mark, bytes }), Tails::default());
        Ok(())
    }

    /// All of `bytes` or none of them: after an error the file is cut back.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        self.append_to(&file, bytes)
    }

    fn append_to(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let at = self.len;
        if let Err(error) = file.write_all_at(bytes, at) {
            // Only what was begun: cutting gives back what the disk had set aside.
            if file.metadata().is_ok_and(|file| file.len() > at) {
                let _ = file.set_len(at);
            }
            return Err(error);
        }
        self.index.add(at, bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}
