//! Writing `TASKDIR/log`. The format is in [`crate::record`]; which bytes go in is decided in `supervise`.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::record::{HEADER_LEN, Source, encode_header};
use crate::task_dir::LOG_FILE;

/// The log of one task.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
}

/// A record on its way into the log; survives a full disk.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    header: [u8; HEADER_LEN],
    payload: &'a [u8],
    written: usize,
}

impl<'a> Pending<'a> {
    /// A record of now. The payload must be at most [`crate::record::MAX_PAYLOAD`] bytes.
    pub(super) fn new(source: Source, payload: &'a [u8]) -> Self {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self {
            header: encode_header(u64::try_from(micros).unwrap_or(u64::MAX), source, len),
            payload,
            written: 0,
        }
    }
}

impl Log {
    pub(super) fn open(task_dir: &Path) -> io::Result<Self> {
        let path = task_dir.join(LOG_FILE);
        Ok(Self { file: OpenOptions::new().create(true).append(true).mode(0o600).open(path)? })
    }

    /// Writes the record, or what is left of it, normally with one system call. After an error the record can be
    /// written again and continues where the disk was full: no byte is lost and none is there twice.
    pub(super) fn write(&mut self, record: &mut Pending<'_>) -> io::Result<()> {
        loop {
            let header = record.header.get(record.written..).unwrap_or_default();
            let payload = &record.payload[record.written.saturating_sub(HEADER_LEN)..];
            if header.is_empty() && payload.is_empty() {
                return Ok(());
            }
            match self.file.write_vectored(&[IoSlice::new(header), IoSlice::new(payload)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => record.written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Waits until all is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
