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

/// Most entries of an archive.
const MAX_ENTRIES: usize = 100_000;

/// Most bytes of an unpacked archive, headers included.
const MAX_BYTES: u64 = 4 << 30;

/// Unpacks a gzipped tar archive into the current directory, as the current user.
///
/// # Errors
/// One sentence that names the entry which was refused, or what the machine says.
pub fn unpack(archive: File) -> Result<(), String> {
    let root = open_dir(CWD, OsStr::new(".")).map_err(|e| format!("cannot open the work directory: {e}"))?;
    unpack_into(archive, &root, MAX_ENTRIES, MAX_BYTES)
}

fn unpack_into(archive: impl Read, root: &OwnedFd, max_entries: usize, max_bytes: u64) -> Result<(), String> {
    let damaged = |e: io::Error| format!("the context directory is damaged: {e}");
    let mut archive = Archive::new(Limited { inner: MultiGzDecoder::new(archive), left: max_bytes });
    // Directories get their modes last: one that forbids writing may still have to be filled.
    let mut modes = BTreeMap::new();
    for (count, entry) in archive.entries().map_err(damaged)?.enumerate() {
        if count >= max_entries {
            return Err(format!("the context directory has more than {max_entries} entries"));
        }
        let mut entry = entry.map_err(damaged)?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        unpack_entry(&mut entry, root, &mut modes)
            .map_err(|why| format!("context directory: {name:?} {why}"))?;
    }
    // Deepest first, so that a directory which forbids entering is shut after what is in it.
    for (path, mode) in modes.iter().rev() {
        let set = || -> rustix::io::Result<()> { rustix::fs::fchmod(walk(root, path, false)?, *mode) };
        set().map_err(|e| format!("context directory: {path:?} can't be given its mode: {e}"))?;
    }
    Ok(())
}

fn unpack_entry(
    entry: &mut Entry<'_, impl Read>,
    root: &OwnedFd,
    modes: &mut BTreeMap<PathBuf, Mode>,
) -> Result<(), String> {
    let path = safe_path(&entry.path_bytes())?;
    let mode = Mode::from_raw_mode(entry.header().mode().map_err(|e| e.to_string())? & 0o777);
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
            let name = path.file_name().ok_or("has no name")?;
            let parent = path.parent().unwrap_or(Path::new(""));
            let parent = walk(root, parent, true).map_err(cannot_make)?;
            let mut file = create(&parent, name).map_err(cannot_make)?;
            copy(entry, &mut file).map_err(|e| format!("can't be unpacked: {e}"))?;
            finish(&file, mode, entry.header().mtime().ok()).map_err(cannot_make)
        }
        EntryType::Symlink | EntryType::Link => {
            Err("is a link, and links aren't taken: send the file itself".to_owned())
        }
        _ => Err("is neither a file nor a directory".to_owned()),
    }
}

fn cannot_make(e: Errno) -> String {
    match e {
        Errno::LOOP | Errno::NOTDIR => "leads through something that is no directory".to_owned(),
        e => format!("can't be made: {e}"),
    }
}

/// The path, if it stays where it is unpacked. `.` is left out.
fn safe_path(bytes: &[u8]) -> Result<PathBuf, String> {
    if bytes.is_empty() || bytes.contains(&0) {
        return Err("is no name of a file".to_owned());
    }
    let mut safe = PathBuf::new();
    for (depth, component) in Path::new(OsStr::from_bytes(bytes)).components().enumerate() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) if depth < MAX_CONTEXT_DEPTH => safe.push(name),
            Component::Normal(_) => return Err("is nested too deeply".to_owned()),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("leads out of the work directory".to_owned());
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
