//! Whom a task may talk to, and the machine's sockets that do it. The machine itself is out of reach under every
//! address that it has (A2, A3): the kernel is asked what an address is, at each conversation, for addresses come and
//! go. The one thing of the machine's that tasks reach is its resolver, on a loopback address or not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::packet::{Flow, Protocol, Unreachable};
use crate::network::FORWARDERS;
use crate::network::netlink::{Netlink, Route};
use crate::network::resolver;

/// Port of the resolver.
const DNS: u16 = 53;

/// The world outside.
#[derive(Debug)]
pub(super) struct Outside {
    routes: Netlink,
}

impl Outside {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { routes: Netlink::open()? })
    }

    /// A socket that is being connected to the flow's other end.
    pub(super) fn connect(&self, flow: &Flow) -> Result<OwnedFd, Unreachable> {
        let address = self.permitted(flow.outside)?;
        match flow.protocol {
            Protocol::Tcp => tcp(address),
            Protocol::Udp => udp(address),
        }
        .map_err(why)
    }

    /// The address that stands behind the one that the task uses.
    fn permitted(&self, address: SocketAddr) -> Result<SocketAddr, Unreachable> {
        let ip = address.ip().to_canonical();
        if let Some(place) = FORWARDERS.iter().position(|forwarder| IpAddr::V4(*forwarder) == ip) {
            let resolvers = resolver::of_machine();
            let resolver = resolvers.get(place).filter(|_| address.port() == DNS);
            return resolver.copied().ok_or(Unreachable::Forbidden);
        }
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return Err(Unreachable::Forbidden);
        }
        match self.routes.route(ip) {
            Ok(Route::Away) => Ok(SocketAddr::new(ip, address.port())),
            Ok(Route::Here | Route::Other) => Err(Unreachable::Forbidden),
            Err(_) => Err(Unreachable::Route),
        }
    }
}

fn tcp(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(family(address), SocketType::STREAM, flags(), None)?;
    set_tcp_nodelay(&socket, true)?;
    // Nobody else asks whether the other end is still there.
    set_socket_keepalive(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

fn udp(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(family(address), SocketType::DGRAM, flags(), None)?;
    connect(&socket, &address)?;
    Ok(socket)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn flags() -> SocketFlags {
    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK
}

/// What the task is told of a failure.
pub(super) fn why(error: Errno) -> Unreachable {
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET => Unreachable::Port,
        Errno::ACCESS | Errno::PERM => Unreachable::Forbidden,
        _ => Unreachable::Route,
    }
}
