//! The sockets of a task that are in no table of the kernel's (A12): those that gave up their address (connect(2),
//! `AF_UNSPEC`) or whose connection is over. What waits in them stays. How many there are is known; what is in them is
//! asked of each that a process has open, and others may have as much as any can.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::readlink;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::network::diag::whole;
use crate::sys::net;

/// Descriptors that are looked at.
const LINKS: u64 = 200_000;
/// Longest look. Who has exchanged a socket for a file of a file system that doesn't answer lets its closing wait.
const LONGEST: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) sockets: u64,
    /// Bytes of their memory.
    pub(super) bytes: u64,
}

/// Looks for sockets of a network namespace that aren't `listed` (by inode) in processes, which are directories of `/proc`.
/// Nothing is found when that takes too long.
pub(super) fn find(namespace: Option<u64>, processes: Vec<PathBuf>, listed: HashSet<u32>) -> Found {
    let (tells, told) = channel();
    let look = move || {
        let _ = tells.send(search(namespace, &processes, listed));
    };
    let begun = std::thread::Builder::new().stack_size(super::super::watch::STACK).spawn(look);
    begun.ok().and_then(|_| told.recv_timeout(LONGEST).ok()).unwrap_or_default()
}

fn search(namespace: Option<u64>, processes: &[PathBuf], mut known: HashSet<u32>) -> Found {
    let mut found = Found::default();
    let mut links = LINKS;
    for process in processes {
        let pid = process.file_name().and_then(|name| Pid::from_raw(name.to_str()?.parse().ok()?));
        let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { continue };
        for link in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let Some(left) = links.checked_sub(1) else { return found };
            links = left;
            // Files are told from sockets by their names alone, and not opened.
            let Some(inode) = socket(&link.path()).filter(|inode| !known.contains(inode)) else { continue };
            known.insert(inode);
            let number = link.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(Ok(socket)) = number.map(|fd| pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty())) else {
                continue;
            };
            // One of another task's is there, and what carries this one's packets outside is among the processes.
            if net::namespace(socket.as_fd()) != namespace {
                continue;
            }
            if let Some(bytes) = of_network(&socket) {
                found.sockets += 1;
                found.bytes = found.bytes.saturating_add(bytes);
            }
        }
    }
    found
}

/// The inode of a socket that a link of `/proc` leads to.
fn socket(link: &Path) -> Option<u32> {
    let text = readlink(link, Vec::new()).ok()?;
    text.to_str().ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The memory of a socket of the network.
fn of_network(socket: &OwnedFd) -> Option<u64> {
    let family = socket_domain(socket).ok()?;
    if ![AddressFamily::INET, AddressFamily::INET6].contains(&family) {
        return None;
    }
    net::meminfo(socket.as_fd()).ok().map(|numbers| whole(&numbers))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a12_what_no_table_has_is_found_where_it_is_open() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[0; 40_000], socket.local_addr().unwrap()).unwrap();
        let namespace = net::namespace(socket.as_fd());
        let own = PathBuf::from(format!("/proc/{}", std::process::id()));
        let found = find(namespace, vec![own.clone()], HashSet::new());
        assert!(found.sockets >= 1 && found.bytes >= 40_000, "{found:?}");
        let inode = super::socket(&own.join("fd").join(socket.as_raw_fd().to_string())).unwrap();
        let without = find(namespace, vec![own], [inode].into());
        assert!(without.bytes + 40_000 <= found.bytes, "{found:?} {without:?}");
    }
}
