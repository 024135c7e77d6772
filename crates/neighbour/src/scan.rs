//! One look at what every process has open: sockets, pipes and terminals.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat_raw};

use crate::held::What;
use crate::numbers::Mounts;
use crate::process::Process;
use crate::shared::Key;
use crate::{Doubt, unreadable};
use crate::{ask, held};

/// Descriptors up to this one are what a program was given to speak by.
pub(crate) const STDERR: u32 = 2;

/// Most descriptors of one user's processes that are looked at: processes can share thousands, and each lists them all.
const MOST: usize = 50_000;

/// So many are taken for root's where `/proc` says so. Of a process that doesn't let others look into it that is said, too:
/// then it is asked who started it.
const AS_ROOTS: usize = 10_000;

/// Most descriptors of all processes: who has subordinate uids has many.
const MOST_IN_ALL: usize = 500_000;

/// Of one user's processes that are left out fewer are looked at: each costs more.
const MOST_LEFT_OUT: usize = 10_000;

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
    /// A file: it may be a pipe with a name, or one without a name that two processes share (see `shared`).
    File,
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
    /// Who holds the makers' side of a terminal; read when it is asked for.
    makers: OnceCell<HashMap<u32, Vec<u32>>>,
    /// Who has which file open of those that are left out otherwise.
    left_out: HashMap<Key, Vec<u32>>,
    /// How many descriptors of a user's processes were looked at.
    looked_at: HashMap<u32, usize>,
    in_all: usize,
}

/// Whose processes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where<'a> {
    /// Those in pid namespaces that aren't a task's: what lives in one of those is no person's, and may be any number.
    /// With the uids of tasks' roots.
    People(&'a Range<u32>),
    /// All processes.
    Everywhere,
}

impl Scan {
    /// Looks at them.
    pub(crate) fn read(range: Where<'_>) -> Result<Self, Doubt> {
        let entries = fs::read_dir("/proc").map_err(|e| unreadable(&e))?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let home = fs::read_link("/proc/self/ns/pid").map_err(|e| unreadable(&e))?;
        let mut others: HashMap<PathBuf, bool> = HashMap::new();
        let terminals = own_terminals();
        let mut scan = Self::default();
        let mounts = OnceCell::new();
        for pid in pids {
            held::go_on()?;
            let (namespace, is_left_out) = match ask::link(pid, "ns/pid") {
                Ok(Some(namespace)) => (namespace, false),
                // Over, or somebody else's.
                Ok(None) => continue,
                Err(_) => (PathBuf::new(), true),
            };
            let is_home = if is_left_out { is_of_our_pids(pid) } else { namespace == home };
            // Of whom that can't be told, all is looked at.
            let is_tasks = |tasks| Process(pid).is_tasks(tasks).unwrap_or(false);
            if let Where::People(tasks) = range
                && !is_home
                && if is_left_out {
                    is_tasks(tasks)
                } else {
                    *others.entry(namespace).or_insert_with(|| is_tasks(tasks))
                }
            {
                continue;
            }
            let Ok(uid) = owner(pid) else { continue };
            let open = if is_left_out { None } else { held::ask(pid, || scan.look_into(pid, uid)).ok() };
            let mut open = match open {
                Some(Ok(open)) => open,
                Some(Err(_)) => continue,
                None => match scan.look_at_numbers(pid, uid, &mounts, terminals[0]) {
                    // Not even that. Whoever may be related to it isn't judged (`Process::check_asked`); all others are.
                    Err(Doubt::HeldUp(_)) => continue,
                    other => other?,
                },
            };
            if !is_home {
                open.retain(|open| is_of_ours(pid, open, terminals));
            }
            scan.add(pid, open);
        }
        Ok(scan)
    }

    /// What is left of somebody who isn't asked.
    fn look_at_numbers(
        &mut self,
        pid: u32,
        uid: u32,
        mounts: &OnceCell<Mounts>,
        terminals: Option<u64>,
    ) -> Result<Vec<Open>, Doubt> {
        if mounts.get().is_none() {
            let _ = mounts.set(Mounts::read().map_err(|e| unreadable(&e))?);
        }
        let most = MOST_LEFT_OUT.saturating_sub(self.looked_at_of(uid));
        let Some(mounts) = mounts.get() else { return Ok(Vec::new()) };
        let known = mounts.known(pid, most, terminals)?;
        let count = known.open.len() + known.files.len();
        *self.looked_at.entry(uid).or_default() += count;
        self.in_all = self.in_all.saturating_add(count);
        for key in known.files {
            self.left_out.entry(key).or_default().push(pid);
        }
        Ok(known.open)
    }

    fn look_into(&mut self, pid: u32, uid: u32) -> rustix::io::Result<Vec<Open>> {
        // Ours are as many as our own limits allow.
        if pid == std::process::id() {
            return Ok(open_in(pid, usize::MAX)?.0);
        }
        let most = if uid == 0 { AS_ROOTS.saturating_sub(self.looked_at_of(0)) } else { self.most_of(uid) };
        let (mut open, mut links) = open_in(pid, most)?;
        let mut uid = uid;
        if uid == 0 && links >= most {
            uid = user(pid).map_err(|_| rustix::io::Errno::SRCH)?;
            (open, links) = open_in(pid, self.most_of(uid))?;
        }
        *self.looked_at.entry(uid).or_default() += links;
        self.in_all = self.in_all.saturating_add(links);
        Ok(open)
    }

    fn looked_at_of(&self, uid: u32) -> usize {
        self.looked_at.get(&uid).copied().unwrap_or_default()
    }

    /// How many more descriptors of a user's processes are looked at.
    fn most_of(&self, uid: u32) -> usize {
        let left = MOST.saturating_sub(self.looked_at_of(uid));
        left.min(MOST_IN_ALL.saturating_sub(self.in_all))
    }

    fn add(&mut self, pid: u32, open: Vec<Open>) {
        for Open { end, .. } in open.iter().filter(|open| open.end != End::File) {
            let holders = self.holders.entry(end.clone()).or_default();
            if holders.last() != Some(&pid) {
                holders.push(pid);
            }
        }
        self.open.insert(pid, open);
    }

    /// Whether a user's processes have more open than is looked at, or all have.
    pub(crate) fn is_too_much(&self, uid: u32) -> bool {
        self.in_all >= MOST_IN_ALL || self.looked_at_of(uid) >= MOST
    }

    /// All processes that were looked into.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.open.keys().copied()
    }

    /// What a process has open; nothing when it can't be looked into.
    pub(crate) fn open(&self, pid: u32) -> &[Open] {
        self.open.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// The processes that hold something.
    pub(crate) fn holders(&self, end: &End) -> &[u32] {
        self.holders.get(end).map_or(&[], Vec::as_slice)
    }

    /// The processes that are left out otherwise and have that file open.
    pub(crate) fn left_out(&self, key: Key) -> impl Iterator<Item = u32> {
        self.left_out.get(&key).into_iter().flatten().copied()
    }

    /// The processes that hold the makers' side of a terminal.
    pub(crate) fn makers(&self, terminal: u32) -> &[u32] {
        let makers = self.makers.get_or_init(|| {
            let terminals = own_terminals();
            let mut makers: HashMap<u32, Vec<u32>> = HashMap::new();
            for pid in self.holders(&End::Maker).iter().copied() {
                let made = self.open(pid).iter().filter(|open| open.end == End::Maker);
                let made = made.filter(|open| is_of_ours(pid, open, terminals));
                for terminal in made.filter_map(|open| made_by(pid, open.number)) {
                    makers.entry(terminal).or_default().push(pid);
                }
            }
            makers
        });
        makers.get(&terminal).map_or(&[], Vec::as_slice)
    }
}

/// Of which terminal a descriptor is the makers' side.
pub(crate) fn made_by(pid: u32, number: u32) -> Option<u32> {
    let info = || fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
    let info = held::ask_what(pid, What::Numbers, info).ok()?.ok()?;
    info.lines().find_map(|line| line.strip_prefix("tty-index:\t")?.parse().ok())
}

/// The file systems of this machine's own terminals.
fn own_terminals() -> [Option<u64>; 2] {
    ["/dev/pts", "/dev"].map(|path| fs::metadata(path).map(|meta| meta.dev()).ok())
}

/// Whether a process that is left out lives where this one does, or below.
fn is_of_our_pids(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_none_or(|numbers| numbers.split_whitespace().count() == 1)
}

/// Whether it isn't a terminal of another machine's, as it were: a container has a /dev/pts/0, too. Of whom that can't be
/// asked, they may all be ours.
fn is_of_ours(pid: u32, open: &Open, terminals: [Option<u64>; 2]) -> bool {
    let device = || ask::files(pid, std::iter::once(open.number)).first().map(|(_, file)| file.device);
    !matches!(open.end, End::Terminal(_) | End::Maker)
        || device().is_none_or(|device| terminals.contains(&Some(device)))
}

/// Whose a process is, be it that it doesn't let others look into it, or that it is allowed to do more than who started it.
pub(crate) fn user(pid: u32) -> std::io::Result<u32> {
    let owner = owner(pid)?;
    if owner != 0 {
        return Ok(owner);
    }
    let status = fs::read(format!("/proc/{pid}/status"))?;
    let status = String::from_utf8_lossy(&status);
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let real = uids.and_then(|uids| uids.split_whitespace().next()?.parse().ok());
    Ok(real.unwrap_or(owner))
}

/// Whose a process is, as `/proc` says.
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
        if links >= most || !held::moves() {
            break;
        }
        links += 1;
        let Ok(length) = readlinkat_raw(dir.as_fd(), entry.file_name(), &mut link) else { continue };
        if let Some(end) = end(link.get(..length).unwrap_or_default()) {
            open.push(Open { number, end });
        }
    }
    Ok((open, links))
}

fn number(name: &CStr) -> Option<u32> {
    name.to_str().ok()?.parse().ok()
}

/// What a link of `/proc/PID/fd` says.
fn end(link: &[u8]) -> Option<End> {
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
        _ if link.starts_with(b"/dev/") && !link.starts_with(b"/dev/shm/") => None,
        _ if link.starts_with(b"/") => Some(End::File),
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
        let scan = Scan::read(Where::Everywhere).expect("readable");
        let ours = scan.open(std::process::id());
        let open = ours.iter().find(|open| open.number == number).expect("it is there");
        assert!(matches!(open.end, End::Socket(_)));
        assert_eq!(scan.holders(&open.end), [std::process::id()]);
    }

    #[test]
    fn a03_links_are_told_apart() {
        assert_eq!(end(b"socket:[12]"), Some(End::Socket(12)));
        assert_eq!(end(b"pipe:[12]"), Some(End::Pipe(12)));
        assert_eq!(end(b"/dev/pts/3"), Some(End::Terminal(3)));
        assert_eq!(end(b"/dev/pts/ptmx"), Some(End::Maker));
        for file in ["/tmp/f", "/memfd:x (deleted)", "/dev/shm/x", "/SYSV00000000 (deleted)"] {
            assert_eq!(end(file.as_bytes()), Some(End::File), "{file}");
        }
        assert_eq!(end(b"/dev/net/tun"), Some(End::Interface));
        for strange in ["/dev/ttyUSB0", "/dev/infiniband/uverbs0", "/dev/fuse", "anon_inode:[io_uring]"] {
            assert_eq!(end(strange.as_bytes()), Some(End::Strange), "{strange}");
        }
        for known in ["/dev/null", "/dev/tty", "/dev/nvidia0", "anon_inode:[eventpoll]", "anon_inode:inotify"]
        {
            assert_eq!(end(known.as_bytes()), None, "{known}");
        }
    }
}
