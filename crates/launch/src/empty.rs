//! Emptying a directory that a task has filled: whatever it left there, however deep, without following a link. What is
//! very deep is moved up before it is removed, so that depth costs neither descriptors nor stack, and names are read in
//! batches, so that number costs no memory. Usual depths are removed where they are: moving waits for the one lock that
//! the kernel has for a disk's directories, and another's task may keep that for long (MG5).
//!
//! A task may leave what plain unlink(2) refuses (S7): a subvolume of btrfs that it has made read-only, or a file that
//! somebody has made immutable. That is undone first. A name that can't be removed all the same keeps none of the others.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, StatxFlags, chmodat, fchmod, fchown,
    fstat, ioctl_getflags, ioctl_setflags, openat, openat2, renameat, statat, statx, unlinkat,
};
use rustix::io::Errno;

use crate::sys::subvolume;

/// Names that are kept in memory at once.
const BATCH: usize = 256;
/// Names and directories that may come while a directory is being emptied, however many were there before (T3): only
/// somebody who holds one below it and goes on making more is behind so many.
const NEWCOMERS: u64 = 1_000_000;
/// Directories below each other that are removed where they are: each costs two descriptors and a batch of names.
const SHALLOW: u32 = 32;
/// Those of which none could be moved up.
const DEEPEST: u32 = 64;

/// Removes everything in `dir`; one that isn't there is empty. A process that was given a descriptor of a directory in it
/// may hold that still: every directory is taken away from its owner before it is emptied (A4).
///
/// # Errors
/// What the file system said first of what couldn't be removed (all else is), and when somebody outside makes more all
/// the time.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    empty_since(dir, SystemTime::now(), NEWCOMERS)
}

/// The same, where what is made from `begun` on has come meanwhile, and of that no more than `newcomers` is removed.
fn empty_since(dir: &Path, begun: SystemTime, newcomers: u64) -> io::Result<()> {
    let top = match open(CWD, dir) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    free(top.as_fd());
    let outer = top.as_fd();
    let mut emptying = Emptying { outer, moved: 0, begun, newcomers, first: None };
    let cleared = emptying.clear(Place { dir: outer, top: outer, is_top: true, depth: 0 });
    emptying.first.map_or(cleared, Err)
}

/// A directory that is being emptied.
#[derive(Clone, Copy)]
struct Place<'a> {
    dir: BorrowedFd<'a>,
    /// Where its directories are moved: the highest directory of its subvolume.
    top: BorrowedFd<'a>,
    /// It is that one.
    is_top: bool,
    /// Directories above it that weren't moved.
    depth: u32,
}

struct Emptying<'a> {
    /// The highest of all: nobody's subvolume.
    outer: BorrowedFd<'a>,
    /// The next name for what is moved.
    moved: u64,
    /// When emptying began.
    begun: SystemTime,
    /// How much may still come.
    newcomers: u64,
    /// What went wrong first.
    first: Option<io::Error>,
}

impl Emptying<'_> {
    /// Removes everything in a directory, or moves it up. What can't be removed is passed over, and stays.
    fn clear(&mut self, place: Place<'_>) -> io::Result<()> {
        // What is found at first was there before.
        let mut known = u64::MAX;
        loop {
            let mut entries = Dir::read_from(place.dir)?;
            let (mut found, mut gone, moved) = (0, 0, self.moved);
            loop {
                let names = some_names(&mut entries)?;
                if names.is_empty() {
                    break;
                }
                found += u64::try_from(names.len()).unwrap_or(u64::MAX);
                for name in names {
                    match self.remove(place, &name) {
                        Ok(()) => gone += 1,
                        Err(e) => drop(self.first.get_or_insert(e)),
                    }
                }
            }
            // What was moved here meanwhile is the next round's.
            if found == 0 || gone == 0 {
                return Ok(());
            }
            self.let_come(found.saturating_sub(known))?;
            known = (self.moved - moved).saturating_add(found - gone);
        }
    }

    /// Notes that so much has come while this was being emptied.
    fn let_come(&mut self, newcomers: u64) -> io::Result<()> {
        self.newcomers = self.newcomers.checked_sub(newcomers).ok_or_else(filled_again)?;
        Ok(())
    }

    /// Removes one name, or moves it up.
    fn remove(&mut self, place: Place<'_>, name: &CString) -> io::Result<()> {
        let dir = place.dir;
        if !is_dir(dir, name) {
            return unlink(dir, name);
        }
        if unlinkat(dir, name, AtFlags::REMOVEDIR).is_ok() {
            return Ok(());
        }
        if place.depth >= SHALLOW && !place.is_top && self.move_up(dir, name, place.top).is_ok() {
            return Ok(());
        }
        if place.depth > DEEPEST {
            return Err(Errno::LOOP.into());
        }
        let below = open_any(dir, name)?;
        // Nothing else is of another device here: what is mounted wasn't opened.
        let is_subvolume = fstat(&below)?.st_dev != fstat(dir)?.st_dev;
        if is_subvolume {
            // What stays read-only says so by its names.
            let _ = subvolume::make_writable(below.as_fd());
            // One within another comes out of it: no number of them is too deep then.
            if !is_same(place.top, self.outer) && self.move_up(dir, name, self.outer).is_ok() {
                return Ok(());
            }
        }
        take_away(&below)?;
        if is_since(&below, self.begun) {
            self.let_come(1)?;
        }
        let below = below.as_fd();
        // Directories aren't moved out of a subvolume.
        let top = if is_subvolume { below } else { place.top };
        self.clear(Place { dir: below, top, is_top: is_subvolume, depth: place.depth + 1 })?;
        Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    /// Moves a directory into `top` under a name that is free.
    fn move_up(&mut self, from: BorrowedFd<'_>, name: &CString, top: BorrowedFd<'_>) -> io::Result<()> {
        let mut made_writable = false;
        loop {
            let free = format!(".muster-{}", self.moved);
            // It would replace an empty directory, and nothing would be lost; anything else is refused.
            match renameat(from, name, top, free.as_str()) {
                Ok(()) => {
                    self.moved += 1;
                    return Ok(());
                }
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => self.moved += 1,
                // A directory that its owner may not write to can't be moved by him either.
                Err(Errno::ACCESS) if !made_writable => {
                    chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
                    made_writable = true;
                }
                // Nor a subvolume that is read-only, by anybody.
                Err(Errno::ROFS) if !made_writable => {
                    made_writable = subvolume::make_writable(open_any(from, name)?.as_fd())?;
                    if !made_writable {
                        return Err(Errno::ROFS.into());
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn filled_again() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "somebody outside goes on filling a directory of the task")
}

fn is_same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    a.as_raw_fd() == b.as_raw_fd()
}

/// Whether a directory was made from then on; where the file system doesn't tell, it may have been.
fn is_since(dir: &OwnedFd, begun: SystemTime) -> bool {
    let Ok(found) = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME) else { return true };
    let told = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    let seconds = u64::try_from(found.stx_btime.tv_sec).unwrap_or(0);
    let made = UNIX_EPOCH + Duration::new(seconds, found.stx_btime.tv_nsec);
    // The kernel's clock for files is some ticks behind.
    !told || made + Duration::from_millis(20) >= begun
}

/// Removes what is no directory.
fn unlink(dir: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::PERM) => {
            free(dir);
            if is_a(FileType::RegularFile, dir, name) {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                free(openat(dir, name, flags, Mode::empty())?.as_fd());
            }
            Ok(unlinkat(dir, name, AtFlags::empty())?)
        }
        other => Ok(other?),
    }
}

/// Undoes what keeps a file from being removed, or others from being moved to a directory; best effort.
fn free(file: BorrowedFd<'_>) {
    let hindrances = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::PROJECT_INHERIT;
    if let Ok(flags) = ioctl_getflags(file)
        && flags.intersects(hindrances)
    {
        let _ = ioctl_setflags(file, flags - hindrances);
    }
}

/// From here on a descriptor of it is good for nothing to others. An agent without root is who they are, too.
fn take_away(dir: &OwnedFd) -> io::Result<()> {
    let us = rustix::process::geteuid();
    if us.is_root() {
        let own = || fchown(dir, Some(us), Some(rustix::process::getegid()));
        match own() {
            Err(Errno::PERM) => {
                free(dir.as_fd());
                own()?;
            }
            other => other?,
        }
        fchmod(dir, Mode::RWXU)?;
    }
    Ok(())
}

/// The next names of a directory.
fn some_names(entries: &mut Dir) -> io::Result<Vec<CString>> {
    let mut names = vec![];
    for entry in entries {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() >= BATCH {
            break;
        }
    }
    Ok(names)
}

fn is_dir(dir: BorrowedFd<'_>, name: &CString) -> bool {
    is_a(FileType::Directory, dir, name)
}

fn is_a(kind: FileType, dir: BorrowedFd<'_>, name: &CString) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}

/// Opens a directory, also one that its owner has barred to himself: an agent without root has no other right. What is
/// mounted there isn't the task's, and is left alone.
fn open_any(dir: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
        Err(Errno::XDEV) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "a file system is mounted in a directory of the task: unmount it",
            ));
        }
        other => other?,
    };
    // Not a link: that was just looked at, and nobody else is here.
    let _ = chmodat(dir, name, Mode::RWXU, AtFlags::empty());
    Ok(open(dir, name)?)
}

fn open<P: rustix::path::Arg>(dir: BorrowedFd<'_>, path: P) -> rustix::io::Result<OwnedFd> {
    openat(dir, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes a directory with everything in it; one that isn't there is no error.
///
/// # Errors
/// What the file system says.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    empty(dir)?;
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
