//! Reading whole records of a run's log. When to read and how far is decided by `shipping`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use domain::log::{Record, Records};

use super::LOG_FILE;

/// A run's log.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// Opened when it is first there.
    file: Option<Arc<File>>,
}

impl LogFile {
    /// The log in a run's directory, which needn't be there yet.
    pub(crate) fn in_dir(dir: &std::path::Path) -> Self {
        Self { path: dir.join(LOG_FILE), file: None }
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
                None => match File::open(path) {
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
    if whole == 0 && Record::decode(&bytes).is_err() {
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
