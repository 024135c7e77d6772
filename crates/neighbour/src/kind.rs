//! What a socket is that no table of the kernel's has: by the name of its protocol.

use std::fs;

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
    /// Of the socket with that inode behind a link of `/proc/PID/fd`; one that is closed by now is harmless.
    pub(crate) fn of(descriptor: &str, inode: u64) -> Self {
        let mut name = [0; 64];
        let length = rustix::fs::getxattr(descriptor, PROTOCOL, &mut name[..]).unwrap_or(0);
        let name = str::from_utf8(name.get(..length).unwrap_or_default()).unwrap_or_default();
        let is_one_of = |kinds: &[&str]| kinds.iter().any(|kind| name.starts_with(kind));
        let closed = || fs::read_link(descriptor).ok() != Some(format!("socket:[{inode}]").into());
        match () {
            () if is_one_of(&HARMLESS) || closed() => Self::Harmless,
            () if is_one_of(&CARRIERS) => Self::Carrier,
            () if is_one_of(&SERVERS) => Self::Server,
            () => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::fd::AsRawFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

    use super::*;

    fn kind(socket: &(impl AsFd + AsRawFd)) -> Kind {
        let inode = rustix::fs::fstat(socket).expect("open").st_ino;
        Kind::of(&format!("/proc/self/fd/{}", socket.as_raw_fd()), inode)
    }

    #[test]
    fn a03_sockets_of_every_kind_are_told_apart() {
        assert_eq!(kind(&UdpSocket::bind("127.0.0.1:0").expect("bound")), Kind::Carrier);
        let socket =
            |family, protocol| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol);
        assert_eq!(kind(&socket(AddressFamily::INET, None).expect("a socket")), Kind::Unknown);
        // Not every kernel has it.
        if let Ok(listener) = socket(AddressFamily::INET, Some(ipproto::MPTCP)) {
            assert_eq!(kind(&listener), Kind::Server);
        }
    }
}
