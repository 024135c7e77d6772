//! What files take of a btrfs (`BTRFS_IOC_TREE_SEARCH_V2`). They say how long they are: a file that compresses has less, and a
//! part of an extent that is left has all of it, so both are its owner's choice (MD7).

use std::collections::HashSet;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use rustix::fs::fstatfs;

const BTRFS: u64 = 0x9123_683e;
const TREE_SEARCH_V2: u32 = 0xc070_9411;
/// `BTRFS_EXTENT_DATA_KEY`
const EXTENT_DATA: u32 = 108;
/// `BTRFS_FILE_EXTENT_INLINE`: what follows is the data itself.
const INLINE: u8 = 0;
/// Room for what is found, in bytes, and the length that no item has.
const ROOM: usize = 64 << 10;
const LONGEST: usize = 16 << 10;
/// So many extents of a file are known again.
const KNOWN: usize = 1 << 16;

/// `btrfs_ioctl_search_args_v2`
#[repr(C)]
struct Search {
    tree: u64,
    objects: [u64; 2],
    offsets: [u64; 2],
    transactions: [u64; 2],
    kinds: [u32; 2],
    items: u32,
    unused: [u32; 9],
    size: u64,
    found: [u8; ROOM],
}

const _: () = assert!(offset_of!(Search, size) == 104 && offset_of!(Search, found) == 112);

/// A directory of a btrfs, to ask about files of its subvolume.
pub(crate) struct Extents {
    dir: OwnedFd,
    search: Box<Search>,
    known: HashSet<u64>,
}

impl Extents {
    /// `None` where it is another file system.
    pub(crate) fn of(dir: impl AsFd) -> Option<Self> {
        let kind = u64::try_from(fstatfs(&dir).ok()?.f_type).ok()?;
        if kind != BTRFS {
            return None;
        }
        let search = Search {
            tree: 0,
            objects: [0; 2],
            offsets: [0; 2],
            transactions: [0; 2],
            kinds: [EXTENT_DATA; 2],
            items: 0,
            unused: [0; 9],
            size: 0,
            found: [0; ROOM],
        };
        Some(Self {
            dir: dir.as_fd().try_clone_to_owned().ok()?,
            search: Box::new(search),
            known: HashSet::new(),
        })
    }

    /// Bytes that a file takes, by its inode's number. What isn't written yet takes none.
    ///
    /// # Errors
    /// What the kernel says; it tells only root.
    pub(crate) fn bytes(&mut self, inode: u64) -> io::Result<u64> {
        self.known.clear();
        let (mut sum, mut next) = (0_u64, Some(0));
        while let Some(from) = next {
            next = self.some(inode, from, &mut sum)?;
        }
        Ok(sum)
    }

    /// Adds some extents, from this offset on; where it goes on, if there may be more.
    fn some(&mut self, inode: u64, from: u64, sum: &mut u64) -> io::Result<Option<u64>> {
        let search = &mut *self.search;
        search.objects = [inode; 2];
        search.offsets = [from, u64::MAX];
        search.transactions = [0, u64::MAX];
        search.items = u32::MAX;
        search.size = ROOM as u64;
        let request = libc::Ioctl::from(TREE_SEARCH_V2);
        // SAFETY: the kernel reads and writes this structure, which outlives the call, and of what follows its size no more than
        // that size says, which is `found`'s.
        if unsafe { libc::ioctl(self.dir.as_raw_fd(), request, std::ptr::from_mut(search)) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let (mut rest, mut last) = (search.found.as_slice(), None);
        for _ in 0..search.items {
            let Some((header, tail)) = rest.split_at_checked(32) else { break };
            let length = u32::from_ne_bytes(at(header, 28)) as usize;
            let Some((item, tail)) = tail.split_at_checked(length) else { break };
            (rest, last) = (tail, Some(u64::from_ne_bytes(at(header, 16))));
            // What is on the disk is in its own order.
            if item.get(20) == Some(&INLINE) {
                *sum = sum.saturating_add(length as u64);
                continue;
            }
            let place = u64::from_le_bytes(at(item, 21));
            // A hole has none.
            if place == 0 || self.known.contains(&place) {
                continue;
            }
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
            self.known.insert(place);
            *sum = sum.saturating_add(u64::from_le_bytes(at(item, 29)));
        }
        Ok(last.filter(|_| rest.len() < LONGEST).and_then(|last| last.checked_add(1)))
    }
}

/// Zeros where there is nothing.
fn at<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes.get(from..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
