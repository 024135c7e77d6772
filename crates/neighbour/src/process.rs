//! What a process is: where it lives, and what its sockets say of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::sockets::{Tables, Tcp};
use crate::unreadable;

/// Why a peer isn't taken for a person's own program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It came from another network namespace, or is over.
    #[error("no such connection begins in this network namespace")]
    NoSocket,
    /// Processes of others can't be looked into without root.
    #[error("no process that can be looked into holds the other end")]
    NoHolder,
    /// A process in a pid namespace that isn't below ours.
    #[error("its process can't be seen from here")]
    Elsewhere,
    /// The master's own process.
    #[error("the other end is in this process")]
    Ourselves,
    /// What it is can't be told.
    #[error("process {0} can't be looked into")]
    Unreadable(u32),
    /// A task's process, or one in a container.
    #[error("process {0} lives in namespaces of its own or belongs to a task")]
    NotAtHome(u32),
    /// It listens, or was connected to.
    #[error("process {0} serves others")]
    Serves(u32),
    /// It is connected to others, and may carry their words.
    #[error("process {0} is connected elsewhere too")]
    Connected(u32),
    /// It holds a socket of which nothing is known.
    #[error("process {0} holds a socket that this network namespace doesn't know")]
    Unexplained(u32),
    /// `/proc` isn't there.
    #[error("the kernel can't be asked: {0}")]
    Kernel(String),
}

/// Programs that are connected to many places and carry nothing from there to here, by the file that runs. Of others
/// the kernel can't tell a tunnel (`ssh -R`) from a download.
const BROWSERS: [&str; 20] = [
    "brave",
    "chrome",
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "chromium-shell",
    "epiphany",
    "falkon",
    "firefox",
    "firefox-bin",
    "firefox-esr",
    "headless_shell",
    "konqueror",
    "librewolf",
    "msedge",
    "opera",
    "QtWebEngineProcess",
    "vivaldi-bin",
    "WebKitNetworkProcess",
    "zen",
];

/// Kinds of sockets that bring no connections from elsewhere, as the kernel names them.
const HARMLESS: [&str; 8] = ["UNIX", "UDP", "NETLINK", "PACKET", "RAW", "PING", "ALG", "KEY"];

/// The attribute of a socket that names its protocol.
const PROTOCOL: &str = "system.sockprotoname";

/// The namespaces in which people live.
#[derive(Debug)]
pub(crate) struct Home([PathBuf; 3]);

const NAMESPACES: [&str; 3] = ["pid", "user", "net"];

fn namespaces(process: &str) -> io::Result<[PathBuf; 3]> {
    let of = |name: &str| fs::read_link(format!("/proc/{process}/ns/{name}"));
    let [pid, user, net] = NAMESPACES;
    Ok([of(pid)?, of(user)?, of(net)?])
}

impl Home {
    /// Those of this process.
    pub(crate) fn here() -> Result<Self, Doubt> {
        namespaces("self").map(Self).map_err(|e| unreadable(&e))
    }
}

/// A socket that a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    descriptor: PathBuf,
    inode: u64,
}

/// The sockets of a process.
pub(crate) fn sockets_of(pid: u32) -> io::Result<Vec<Held>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let held = entries.flatten().filter_map(|entry| {
        let descriptor = entry.path();
        inode_of(&descriptor).map(|inode| Held { descriptor, inode })
    });
    Ok(held.collect())
}

/// `socket:[INODE]`.
fn inode_of(descriptor: &Path) -> Option<u64> {
    let link = fs::read_link(descriptor).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Every process that holds a socket and can be looked into, with all its sockets.
pub(crate) fn holders(inode: u64) -> Result<BTreeMap<u32, Vec<Held>>, Doubt> {
    let entries = fs::read_dir("/proc").map_err(|e| unreadable(&e))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holding = pids.filter_map(|pid| {
        let held = sockets_of(pid).ok()?;
        held.iter().any(|socket| socket.inode == inode).then_some((pid, held))
    });
    Ok(holding.collect())
}

/// A process that may be a person's.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) held: Vec<Held>,
}

impl Process {
    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }

    /// It lives where people live: in this process's own namespaces, as no task's user, below no shim, in no task's
    /// cgroup.
    pub(crate) fn check_home(&self, home: &Home, task_uids: &Range<u32>) -> Result<(), Doubt> {
        let cannot = |_| Doubt::Unreadable(self.pid);
        if namespaces(&self.pid.to_string()).map_err(cannot)? != home.0 {
            return Err(Doubt::NotAtHome(self.pid));
        }
        let uid = fs::metadata(self.path("")).map_err(cannot)?.uid();
        let cgroups = fs::read_to_string(self.path("cgroup")).unwrap_or_default();
        if task_uids.contains(&uid) || cgroups.contains("/muster-") || is_below_shim(self.pid) {
            return Err(Doubt::NotAtHome(self.pid));
        }
        Ok(())
    }

    /// It carries nobody else's words: it is connected to the master alone, or it is a browser that serves nobody.
    pub(crate) fn check_sockets(&self, tables: &Tables, master: SocketAddr) -> Result<(), Doubt> {
        let browser = self.is_browser();
        for held in &self.held {
            if let Some(tcp) = tables.tcp(held.inode) {
                if tables.serves(&tcp) {
                    return Err(Doubt::Serves(self.pid));
                }
                if !browser && !leads_to(&tcp, master) {
                    return Err(Doubt::Connected(self.pid));
                }
            } else if tables.is_named_unix(held.inode) {
                if !browser {
                    return Err(Doubt::Serves(self.pid));
                }
            } else if !held.is_harmless() {
                return Err(Doubt::Unexplained(self.pid));
            }
        }
        Ok(())
    }

    fn is_browser(&self) -> bool {
        let Ok(exe) = fs::read_link(self.path("exe")) else { return false };
        // An update replaces the file of a browser that runs.
        let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        BROWSERS.contains(&name.trim_end_matches(" (deleted)"))
    }
}

impl Held {
    /// Whether it is of a kind that brings no connections, or is closed by now.
    fn is_harmless(&self) -> bool {
        let mut name = [0; 64];
        let length = rustix::fs::getxattr(&self.descriptor, PROTOCOL, &mut name[..]).unwrap_or(0);
        let kind = str::from_utf8(name.get(..length).unwrap_or_default()).unwrap_or_default();
        let harmless = HARMLESS.iter().any(|known| kind.starts_with(known));
        harmless || inode_of(&self.descriptor) != Some(self.inode)
    }
}

/// Whether a connection leads to the port of the master that we are asked for, on this machine.
fn leads_to(socket: &Tcp, master: SocketAddr) -> bool {
    let ip = socket.remote.ip();
    socket.remote.port() == master.port() && (ip == master.ip().to_canonical() || ip.is_loopback())
}

/// Whether one of the processes above is a task's supervisor: this program as `shim`, of whatever version.
fn is_below_shim(pid: u32) -> bool {
    let mut at = pid;
    // A chain of parents that changes under our eyes could be a ring.
    for _ in 0..1000 {
        if at <= 1 {
            return false;
        }
        let line = fs::read(format!("/proc/{at}/cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).nth(1) == Some(b"shim".as_slice()) {
            return true;
        }
        match parent(at) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
    true
}

/// Field 4 of `/proc/PID/stat`; the name before it may hold anything, parentheses too.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
