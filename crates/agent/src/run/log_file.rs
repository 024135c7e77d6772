//! Reading whole records of a run's log, and giving back what the master has. When to read and how far is decided by
//! `shipping`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use domain::log::{HEADER_BYTES, Record, Records};
use rustix::fs::{FallocateFlags, fallocate};

use super::LOG_FILE;

/// Bytes of a log that are given back at once, at least.
const STEP: u64 = 1 << 20;

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
    /// What the file system says, or `InvalidData` when there is no record at `offset`.
    pub(crate) async fn read(&mut self, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let path = self.path.clone();
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => match File::options().read(true).write(true).open(path) {
                    Ok(file) => Arc::new(file),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
                    Err(e) => return Err(e),
                },
            };
            Ok((Some(Arc::clone(&file)), whole_records(&file, offset, max)?))
        });
        let (file, records) = read.await.map_err(io::Error::other)??;
        self.file = file;
        Ok(records)
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

fn whole_records(file: &File, offset: u64, max: usize) -> io::Result<Vec<u8>> {
    let available = file.metadata()?.len().saturating_sub(offset);
    let wanted = usize::try_from(available).unwrap_or(max).min(max);
    let mut bytes = vec![0; wanted];
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
    let mut records = Records::new(&bytes);
    records.by_ref().for_each(drop);
    let whole = records.consumed();
    // What comes before the damage is still good; the damage is found by the next call.
    let given_back = bytes.get(..HEADER_BYTES).is_some_and(|header| header.iter().all(|byte| *byte == 0));
    if given_back || whole == 0 && Record::decode(&bytes).is_err() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("there is no log record at byte {offset}"),
        ));
    }
    bytes.truncate(whole);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::log::Source;
    use domain::time::Timestamp;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = Record { at: Timestamp(1), source: Source::Stdout, payload };
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
        assert_eq!(log.read(0, one.len()).await.expect("good"), one);
        log.give_back(100).await;
        assert_eq!(space(), before, "not for little");
        log.give_back(half).await;
        assert!(space() <= before / 2 + (64 << 10), "{} of {before}", space());
        assert_eq!(log.len().await, all.len() as u64);
        assert_eq!(log.read(half, one.len()).await.expect("the rest is there"), one);
        assert!(log.read(0, one.len()).await.is_err(), "zeros aren't taken for records");
    }

    #[tokio::test]
    async fn whole_records_only() {
        let temp = tempfile::tempdir().expect("temp dir");
        let mut log = LogFile::in_dir(temp.path());
        assert!(log.read(0, 1000).await.expect("not there yet").is_empty());
        let (one, two) = (record(b"one"), record(b"two!"));
        let torn = [one.as_slice(), &two, &two[..7]].concat();
        std::fs::write(temp.path().join(LOG_FILE), &torn).expect("written");
        assert_eq!(log.read(0, 1000).await.expect("good"), torn[..one.len() + two.len()]);
        assert_eq!(log.read(0, one.len() + 3).await.expect("good"), one);
        assert_eq!(log.read(one.len() as u64, 1000).await.expect("good"), two);
        assert!(log.read((one.len() + two.len()) as u64, 1000).await.expect("torn").is_empty());
        assert!(log.read(9999, 1000).await.expect("beyond").is_empty());
        assert!(log.read(9, 1000).await.is_err());
    }
}
