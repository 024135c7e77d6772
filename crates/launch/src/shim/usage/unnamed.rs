//! The files without a name that a task's threads hold, open or mapped.
//!
//! Threads need not have the table of descriptors of their process: one may have its own, and the first one, which stands
//! for the process in `/proc`, may have ended. Nor is a table one process's alone. So threads are looked at, and what they
//! share is looked at once, as far as the kernel tells (kcmp(2)). What they can have is bounded by nothing that the task
//! pays for, so how much is looked at is bounded here.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};

use crate::sys::process::{Shared, share};

/// Files without a name that are known apart; more are counted as often as they are found.
const APART: usize = 1 << 16;
/// Descriptors that are looked at in one count, and threads.
const LINKS: u64 = 1_000_000;
/// A line of a list of mappings takes much less time. Programs have thousands.
const LINES: u64 = 16_000_000;
/// So much of a line is looked at at once, in bytes; names may be as long as directories are nested.
const PIECE: u64 = 8 << 10;

/// There is more than anybody looks at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Tells `add` the bytes of each file without a name on this device (as [`device`] has it) that the processes
/// (directories of `/proc`) hold.
pub(super) fn find(
    device: (u32, u32),
    processes: &[PathBuf],
    add: &mut impl FnMut(u64),
) -> Result<(), TooMany> {
    let mut search = Search { device, found: HashSet::new(), links: LINKS, lines: LINES, add };
    let mut tables = Known::new(Shared::Descriptors);
    let mut memories = Known::new(Shared::Memory);
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
        }
    }
    Ok(())
}

struct Search<'a, F> {
    device: (u32, u32),
    found: HashSet<u64>,
    links: u64,
    lines: u64,
    add: &'a mut F,
}

impl<F: FnMut(u64)> Search<'_, F> {
    /// What a thread has open.
    fn open(&mut self, thread: i32) -> Result<(), TooMany> {
        for link in entries(&of(thread).join("fd")) {
            pay(&mut self.links)?;
            // The text costs no file system a question: one of the task's own need not answer.
            let deleted = |name: PathBuf| name.as_os_str().as_bytes().ends_with(b" (deleted)");
            // A name that is too long can't be read.
            if fs::read_link(&link).map_or(true, deleted) {
                self.one(&link);
            }
        }
        Ok(())
    }

    /// What it has mapped.
    fn mapped(&mut self, thread: i32) -> Result<(), TooMany> {
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
                self.one(&of(thread).join("map_files").join(name));
            }
            begins = whole;
        }
    }

    fn one(&mut self, link: &Path) {
        // What is known of it: nobody who serves a file system is asked, or waited for.
        let Ok(file) = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS) else { return };
        let is_file = FileType::from_raw_mode(file.stx_mode.into()) == FileType::RegularFile;
        let device = (file.stx_dev_major, file.stx_dev_minor);
        if !is_file || file.stx_nlink > 0 || device != self.device || self.found.contains(&file.stx_ino) {
            return;
        }
        if self.found.len() < APART {
            self.found.insert(file.stx_ino);
        }
        (self.add)(file.stx_blocks.saturating_mul(512));
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
struct Known {
    what: Shared,
    threads: Vec<i32>,
}

impl Known {
    fn new(what: Shared) -> Self {
        Self { what, threads: vec![] }
    }

    /// Whether a thread's is none of those that are known. It is so in doubt, and where the kernel can't tell.
    fn is_new(&mut self, thread: i32) -> bool {
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
