//! One look at what every process has open: sockets, pipes and terminals.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat_raw};

use crate::{Doubt, unreadable};

/// Descriptors up to this one are what a program was given to speak by.
pub(crate) const STDERR: u32 = 2;

/// Most descriptors of one user's processes that are looked at: processes can share thousands, and each lists them all.
const MOST: usize = 50_000;

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
    /// A network interface of the process's own, as user-space networks and virtual private ones have it.
    Interface,
    /// A device, or something of the kernel's, of which it isn't known that it carries nobody's words.
    Strange,
    /// A file, of which the first descriptors alone are kept: it may be a pipe with a name.
    File(Vec<u8>),
}

/// Devices that carry nobody's words.
const DEVICES: [&str; 11] = [
    "/dev/dri/",
    "/dev/full",
    "/dev/kfd",
    "/dev/null",
    "/dev/nvidia",
    "/dev/random",
    "/dev/shm/",
    "/dev/snd/",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// Serial lines, which begin as the own terminal does.
const SERIAL: [&str; 4] = ["/dev/ttyACM", "/dev/ttyAMA", "/dev/ttyS", "/dev/ttyUSB"];

/// What of the kernel's has no file and carries nobody's words.
const KERNELS: [&str; 8] = [
    "[eventfd]",
    "[eventpoll]",
    "[pidfd]",
    "[signalfd]",
    "[timerfd]",
    "[userfaultfd]",
    "inotify",
    "[fanotify]",
];

/// An open descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) number: u32,
    pub(crate) end: End,
}

/// Processes that can be looked into.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    open: BTreeMap<u32, Vec<Open>>,
    holders: HashMap<End, Vec<u32>>,
    /// How many descriptors of a user's processes were looked at.
    looked_at: HashMap<u32, usize>,
}

/// Whose processes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// Those of this pid namespace: what lives in one below it is no person's, and may be any number.
    Home,
    /// All.
    Everywhere,
}

impl Scan {
    /// Looks at them.
    pub(crate) fn read(range: Where) -> Result<Self, Doubt> {
        let entries = fs::read_dir("/proc").map_err(|e| unreadable(&e))?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid"));
        let home = namespace("self").map_err(|e| unreadable(&e))?;
        let mut scan = Self::default();
        for pid in pids {
            // Over, or somebody else's.
            let Ok(namespace) = namespace(&pid.to_string()) else { continue };
            if range == Where::Home && namespace != home {
                continue;
            }
            let Ok(uid) = owner(pid) else { continue };
            let looked_at = scan.looked_at.entry(uid).or_default();
            // Ours are as many as our own limits allow.
            let most = if pid == std::process::id() { usize::MAX } else { MOST.saturating_sub(*looked_at) };
            let Ok((open, links)) = open_in(pid, most) else { continue };
            *looked_at = looked_at.saturating_add(if most == usize::MAX { 0 } else { links });
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

    /// Whether a user's processes have more open than is looked at.
    pub(crate) fn is_too_much(&self, uid: u32) -> bool {
        self.looked_at.get(&uid).is_some_and(|links| *links >= MOST)
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
        let makes = move |pid: &u32| {
            let mut makers = self.open(*pid).iter().filter(|open| open.end == End::Maker);
            makers.any(|open| self.made_by(*pid, open.number) == Some(terminal))
        };
        self.holders(&End::Maker).iter().copied().filter(makes)
    }

    /// Of which terminal a descriptor is the makers' side.
    #[expect(clippy::unused_self, reason = "it belongs to what was seen")]
    pub(crate) fn made_by(&self, pid: u32, number: u32) -> Option<u32> {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        info.lines().find_map(|line| line.strip_prefix("tty-index:\t")?.parse().ok())
    }
}

/// Whose a process is.
pub(crate) fn owner(pid: u32) -> std::io::Result<u32> {
    Ok(fs::metadata(format!("/proc/{pid}"))?.uid())
}

/// The descriptors of a process that matter, and how many of at most `most` were looked at. Paths are looked up from its
/// directory: there are thousands on a machine.
fn open_in(pid: u32, most: usize) -> rustix::io::Result<(Vec<Open>, usize)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let (mut open, mut links) = (Vec::new(), 0);
    let mut link = [0; 256];
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let Some(number) = number(entry.file_name()) else { continue };
        if links >= most {
            break;
        }
        links += 1;
        let Ok(length) = readlinkat_raw(dir.as_fd(), entry.file_name(), &mut link) else { continue };
        if let Some(end) = end(number, link.get(..length).unwrap_or_default()) {
            open.push(Open { number, end });
        }
    }
    Ok((open, links))
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
        "/dev/net/tun" => Some(End::Interface),
        _ if is_strange(text) => Some(End::Strange),
        _ if number <= STDERR && link.starts_with(b"/") => Some(End::File(link.to_vec())),
        _ => None,
    }
}

fn is_strange(link: &str) -> bool {
    let begins = |names: &[&str]| names.iter().any(|name| link.starts_with(name));
    match link.strip_prefix("anon_inode:") {
        Some(kind) => !KERNELS.contains(&kind),
        None => link.starts_with("/dev/") && (!begins(&DEVICES) || begins(&SERIAL)),
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
        let scan = Scan::read(Where::Home).expect("readable");
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
        assert_eq!(end(7, b"/dev/net/tun"), Some(End::Interface));
        for strange in ["/dev/ttyUSB0", "/dev/infiniband/uverbs0", "/dev/fuse", "anon_inode:[io_uring]"] {
            assert_eq!(end(7, strange.as_bytes()), Some(End::Strange), "{strange}");
        }
        for known in [
            "/tmp/f",
            "/dev/null",
            "/dev/tty",
            "/dev/nvidia0",
            "anon_inode:[eventpoll]",
            "anon_inode:inotify",
        ] {
            assert_eq!(end(7, known.as_bytes()), None, "{known}");
        }
    }
}
