//! Reading a log forwards, piece by piece, to its end or for as long as its task lives.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::log::{Record, Records, Source};
use domain::time::Timestamp;
use tokio::sync::watch;

use super::Progress;

/// Bytes read at a time; holds the longest record. Every open stream may hold as many (A5).
pub(super) const PIECE: usize = 128 << 10;

/// Reads a log piece by piece.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<Arc<File>>,
    at: u64,
    progress: Option<watch::Receiver<Progress>>,
    follow: bool,
    /// The log isn't there any more: all that there is to be read.
    removed: Option<Vec<u8>>,
}

/// All that there is of a log that was removed then, as a record of the master's (A4).
pub(super) fn of_removed(at: Timestamp) -> Vec<u8> {
    let line = format!(
        "this log was removed at {}: its disk was nearly full, or it was as old as logs are kept\n",
        at.rfc3339()
    );
    let mut bytes = Vec::new();
    Record { at, source: Source::Master, rank: None, payload: line.as_bytes() }.encode(&mut bytes);
    bytes
}

impl Follower {
    /// Reads a log that was removed `at` that time.
    pub(crate) fn removed(at: Timestamp, offset: u64) -> Self {
        let bytes = of_removed(at);
        // Who goes on from somewhere in it may lack the rest; who has got this has got all.
        let wanted = offset == 0 || offset > bytes.len() as u64;
        Self { removed: wanted.then_some(bytes), ..Self::new(PathBuf::new(), 0, None, false) }
    }

    pub(super) fn new(
        path: PathBuf,
        at: u64,
        progress: Option<watch::Receiver<Progress>>,
        follow: bool,
    ) -> Self {
        Self { path, file: None, at, progress, follow, removed: None }
    }

    /// Opens the log now. Tells whether there is one, or may be one yet: else it never was, or was removed just now, and who
    /// looks that up afterwards knows.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub(crate) async fn begun(mut self) -> io::Result<(Self, bool)> {
        if self.file.is_none() {
            let path = self.path.clone();
            let open = move || opened(&path);
            self.file = tokio::task::spawn_blocking(open).await.map_err(io::Error::other).flatten()?;
        }
        let is_there = self.file.is_some() || self.progress.is_some();
        Ok((self, is_there))
    }

    /// The next whole records; `None` at the end. Waits for more when following a living task. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(bytes) = self.removed.take() {
                // Nothing comes behind it.
                (self.path, self.file, self.progress) = (PathBuf::new(), None, None);
                return Ok(Some(bytes));
            }
            let progress = self.progress.as_mut().map(|progress| *progress.borrow_and_update());
            let end = progress.map_or(u64::MAX, |progress| progress.bytes);
            if self.at < end {
                let bytes = self.piece(end).await?;
                if self.removed.is_some() {
                    continue;
                }
                if !bytes.is_empty() {
                    self.at += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
            }
            let living = progress.is_some_and(|progress| !progress.complete);
            if !(self.follow && living) {
                return Ok(None);
            }
            if let Some(progress) = &mut self.progress
                && progress.changed().await.is_err()
            {
                // The writer is gone with its task: read to the end of the file.
                self.progress = None;
            }
        }
    }

    async fn piece(&mut self, end: u64) -> io::Result<Vec<u8>> {
        let (path, known, at) = (self.path.clone(), self.file.clone(), self.at);
        let read = move || {
            let Some(file) = known.map_or_else(|| opened(&path), |file| Ok(Some(file)))? else {
                return Ok((None, Vec::new(), None));
            };
            let bytes = piece(&file, at, end)?;
            let removed = if bytes.is_empty() { removed_at(&file)? } else { None };
            Ok((Some(file), bytes, removed))
        };
        let (file, bytes, removed) =
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten()?;
        self.file = file;
        self.removed = removed.map(of_removed);
        Ok(bytes)
    }
}

/// When a log was removed that somebody reads: it is empty then and has no name.
pub(super) fn removed_at(file: &File) -> io::Result<Option<Timestamp>> {
    let about = file.metadata()?;
    let removed = about.nlink() == 0 && about.len() == 0;
    Ok(removed.then(|| Timestamp(about.mtime() * 1_000_000 + about.mtime_nsec() / 1000)))
}

/// A log that is there.
pub(super) fn opened(path: &Path) -> io::Result<Option<Arc<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(Arc::new(file))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The whole records from `at` on, before `end`; empty when there is none.
pub(super) fn piece(file: &File, at: u64, end: u64) -> io::Result<Vec<u8>> {
    // Positions come from outside too: nothing stands behind the end, and adding to them may overflow (A14).
    let end = end.min(file.metadata()?.len());
    let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(PIECE);
    let mut bytes = vec![0; wanted];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    let mut records = Records::new(&bytes);
    records.by_ref().for_each(drop);
    let whole = records.consumed();
    bytes.truncate(whole);
    Ok(bytes)
}
