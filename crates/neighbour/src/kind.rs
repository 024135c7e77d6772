//! What a socket is that no table of the kernel's has: by the name of its protocol, and by a look at the socket itself.

use std::fs;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, open, statx};
use rustix::io::Errno;
use rustix::net::{getpeername, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::held::ask;

/// Kinds of sockets that bring no words from elsewhere, as the kernel names them.
const HARMLESS: [&str; 3] = ["NETLINK", "ALG", "KEY"];

/// Kinds that do, and aren't in the tables.
const CARRIERS: [&str; 8] = ["UDP", "RAW", "PACKET", "PING", "VSOCK", "AF_VSOCK", "XDP", "TIPC"];

/// Kinds that listen as TCP does, and aren't in the tables either: Go's listeners are of the first.
const SERVERS: [&str; 3] = ["MPTCP", "SMC", "SCTP"];

/// The attribute of a socket that names its protocol.
const PROTOCOL: &str = "system.sockprotoname";

/// What a socket that isn't a TCP or Unix socket of the tables is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Harmless,
    Carrier,
    Server,
    Unknown,
}

impl Kind {
    /// Of the socket with that inode that a process has; one that is closed by now is harmless.
    pub(crate) fn of(process: u32, number: u32, inode: u64) -> Self {
        ask(process, || Self::told(process, number, inode)).unwrap_or(Self::Unknown)
    }

    fn told(process: u32, number: u32, inode: u64) -> Self {
        let descriptor = format!("/proc/{process}/fd/{number}");
        let closed = || fs::read_link(&descriptor).ok() != Some(format!("socket:[{inode}]").into());
        let name = protocol(&descriptor, inode).unwrap_or_default();
        let is_one_of = |kinds: &[&str]| kinds.iter().any(|kind| name.starts_with(kind));
        match () {
            () if is_one_of(&HARMLESS) || closed() => Self::Harmless,
            () if is_one_of(&CARRIERS) => Self::Carrier,
            () if is_one_of(&SERVERS) => Self::Server,
            () if name.starts_with("TCP") && is_idle(process, number).unwrap_or(false) => Self::Harmless,
            () => Self::Unknown,
        }
    }
}

/// The name of a socket's protocol. It is asked of the socket and nothing else: by the time its number may be a file's,
/// whose server answers when it likes. What is held by a path alone is closed without asking it, too.
fn protocol(descriptor: &str, inode: u64) -> Option<String> {
    let socket = open(descriptor, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (flags, mask) = (AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE | StatxFlags::INO);
    let said = statx(&socket, c"", flags, mask).ok()?;
    if FileType::from_raw_mode(said.stx_mode.into()) != FileType::Socket || said.stx_ino != inode {
        return None;
    }
    let mut name = [0; 64];
    let held = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let length = rustix::fs::getxattr(held, PROTOCOL, &mut name[..]).ok()?;
    Some(String::from_utf8_lossy(name.get(..length)?).into_owned())
}

/// Whether a TCP socket is connected to nobody and listens to nobody: those are in no table, nor are those of other
/// network namespaces. `None` when it can't be had.
fn is_idle(process: u32, number: u32) -> Option<bool> {
    if KEPT.load(Ordering::Relaxed) >= MOST_KEPT {
        return None;
    }
    let pid = Pid::from_raw(i32::try_from(process).ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(pidfd, i32::try_from(number).ok()?, PidfdGetfdFlags::empty()).ok()?;
    let listens = match sockopt::socket_acceptconn(&socket) {
        Err(Errno::NOTSOCK) => {
            keep(socket);
            return None;
        }
        listens => listens.ok()?,
    };
    Some(!listens && getpeername(&socket).err() == Some(rustix::io::Errno::NOTCONN))
}

/// Files that were a socket's number when it was asked what that is; with more nothing is asked any more.
static KEPT: AtomicUsize = AtomicUsize::new(0);
const MOST_KEPT: usize = 16;

/// Keeps a file open for good. Who closes one waits for its server, and can't be ended meanwhile, unless he ends himself.
fn keep(file: OwnedFd) {
    KEPT.fetch_add(1, Ordering::Relaxed);
    let _ = file.into_raw_fd();
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::fd::AsRawFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

    use super::*;

    fn kind(socket: &(impl AsFd + AsRawFd)) -> Kind {
        let inode = rustix::fs::fstat(socket).expect("open").st_ino;
        Kind::of(std::process::id(), socket.as_raw_fd().unsigned_abs(), inode)
    }

    #[test]
    fn a03_sockets_of_every_kind_are_told_apart() {
        assert_eq!(kind(&UdpSocket::bind("127.0.0.1:0").expect("bound")), Kind::Carrier);
        let socket =
            |family, protocol| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol);
        assert_eq!(
            kind(&socket(AddressFamily::INET, None).expect("a socket")),
            Kind::Harmless,
            "not used yet"
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        assert_eq!(kind(&listener), Kind::Unknown, "it is in the tables, where it is of this namespace");
        let connected = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        assert_eq!(kind(&connected), Kind::Unknown);
        // Not every kernel has it.
        if let Ok(listener) = socket(AddressFamily::INET, Some(ipproto::MPTCP)) {
            assert_eq!(kind(&listener), Kind::Server);
        }
    }
}
