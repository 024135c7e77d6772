//! Reading whole records of a run's log, and giving back what the master has. When to read and how far is decided by
//! `shipping`. A master of which a back-up was restored may want what was given back to the one before (KP2): what is still
//! there is found behind it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use domain::log::{HEADER_BYTES, MAX_PAYLOAD, Record, Records};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::launcher::LOG_FILE;

/// Bytes of a log that are given back at once, at least.
const STEP: u64 = 1 << 20;

/// Times that a record can have, in microseconds: from 2001 to 2096. A header that is read from a wrong byte has none of
/// those.
const TIMES: std::ops::Range<i64> = 1_000_000_000_000_000..4_000_000_000_000_000;

/// What is read of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole records; none when there are no more.
    Records(Vec<u8>),
    /// There is nothing any more up to this byte.
    Gone(u64),
}

/// A run's log.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// Opened when it is first there.
    file: Option<Arc<File>>,
    /// Everything before this takes no space any more.
    given_back: u64,
}

impl LogFile {
    /// The log in a run's directory, which needn't be there yet.
    pub(crate) fn in_dir(dir: &std::path::Path) -> Self {
        Self { path: dir.join(LOG_FILE), file: None, given_back: 0 }
    }

    /// The whole records from `offset` on that fit in `max` bytes; none when there is no whole one.
    ///
    /// # Errors
    /// What the file system says, or `InvalidData` when there is no record at `offset`, nor yet behind it.
    pub(crate) async fn read(&mut self, offset: u64, max: usize) -> io::Result<Piece> {
        let path = self.path.clone();
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => match File::options().read(true).write(true).open(path) {
                    Ok(file) => Arc::new(file),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        return Ok((None, Piece::Records(Vec::new())));
                    }
                    Err(e) => return Err(e),
                },
            };
            Ok((Some(Arc::clone(&file)), piece(&file, offset, max)?))
        });
        let (file, piece) = read.await.map_err(io::Error::other)??;
        self.file = file;
        Ok(piece)
    }

    /// Gives back the space of what the master has for certain: a log needn't be on a disk twice (A4). Its length stays.
    pub(crate) async fn give_back(&mut self, kept: u64) {
        let Some(file) = self.file.clone().filter(|_| kept >= self.given_back + STEP) else { return };
        let from = std::mem::replace(&mut self.given_back, kept);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A file system that can't do it keeps all of it until the run is forgotten.
        let _ = tokio::task::spawn_blocking(move || fallocate(&*file, flags, from, kept - from)).await;
    }

    /// Its length in bytes, 0 when there is none.
    pub(crate) async fn len(&self) -> u64 {
        let path = self.path.clone();
        let length =
            tokio::task::spawn_blocking(move || std::fs::metadata(path).map_or(0, |file| file.len()));
        length.await.unwrap_or(0)
    }
}

/// What is at a place of a log. See [`LogFile::read`].
pub(crate) fn piece(file: &File, offset: u64, max: usize) -> io::Result<Piece> {
    let available = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = read_up_to(file, offset, usize::try_from(available).unwrap_or(max).min(max))?;
    let mut records = Records::new(&bytes);
    records.by_ref().for_each(drop);
    let whole = records.consumed();
    // What comes before the damage is still good; the damage is found by the next call.
    let given_back = bytes.get(..HEADER_BYTES).is_some_and(|header| header.iter().all(|byte| *byte == 0));
    if given_back || whole == 0 && Record::decode(&bytes).is_err() {
        let none =
            || io::Error::new(io::ErrorKind::InvalidData, format!("there is no log record at byte {offset}"));
        return next_record(file, offset)?.map(Piece::Gone).ok_or_else(none);
    }
    bytes.truncate(whole);
    Ok(Piece::Records(bytes))
}

/// Where behind `offset` the next record begins; `None` when none does yet.
fn next_record(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let end = file.metadata()?.len();
    let mut at = match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data.max(offset),
        // All of it is with a master.
        Err(Errno::NXIO) => return Ok(Some(end)),
        // Not every file system tells.
        Err(_) => offset,
    };
    while at < end {
        let bytes = read_up_to(file, at, HEADER_BYTES + MAX_PAYLOAD)?;
        for (n, header) in (at..).zip(bytes.windows(HEADER_BYTES)) {
            let Some(next) = plausible(n, header).filter(|_| n > offset) else { continue };
            let behind = read_up_to(file, next, HEADER_BYTES)?;
            if behind.len() < HEADER_BYTES || plausible(next, &behind).is_some() {
                return Ok(Some(n));
            }
        }
        at += MAX_PAYLOAD as u64;
    }
    Ok(None)
}

/// Where the record behind this one begins, if this is the header of one.
fn plausible(at: u64, header: &[u8]) -> Option<u64> {
    let (time, rest) = header.split_first_chunk::<8>()?;
    if !TIMES.contains(&i64::from_le_bytes(*time)) {
        return None;
    }
    let (kind, len) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(len.try_into().ok()?);
    // The master's own records are in no agent's file.
    let is_header = matches!(kind, [0..=2, 0, 0, 0]) && len > 0 && usize::try_from(len).ok()? <= MAX_PAYLOAD;
    is_header.then_some(at + HEADER_BYTES as u64 + u64::from(len))
}

fn read_up_to(file: &File, offset: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; max];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::log::Source;
    use domain::time::Timestamp;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record =
            Record { at: Timestamp(1_790_000_000_000_256), source: Source::Stdout, rank: None, payload };
        record.encode(&mut bytes);
        bytes
    }

    #[tokio::test]
    async fn a04_what_the_master_has_takes_no_space() {
        use std::os::unix::fs::MetadataExt as _;
        let temp = tempfile::tempdir().expect("temp dir");
        let mut log = LogFile::in_dir(temp.path());
        let one = record(&[b'x'; 64 << 10]);
        let all = one.repeat(64);
        std::fs::write(temp.path().join(LOG_FILE), &all).expect("written");
        let space = || std::fs::metadata(temp.path().join(LOG_FILE)).expect("there").blocks() * 512;
        let (before, half) = (space(), one.len() as u64 * 32);
        assert_eq!(log.read(0, one.len()).await.expect("good"), Piece::Records(one.clone()));
        log.give_back(100).await;
        assert_eq!(space(), before, "not for little");
        log.give_back(half).await;
        assert!(space() <= before / 2 + (64 << 10), "{} of {before}", space());
        assert_eq!(log.len().await, all.len() as u64);
        assert_eq!(log.read(half, one.len()).await.expect("the rest is there"), Piece::Records(one.clone()));
        for wanted in [0, one.len() as u64] {
            assert_eq!(
                log.read(wanted, one.len()).await.expect("found"),
                Piece::Gone(half),
                "zeros aren't records"
            );
        }
    }

    /// V4: what is still there is found whichever byte it begins with, and whatever is before it.
    #[test]
    fn r45_what_is_left_of_a_log_is_found() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join(LOG_FILE);
        let at = |file: &[u8], from: u64| {
            std::fs::write(&path, file).expect("written");
            piece(&File::open(&path).expect("there"), from, 1 << 20)
        };
        for low in [0, 1, 255, 256, 65_536] {
            let mut tail = Vec::new();
            for time in [low, 7] {
                let at = Timestamp(1_790_000_000_000_000 / 65_536 * 65_536 + time);
                Record { at, source: Source::Stderr, rank: None, payload: b"later" }.encode(&mut tail);
            }
            for gone in [16, 17, 4096, 4099, 200_000] {
                let file = [vec![0; gone], tail.clone()].concat();
                assert_eq!(at(&file, 0).expect("found"), Piece::Gone(gone as u64), "{low} {gone}");
                let damaged = [vec![b'x'; gone], tail.clone()].concat();
                assert_eq!(at(&damaged, 0).expect("found"), Piece::Gone(gone as u64), "{low} {gone}");
            }
        }
        std::fs::File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("made");
        assert_eq!(
            piece(&File::open(&path).expect("there"), 16, 1 << 20).expect("all"),
            Piece::Gone(1 << 20)
        );
        assert!(at(&[b'x'; 100], 0).is_err(), "nothing yet");
    }

    #[tokio::test]
    async fn whole_records_only() {
        let temp = tempfile::tempdir().expect("temp dir");
        let mut log = LogFile::in_dir(temp.path());
        assert_eq!(log.read(0, 1000).await.expect("not there yet"), Piece::Records(vec![]));
        let (one, two) = (record(b"one"), record(b"two!"));
        let torn = [one.as_slice(), &two, &two[..7]].concat();
        std::fs::write(temp.path().join(LOG_FILE), &torn).expect("written");
        assert_eq!(
            log.read(0, 1000).await.expect("good"),
            Piece::Records(torn[..one.len() + two.len()].to_vec())
        );
        assert_eq!(log.read(0, one.len() + 3).await.expect("good"), Piece::Records(one.clone()));
        assert_eq!(log.read(one.len() as u64, 1000).await.expect("good"), Piece::Records(two.clone()));
        let end = (one.len() + two.len()) as u64;
        assert_eq!(log.read(end, 1000).await.expect("torn"), Piece::Records(vec![]));
        assert_eq!(log.read(9999, 1000).await.expect("beyond"), Piece::Records(vec![]));
        assert_eq!(log.read(9, 1000).await.expect("behind"), Piece::Gone(one.len() as u64));
    }
}
