//! Unpacking a context directory into the current directory (R44, R45). Runs in the sandbox as the task's user, so
//! that a mistake here could only ever harm that user.
//!
//! The archive comes from somebody else: every name is opened beneath a directory handle, component by component,
//! following no link; only regular files and directories are made; sizes and counts are bounded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use api::command::MAX_CONTEXT_DEPTH;
use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::launcher::{Fault, passes};

/// Most entries of an archive.
const MAX_ENTRIES: usize = 100_000;

/// Most bytes of an unpacked archive, headers included.
const MAX_BYTES: u64 = 4 << 30;

/// Why a context directory can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum NotUnpacked {
    /// There is nowhere to unpack it.
    #[error("cannot open the work directory: {0}")]
    WorkDir(#[source] Errno),
    /// It is no archive, or too large a one.
    #[error("the context directory is damaged: {0}")]
    Damaged(#[source] io::Error),
    /// It has too many entries.
    #[error("the context directory has more than {0} entries")]
    Entries(usize),
    /// One of its entries can't be taken.
    #[error("context directory: {name:?} {why}")]
    Entry {
        /// As the archive calls it.
        name: String,
        /// What is wrong with it.
        why: BadEntry,
    },
    /// A directory of it can't be finished.
    #[error("context directory: {path:?} can't be given its mode: {why}")]
    Mode {
        /// The directory.
        path: PathBuf,
        /// What the machine says.
        why: Errno,
    },
}

/// Why an entry of an archive isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// Its name is none.
    #[error("is no name of a file")]
    NoName,
    /// It names a directory where there has to be a file.
    #[error("has no name")]
    Nameless,
    /// It is too deep.
    #[error("is nested too deeply")]
    TooDeep,
    /// It isn't below the work directory.
    #[error("leads out of the work directory")]
    LeadsOut,
    /// One of the parents of it is a file or a link.
    #[error("leads through something that is no directory")]
    Through,
    /// It is a link.
    #[error("is a link, and links aren't taken: send the file itself")]
    Link,
    /// It is a device or the like.
    #[error("is neither a file nor a directory")]
    Special,
    /// Its header makes no sense.
    #[error("{0}")]
    Header(#[source] io::Error),
    /// The machine doesn't make it.
    #[error("can't be made: {0}")]
    NotMade(#[source] Errno),
    /// What is in it doesn't come out.
    #[error("can't be unpacked: {0}")]
    Content(#[source] io::Error),
}

impl NotUnpacked {
    /// Whose business it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let of = |passing: bool| if passing { Fault::Passing } else { Fault::Machine };
        match self {
            Self::WorkDir(e) | Self::Mode { why: e, .. } => of(passes(&io::Error::from(*e))),
            Self::Entry { why: BadEntry::NotMade(e), .. } => of(passes(&io::Error::from(*e))),
            Self::Entry { why: BadEntry::Content(e), .. } if passes(e) => Fault::Passing,
            Self::Damaged(_) | Self::Entries(_) | Self::Entry { .. } => Fault::Task,
        }
    }
}

/// Unpacks a gzipped tar archive into the current directory, as the current user.
///
/// # Errors
/// Which entry was refused, or what the machine says.
pub fn unpack(archive: File) -> Result<(), NotUnpacked> {
    let root = open_dir(CWD, OsStr::new(".")).map_err(NotUnpacked::WorkDir)?;
    unpack_into(archive, &root, MAX_ENTRIES, MAX_BYTES)
}

fn unpack_into(
    archive: impl Read,
    root: &OwnedFd,
    max_entries: usize,
    max_bytes: u64,
) -> Result<(), NotUnpacked> {
    let damaged = NotUnpacked::Damaged;
    let mut archive = Archive::new(Limited { inner: MultiGzDecoder::new(archive), left: max_bytes });
    // Directories get their modes last: one that forbids writing may still have to be filled.
    let mut modes = BTreeMap::new();
    for (count, entry) in archive.entries().map_err(damaged)?.enumerate() {
        if count >= max_entries {
            return Err(NotUnpacked::Entries(max_entries));
        }
        let mut entry = entry.map_err(damaged)?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        unpack_entry(&mut entry, root, &mut modes).map_err(|why| NotUnpacked::Entry { name, why })?;
    }
    // Deepest first, so that a directory which forbids entering is shut after what is in it.
    for (path, mode) in modes.iter().rev() {
        let set = || -> rustix::io::Result<()> { rustix::fs::fchmod(walk(root, path, false)?, *mode) };
        set().map_err(|why| NotUnpacked::Mode { path: path.clone(), why })?;
    }
    Ok(())
}

fn unpack_entry(
    entry: &mut Entry<'_, impl Read>,
    root: &OwnedFd,
    modes: &mut BTreeMap<PathBuf, Mode>,
) -> Result<(), BadEntry> {
    let path = safe_path(&entry.path_bytes())?;
    let mode = Mode::from_raw_mode(entry.header().mode().map_err(BadEntry::Header)? & 0o777);
    match entry.header().entry_type() {
        EntryType::Directory => {
            walk(root, &path, true).map_err(cannot_make)?;
            // The work directory itself stays as the launcher made it.
            if path.components().next().is_some() {
                modes.insert(path, mode);
            }
            Ok(())
        }
        EntryType::Regular => {
            let name = path.file_name().ok_or(BadEntry::Nameless)?;
            let parent = path.parent().unwrap_or(Path::new(""));
            let parent = walk(root, parent, true).map_err(cannot_make)?;
            let mut file = create(&parent, name).map_err(cannot_make)?;
            copy(entry, &mut file).map_err(BadEntry::Content)?;
            finish(&file, mode, entry.header().mtime().ok()).map_err(cannot_make)
        }
        EntryType::Symlink | EntryType::Link => Err(BadEntry::Link),
        _ => Err(BadEntry::Special),
    }
}

fn cannot_make(e: Errno) -> BadEntry {
    match e {
        Errno::LOOP | Errno::NOTDIR => BadEntry::Through,
        e => BadEntry::NotMade(e),
    }
}

/// The path, if it stays where it is unpacked. `.` is left out.
fn safe_path(bytes: &[u8]) -> Result<PathBuf, BadEntry> {
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(BadEntry::NoName);
    }
    let mut safe = PathBuf::new();
    for (depth, component) in Path::new(OsStr::from_bytes(bytes)).components().enumerate() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) if depth < MAX_CONTEXT_DEPTH => safe.push(name),
            Component::Normal(_) => return Err(BadEntry::TooDeep),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(BadEntry::LeadsOut);
            }
        }
    }
    Ok(safe)
}

/// Opens a directory beneath `root` without following links, making what isn't there.
fn walk(root: &OwnedFd, path: &Path, make: bool) -> rustix::io::Result<OwnedFd> {
    let mut dir = open_dir(root, OsStr::new("."))?;
    for component in path.components() {
        let name = component.as_os_str();
        if make {
            match rustix::fs::mkdirat(
                &dir,
                name,
                Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
            ) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
        dir = open_dir(&dir, name)?;
    }
    Ok(dir)
}

fn open_dir(parent: impl std::os::fd::AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Makes a new file; the later of two entries of one name wins, and what is there already is replaced, never written.
fn create(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map(File::from);
    match open() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            open()
        }
        other => other,
    }
}

fn copy(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut to = io::BufWriter::with_capacity(256 << 10, to);
    io::copy(from, &mut to)?;
    to.flush()
}

fn finish(file: &File, mode: Mode, mtime: Option<u64>) -> rustix::io::Result<()> {
    if let Some(seconds) = mtime.and_then(|seconds| i64::try_from(seconds).ok()) {
        let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: at(0, UTIME_OMIT), last_modification: at(seconds, 0) };
        rustix::fs::futimens(file, &times)?;
    }
    rustix::fs::fchmod(file, mode)
}

/// Ends with an error, and not quietly, when more comes than may.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.left =
            self.left.checked_sub(bytes).ok_or_else(|| io::Error::other("unpacked it is too large"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
