//! Writing `TASKDIR/log`. The format is in [`crate::record`]; which bytes go in is decided in `recorder`.
//!
//! The file has space ahead of what is in it, so that the last of a log, and what Muster says about the end, can be
//! written when others have filled the disk (A4).

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use crate::record::{HEADER_LEN, Source, encode_header};
use crate::task_dir::LOG_FILE;

/// Space that is taken ahead at once, in bytes.
const STEP: u64 = 64 << 10;
/// The last of it is for what Muster says.
const FOR_MUSTER: u64 = 8 << 10;

/// What a log leaves of a disk, in bytes, or this part of it: what others' starts and ends take (A4). Its first [`STEP`] may
/// have the last.
const LEFT: (u64, u64) = (2 << 20, 64);

/// The log of one task.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// Whole records, in bytes.
    len: u64,
    /// Up to where there is space for certain; `None` where the file system can't promise any.
    space: Option<u64>,
}

/// A record on its way into the log; survives a full disk.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    header: [u8; HEADER_LEN],
    payload: &'a [u8],
    source: Source,
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
            source,
            written: 0,
        }
    }

    /// Its bytes in the file.
    pub(super) fn len(&self) -> u64 {
        (HEADER_LEN + self.payload.len()) as u64
    }
}

impl Log {
    pub(super) fn open(task_dir: &Path) -> io::Result<Self> {
        let path = task_dir.join(LOG_FILE);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let len = file.metadata()?.len();
        let mut log = Self { file, len, space: Some(len) };
        // A disk that is full already has none to give; the task may still get along with little.
        let _ = log.take_space(STEP);
        Ok(log)
    }

    /// Its whole records, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes the record, or what is left of it, normally with one system call. After an error the record can be
    /// written again and continues where the disk was full: no byte is lost and none is there twice.
    pub(super) fn write(&mut self, record: &mut Pending<'_>) -> io::Result<()> {
        if record.written == 0 && record.source != Source::Agent {
            self.take_space(record.len() + FOR_MUSTER)?;
        }
        loop {
            let header = record.header.get(record.written..).unwrap_or_default();
            let payload = &record.payload[record.written.saturating_sub(HEADER_LEN)..];
            if header.is_empty() && payload.is_empty() {
                self.len += record.len();
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

    /// Takes back what was written of a record that will never be whole.
    pub(super) fn give_up(&self, record: &Pending<'_>) {
        if record.written > 0 {
            let _ = self.file.set_len(self.len);
        }
    }

    /// Makes sure that there is space for `more` bytes.
    fn take_space(&mut self, more: u64) -> io::Result<()> {
        let Some(space) = self.space else { return Ok(()) };
        let needed = (self.len + more).saturating_sub(space);
        if needed == 0 {
            return Ok(());
        }
        if self.len >= STEP && !self.leaves_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // The last of a disk comes in smaller pieces.
        for step in [needed.max(STEP), needed] {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, space, step) {
                Ok(()) => {
                    self.space = Some(space + step);
                    return Ok(());
                }
                Err(Errno::NOSPC | Errno::DQUOT) => {}
                Err(_) => {
                    self.space = None;
                    return Ok(());
                }
            }
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn leaves_some(&self) -> bool {
        let Ok(disk) = fstatvfs(&self.file) else { return true };
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        bytes(disk.f_bavail) >= LEFT.0.min(bytes(disk.f_blocks) / LEFT.1)
    }

    /// Gives the space ahead back and waits until all is on the disk.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.space.take().is_some() {
            self.file.set_len(self.len)?;
        }
        self.file.sync_all()
    }
}
