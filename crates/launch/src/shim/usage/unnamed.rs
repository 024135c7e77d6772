//! The files and directories without a name that a task's threads hold: open, mapped, executed, or as the place where they are.
//!
//! Threads need not have the table of descriptors of their process: one may have its own, and the first one, which stands
//! for the process in `/proc`, may have ended. Nor is a table one process's alone. So threads are looked at, and what they
//! share is looked at once, as far as the kernel tells (kcmp(2)). What they can have is bounded by nothing that the task
//! pays for, so how much is looked at is bounded here.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Statx, StatxFlags, openat, readlinkat, statx};
use rustix::path::Arg;

use crate::sys::process::{Shared, share};

/// Files without a name that are known apart. What would be counted more than once is said to explain a disk that others have
/// filled, and then who holds most gives way for it (MA2): with more of them a task has more than anybody looks at.
const APART: usize = 1 << 16;
/// The same of all tasks together.
const ALL: usize = 1 << 20;
/// Descriptors that are looked at in one count, and threads.
const LINKS: u64 = 1_000_000;
/// A line of a list of mappings takes much less time. Programs have thousands.
const LINES: u64 = 16_000_000;
/// So much of a line is looked at at once, in bytes; names may be as long as directories are nested.
const PIECE: u64 = 8 << 10;

/// There is more than anybody looks at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Files without a name that were found.
pub(in crate::shim) type Found = HashSet<u64>;

/// Tells `add` each file without a name on this device (as [`device`] has it) that the processes (directories of `/proc`) hold,
/// and that wasn't found before: a descriptor may be another task's as well.
pub(super) fn find(
    device: (u32, u32),
    processes: &[PathBuf],
    found: &mut Found,
    add: &mut impl FnMut(&Statx),
) -> Result<(), TooMany> {
    search(Search { device, found, apart: APART, links: LINKS, lines: LINES, add }, processes)
}

fn search<F: FnMut(&Statx)>(mut search: Search<'_, F>, processes: &[PathBuf]) -> Result<(), TooMany> {
    let mut tables = Known::new(Shared::Descriptors);
    let mut memories = Known::new(Shared::Memory);
    let mut places = Known::new(Shared::Places);
    for process in processes {
        for thread in
            entries(&process.join("task")).filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        {
            pay(&mut search.links)?;
            if tables.is_new(thread) {
                search.open(thread)?;
            }
            if memories.is_new(thread) {
                search.mapped(thread)?;
            }
            if places.is_new(thread) {
                search.places(thread)?;
            }
        }
    }
    Ok(())
}

struct Search<'a, F> {
    device: (u32, u32),
    found: &'a mut Found,
    apart: usize,
    links: u64,
    lines: u64,
    add: &'a mut F,
}

impl<F: FnMut(&Statx)> Search<'_, F> {
    /// What a thread has open.
    fn open(&mut self, thread: i32) -> Result<(), TooMany> {
        let Ok(table) = openat(CWD, of(thread).join("fd"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        else {
            return Ok(());
        };
        let Ok(links) = Dir::read_from(&table) else { return Ok(()) };
        let mut text = Vec::new();
        for link in links.map_while(Result::ok) {
            let link = link.file_name();
            if matches!(link.to_bytes(), b"." | b"..") {
                continue;
            }
            pay(&mut self.links)?;
            // The text costs no file system a question: one of the task's own need not answer.
            let read = readlinkat(&table, link, text).map(CString::into_bytes);
            // A name that is too long can't be read.
            if read.as_ref().map_or(true, |text| text.ends_with(b" (deleted)")) {
                self.one(&table, link)?;
            }
            text = read.unwrap_or_default();
        }
        Ok(())
    }

    /// Where it is, and what is its root: a directory that is removed keeps what it has until nobody is there (MD10).
    fn places(&mut self, thread: i32) -> Result<(), TooMany> {
        ["cwd", "root"].into_iter().try_for_each(|place| self.if_unnamed(of(thread).join(place)))
    }

    fn if_unnamed(&mut self, link: PathBuf) -> Result<(), TooMany> {
        let name = readlinkat(CWD, &link, Vec::new());
        if name.map_or(true, |name| name.to_bytes().ends_with(b" (deleted)")) {
            self.one(CWD, link)
        } else {
            Ok(())
        }
    }

    /// What it has mapped, and what it is: a program may have unmapped itself.
    fn mapped(&mut self, thread: i32) -> Result<(), TooMany> {
        self.if_unnamed(of(thread).join("exe"))?;
        let Ok(maps) = File::open(of(thread).join("maps")) else { return Ok(()) };
        let mut maps = BufReader::new(maps);
        let (mut piece, mut begins) = (Vec::new(), true);
        loop {
            piece.clear();
            // Names are bytes, not text.
            let read = maps.by_ref().take(PIECE).read_until(b'\n', &mut piece);
            if !read.is_ok_and(|length| length > 0) {
                return Ok(());
            }
            pay(&mut self.lines)?;
            let whole = piece.ends_with(b"\n");
            // The end of a very long name isn't looked at, but its file.
            if begins
                && (!whole || piece.ends_with(b" (deleted)\n"))
                && let Some(name) = link_name(&piece)
            {
                pay(&mut self.links)?;
                self.one(CWD, of(thread).join("map_files").join(name))?;
            }
            begins = whole;
        }
    }

    fn one(&mut self, dir: impl AsFd, link: impl Arg) -> Result<(), TooMany> {
        // What is known of it: nobody who serves a file system is asked, or waited for.
        let found = statx(dir, link, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS);
        let Ok(file) = found else { return Ok(()) };
        let device = (file.stx_dev_major, file.stx_dev_minor);
        // Directories and links without a name keep their space as well (T2).
        if file.stx_nlink > 0 || device != self.device || self.found.contains(&file.stx_ino) {
            return Ok(());
        }
        if self.apart == 0 || self.found.len() >= ALL {
            return Err(TooMany);
        }
        self.apart -= 1;
        self.found.insert(file.stx_ino);
        (self.add)(&file);
        Ok(())
    }
}

fn pay(left: &mut u64) -> Result<(), TooMany> {
    *left = left.checked_sub(1).ok_or(TooMany)?;
    Ok(())
}

/// A thread's own directory; those of other than the first ones aren't listed.
fn of(thread: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{thread}"))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The name in `map_files` of a line of `maps`.
fn link_name(line: &[u8]) -> Option<String> {
    let range = std::str::from_utf8(line.split(u8::is_ascii_whitespace).next()?).ok()?;
    let (from, to) = range.split_once('-')?;
    // There the addresses have zeroes in front, and in the links' names they haven't.
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(format!("{:x}-{:x}", number(from)?, number(to)?))
}

/// Threads none of which shares something with another one, in the kernel's order.
pub(in crate::shim) struct Known {
    what: Shared,
    threads: Vec<i32>,
}

impl Known {
    /// Of none yet.
    pub(in crate::shim) fn new(what: Shared) -> Self {
        Self { what, threads: vec![] }
    }

    /// Whether a thread's is none of those that are known. It is so in doubt, and where the kernel can't tell.
    pub(in crate::shim) fn is_new(&mut self, thread: i32) -> bool {
        loop {
            let mut silent = None;
            let place = self.threads.binary_search_by(|known| {
                share(*known, thread, self.what).unwrap_or_else(|_| {
                    silent = Some(*known);
                    std::cmp::Ordering::Equal
                })
            });
            match (silent, place) {
                // That one has ended, or this one.
                (Some(gone), _) if share(thread, thread, self.what).is_ok() => {
                    self.threads.retain(|known| *known != gone);
                }
                (Some(_), _) => return true,
                (None, Ok(_)) => return false,
                (None, Err(place)) => {
                    self.threads.insert(place, thread);
                    return true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G2b: what is looked at is bounded, and what is shared costs once.
    #[test]
    fn a12_a_bounded_number_of_descriptors_is_looked_at() {
        let (ends, _kept) = rustix::pipe::pipe().unwrap();
        let many: Vec<_> = (0..200).map(|_| ends.try_clone().unwrap()).collect();
        let own = PathBuf::from("/proc/self");
        let processes = vec![own.clone(); 50];
        let mut add = |_: &Statx| ();
        let mut with = |links, lines| {
            let device = (0, 0);
            let search_of =
                Search { device, found: &mut Found::new(), apart: APART, links, lines, add: &mut add };
            search(search_of, &processes)
        };
        assert_eq!(with(150, LINES), Err(TooMany));
        assert_eq!(with(5000, 10), Err(TooMany));
        assert_eq!(with(5000, LINES), Ok(()));
        drop(many);
    }

    #[test]
    fn ma2_no_file_without_a_name_is_counted_twice() {
        let unnamed = || {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            File::from(openat(CWD, std::env::temp_dir(), flags, Mode::from_raw_mode(0o600)).unwrap())
        };
        let about = |file: &File| statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).unwrap();
        let held: Vec<_> = (0..20).map(|_| unnamed()).collect();
        let again: Vec<_> = held.iter().map(|file| file.try_clone().unwrap()).collect();
        let device = about(&held[0]);
        let device = (device.stx_dev_major, device.stx_dev_minor);
        let count = |apart| {
            let mut files = 0;
            let mut add = |_: &Statx| files += 1;
            let search_of =
                Search { device, found: &mut Found::new(), apart, links: LINKS, lines: LINES, add: &mut add };
            search(search_of, &[PathBuf::from("/proc/self")]).map(|()| files)
        };
        let all = count(APART).unwrap();
        assert!((20..40).contains(&all), "{all}");
        assert_eq!(count(19), Err(TooMany), "what can't be told apart isn't counted");
        drop(again);
    }

    #[test]
    fn a12_threads_that_share_are_known() {
        let mut known = Known::new(Shared::Descriptors);
        let thread = |link: &str| -> i32 {
            let path = fs::read_link(link).unwrap();
            path.file_name().unwrap().to_str().unwrap().parse().unwrap()
        };
        let (first, this) = (thread("/proc/self"), thread("/proc/thread-self"));
        assert!(known.is_new(first));
        assert!(!known.is_new(first) && !known.is_new(this));
        let mut others: Vec<_> =
            (0..5).map(|_| std::process::Command::new("sleep").arg("1000").spawn().unwrap()).collect();
        for other in &mut others {
            let pid = i32::try_from(other.id()).unwrap();
            assert!(known.is_new(pid) && !known.is_new(pid) && !known.is_new(this));
        }
        // Those that have ended are in nobody's way.
        for other in &mut others {
            other.kill().unwrap();
            other.wait().unwrap();
            assert!(!known.is_new(this));
        }
    }
}
