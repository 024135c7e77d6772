//! What processes share without a pipe, a socket or a terminal: memory, pipes with a name, and files that have none any
//! more. Who else has it is looked up only if somebody who matters has any: it means to look at everybody.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use rustix::fs::{FileType, makedev};

use crate::ask;
use crate::doubt::Doubt;
use crate::process::{Image, Process};
use crate::programs::is_service;
use crate::scan::{End, Scan, user};

/// Most bytes of descriptions of one user's memory that are read: a process may have a great many pieces.
const MOST: u64 = 16 << 20;

/// Most of all users'.
const MOST_IN_ALL: u64 = 64 << 20;

/// A file: its file system and its number there.
pub(crate) type Key = (u64, u64);

/// How a process uses such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) process: Process,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    /// It is memory, or may be.
    pub(crate) nameless: bool,
}

type Index = HashMap<Key, Vec<Use>>;

/// Who shares what, as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    images: OnceCell<HashMap<Image, Vec<u32>>>,
    files: OnceCell<Index>,
    /// With whose memory there is too much of.
    memory: OnceCell<(Index, BTreeSet<u32>)>,
}

impl Shared {
    /// All that run the same start of the same program: they came from each other without another program being started,
    /// and have what memory they had.
    pub(crate) fn family(&self, image: &Image, scan: &Scan) -> &[u32] {
        let images = self.images.get_or_init(|| {
            let mut images: HashMap<Image, Vec<u32>> = HashMap::new();
            for (image, pid) in scan.pids().filter_map(|pid| Some((Process(pid).image()?, pid))) {
                images.entry(image).or_default().push(pid);
            }
            images
        });
        images.get(image).map_or(&[], Vec::as_slice)
    }

    /// How all use a pipe with a name or a file without one.
    pub(crate) fn users(&self, key: Key, scan: &Scan) -> &[Use] {
        let files = self.files.get_or_init(|| {
            let mut index = Index::new();
            for (key, used) in scan.pids().flat_map(|pid| files(Process(pid), scan, u32::MAX)) {
                index.entry(key).or_default().push(used);
            }
            index
        });
        files.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Who has that file in memory, so that others see what he writes there.
    pub(crate) fn mappers(&self, key: Key, scan: &Scan) -> &[Use] {
        let (index, _) = self.memory.get_or_init(|| {
            let (mut index, mut too_much) = (Index::new(), BTreeSet::new());
            let (mut left, mut left_in_all) = (HashMap::new(), MOST_IN_ALL);
            for pid in scan.pids() {
                let Ok(uid) = user(pid) else { continue };
                let left = left.entry(uid).or_insert(MOST);
                let (maps, is_all) = maps(Process(pid), left_in_all.min(*left));
                let length = u64::try_from(maps.len()).unwrap_or(u64::MAX);
                (*left, left_in_all) = (left.saturating_sub(length), left_in_all.saturating_sub(length));
                if !is_all {
                    too_much.insert(uid);
                }
                for (key, used) in mappings(Process(pid), &maps) {
                    index.entry(key).or_default().push(used);
                }
            }
            (index, too_much)
        });
        index.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether a user's processes have more in memory than is looked at, if that was asked for.
    pub(crate) fn is_too_much(&self, uid: u32) -> bool {
        self.memory.get().is_some_and(|(_, too_much)| too_much.contains(&uid))
    }
}

/// What a process has open of that kind, with descriptors up to `until`: pipes with a name, and files without one.
pub(crate) fn files(process: Process, scan: &Scan, until: u32) -> Vec<(Key, Use)> {
    let files = scan.open(process.0).iter().filter(|open| open.end == End::File && open.number <= until);
    let files = ask::files(process.0, files.map(|open| open.number)).into_iter();
    let used = files.filter_map(|(number, file)| {
        let nameless = file.kind == FileType::RegularFile && file.names == 0;
        let is_one = nameless || (file.kind == FileType::Fifo && !is_of_service(process, number));
        let (reads, writes) = if is_one { process.directions(number) } else { (false, false) };
        is_one.then_some(((file.device, file.inode), Use { process, reads, writes, nameless }))
    });
    used.collect()
}

fn is_of_service(process: Process, number: u32) -> bool {
    let path = ask::link(process.0, &format!("fd/{number}")).ok().flatten();
    path.is_some_and(|path| path.to_str().is_some_and(is_service))
}

/// What of a process's memory others may have, too.
///
/// # Errors
/// When that is too much to be looked at.
pub(crate) fn memory(process: Process) -> Result<Vec<(Key, Use)>, Doubt> {
    match maps(process, MOST) {
        (maps, true) => Ok(mappings(process, &maps)),
        _ => Err(Doubt::TooMuch(user(process.0).unwrap_or_default())),
    }
}

fn maps(process: Process, most: u64) -> (Vec<u8>, bool) {
    ask::text_until(process.0, "maps", most).unwrap_or_else(|_| (Vec::new(), true))
}

fn mappings(process: Process, maps: &[u8]) -> Vec<(Key, Use)> {
    String::from_utf8_lossy(maps).lines().filter_map(|line| mapping(process, line)).collect()
}

/// `from-to perms offset dev inode path`. What is only read there, and by its name everybody's, is a library's or such.
fn mapping(process: Process, line: &str) -> Option<(Key, Use)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let perms = fields.next()?;
    if !perms.ends_with('s') {
        return None;
    }
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let inode = fields.next().and_then(|inode| inode.parse().ok()).filter(|inode| *inode != 0)?;
    let path = fields.next().unwrap_or_default();
    let writes = perms.contains('w');
    let anonymous = line.ends_with("(deleted)");
    let of_device = path.starts_with("/dev/") && !path.starts_with("/dev/shm/") && !anonymous;
    let counts = (writes || anonymous) && !of_device && !path.starts_with("anon_inode:");
    counts.then_some((
        (makedev(number(major)?, number(minor)?), inode),
        Use { process, reads: true, writes, nameless: true },
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a03_what_memory_is_shared_is_told() {
        let mapping = |line: &str| mapping(Process(1), line);
        let shared = "7f00-7f01 rw-s 00000000 00:01 5 /dev/zero (deleted)";
        let (key, used) = mapping(shared).expect("shared");
        assert_eq!((key, used.writes), ((makedev(0, 1), 5), true));
        for line in [
            "7f00-7f01 rw-p 00000000 00:01 5 /dev/zero (deleted)",
            "7f00-7f01 r--s 00000000 fe:01 5 /usr/lib/gconv-modules.cache",
            "7f00-7f01 rw-s 00000000 00:05 5 /dev/dri/card0",
            "7f00-7f01 rw-s 00000000 00:0e 5 anon_inode:[io_uring]",
            "7f00-7f01 rw-p 00000000 00:00 0",
        ] {
            assert_eq!(mapping(line), None, "{line}");
        }
    }

    #[test]
    fn a03_two_starts_of_a_program_are_no_family() {
        let start = || std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let mut two = [start(), start()];
        let deadline = Instant::now() + Duration::from_secs(10);
        // A start is told a moment before the program is in its place.
        let images = two.each_ref().map(|child| {
            while Process(child.id()).image().is_none() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            Process(child.id()).image()
        });
        for child in &mut two {
            child.kill().expect("killed");
            child.wait().expect("over");
        }
        assert!(images[0].is_some() && images[1].is_some());
        assert_ne!(images[0], images[1]);
    }
}
