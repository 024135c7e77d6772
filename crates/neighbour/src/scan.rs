//! One look at what every process has open: sockets, pipes and terminals.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs;
use std::os::fd::AsFd as _;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat_raw};

use crate::{Doubt, unreadable};

/// Descriptors up to this one are what a program was given to speak by.
pub(crate) const STDERR: u32 = 2;

/// What a descriptor leads to, as far as it may carry somebody's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// A socket, by inode.
    Socket(u64),
    /// A pipe without a name, by inode.
    Pipe(u64),
    /// A terminal that a program made, by number.
    Terminal(u32),
    /// The side of a terminal that whoever made it holds.
    Maker,
    /// A file, of which the first descriptors alone are kept: it may be a pipe with a name.
    File(Vec<u8>),
}

/// An open descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) number: u32,
    pub(crate) end: End,
}

/// All processes that can be looked into.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    open: BTreeMap<u32, Vec<Open>>,
    holders: HashMap<End, Vec<u32>>,
}

impl Scan {
    /// Looks at all of them.
    pub(crate) fn read() -> Result<Self, Doubt> {
        let entries = fs::read_dir("/proc").map_err(|e| unreadable(&e))?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut scan = Self::default();
        for pid in pids {
            // Over, or somebody else's.
            let Ok(open) = open_in(pid) else { continue };
            for Open { end, .. } in &open {
                let holders = scan.holders.entry(end.clone()).or_default();
                if holders.last() != Some(&pid) {
                    holders.push(pid);
                }
            }
            scan.open.insert(pid, open);
        }
        Ok(scan)
    }

    /// What a process has open; nothing when it can't be looked into.
    pub(crate) fn open(&self, pid: u32) -> &[Open] {
        self.open.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// The processes that hold something.
    pub(crate) fn holders(&self, end: &End) -> &[u32] {
        self.holders.get(end).map_or(&[], Vec::as_slice)
    }

    /// The processes that hold the makers' side of a terminal.
    pub(crate) fn makers(&self, terminal: u32) -> impl Iterator<Item = u32> {
        let index = format!("tty-index:\t{terminal}");
        let makes = move |pid: &u32| {
            let mut makers = self.open(*pid).iter().filter(|open| open.end == End::Maker);
            makers.any(|open| {
                let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", open.number));
                info.is_ok_and(|info| info.lines().any(|line| line == index))
            })
        };
        self.holders(&End::Maker).iter().copied().filter(makes)
    }
}

/// The descriptors of a process that matter. Paths are looked up from its directory: there are thousands on a machine.
fn open_in(pid: u32) -> rustix::io::Result<Vec<Open>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut open = Vec::new();
    let mut link = [0; 256];
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let Some(number) = number(entry.file_name()) else { continue };
        let Ok(length) = readlinkat_raw(dir.as_fd(), entry.file_name(), &mut link) else { continue };
        if let Some(end) = end(number, link.get(..length).unwrap_or_default()) {
            open.push(Open { number, end });
        }
    }
    Ok(open)
}

fn number(name: &CStr) -> Option<u32> {
    name.to_str().ok()?.parse().ok()
}

/// What a link of `/proc/PID/fd` says.
fn end(number: u32, link: &[u8]) -> Option<End> {
    let text = str::from_utf8(link).unwrap_or_default();
    let inode = |kind: &str| text.strip_prefix(kind)?.strip_suffix(']')?.parse::<u64>().ok();
    if let Some(inode) = inode("socket:[") {
        return Some(End::Socket(inode));
    }
    if let Some(inode) = inode("pipe:[") {
        return Some(End::Pipe(inode));
    }
    if let Some(terminal) = text.strip_prefix("/dev/pts/").and_then(|index| index.parse().ok()) {
        return Some(End::Terminal(terminal));
    }
    match text {
        "/dev/ptmx" | "/dev/pts/ptmx" => Some(End::Maker),
        "/dev/null" => None,
        _ if number <= STDERR && link.starts_with(b"/") => Some(End::File(link.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a03_what_a_process_holds_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let number = u32::try_from(listener.as_raw_fd()).expect("a descriptor");
        let scan = Scan::read().expect("readable");
        let ours = scan.open(std::process::id());
        let open = ours.iter().find(|open| open.number == number).expect("it is there");
        assert!(matches!(open.end, End::Socket(_)));
        assert_eq!(scan.holders(&open.end), [std::process::id()]);
    }

    #[test]
    fn a03_links_are_told_apart() {
        assert_eq!(end(7, b"socket:[12]"), Some(End::Socket(12)));
        assert_eq!(end(7, b"pipe:[12]"), Some(End::Pipe(12)));
        assert_eq!(end(0, b"/dev/pts/3"), Some(End::Terminal(3)));
        assert_eq!(end(7, b"/dev/pts/ptmx"), Some(End::Maker));
        assert_eq!(end(1, b"/tmp/f"), Some(End::File(b"/tmp/f".to_vec())));
        assert_eq!((end(7, b"/tmp/f"), end(0, b"/dev/null"), end(0, b"anon_inode:x")), (None, None, None));
    }
}
