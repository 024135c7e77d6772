//! A port that stays a master's own while the master is down.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A port bound at 0 by a socket that never listens: nobody else is given it, and whoever names it may listen.
#[derive(Debug)]
pub(crate) struct Port {
    _socket: OwnedFd,
    number: u16,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        // No program that the test starts inherits it: who holds a socket that isn't its own is no neighbour (A3).
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("an option of every socket");
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = getsockname(&socket).expect("bound");
        let address = SocketAddr::try_from(address).expect("an internet address");
        Self { _socket: socket, number: address.port() }
    }

    /// What `--listen` takes.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// A port of 127.0.0.1 that is free now, for a program that can't be given 0.
pub(crate) fn free_port() -> u16 {
    Port::reserve().number
}
