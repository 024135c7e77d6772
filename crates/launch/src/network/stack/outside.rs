//! Whom a task may talk to, and the machine's sockets that do it. The machine itself is out of reach under every
//! address that it has (A2, A3): the kernel is asked what an address is, at each conversation, for addresses come and
//! go. The one thing of the machine's that tasks reach is its resolver, on a loopback address or not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::packet::{Flow, Protocol, Unreachable};
use super::ports::Ports;
use crate::network::FORWARDERS;
use crate::network::netlink::{Netlink, Route};
use crate::network::resolver;
use crate::sys::net::take_ports_from;

/// Port of the resolver.
const DNS: u16 = 53;

/// The world outside.
#[derive(Debug)]
pub(super) struct Outside {
    routes: Netlink,
    /// Addresses of [`is_identity`] that the machine's administrator gives to tasks.
    reach: Vec<IpAddr>,
    /// The first port of the machine's that conversations may take.
    first_port: Option<u16>,
}

impl Outside {
    pub(super) fn open(reach: &[IpAddr], ports: Option<Ports>) -> io::Result<Self> {
        let first_port = ports.map(Ports::first_of_tasks);
        Ok(Self { routes: Netlink::open()?, reach: reach.to_vec(), first_port })
    }

    /// A socket that is being connected to the flow's other end.
    pub(super) fn connect(&self, flow: &Flow) -> Result<OwnedFd, Unreachable> {
        let address = self.permitted(flow.outside)?;
        let socket = match flow.protocol {
            Protocol::Tcp => tcp(address),
            Protocol::Udp => socket_with(family(address), SocketType::DGRAM, flags(), None),
        };
        socket.and_then(|socket| self.connected(socket, address)).map_err(why)
    }

    fn connected(&self, socket: OwnedFd, address: SocketAddr) -> rustix::io::Result<OwnedFd> {
        if let Some(first) = self.first_port {
            // Best effort: Linux has it since 6.3.
            let _ = take_ports_from(socket.as_fd(), first);
        }
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(e) => Err(e),
        }
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
        if is_identity(ip) && !self.reach.contains(&ip) {
            return Err(Unreachable::Forbidden);
        }
        match self.routes.route(ip) {
            Ok(Route::Away) => Ok(SocketAddr::new(ip, address.port())),
            Ok(Route::Here | Route::Other) => Err(Unreachable::Forbidden),
            Err(_) => Err(Unreachable::Route),
        }
    }
}

/// Where clouds answer to whoever asks from a machine as to the machine itself, and hand out its credentials (F6):
/// whatever is on its own link, and the places that some have elsewhere.
fn is_identity(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || V4_SERVICES.contains(&ip),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || V6_SERVICES.contains(&ip) || translated(ip).is_some_and(is_identity)
        }
    }
}

/// The address behind one that a translator at the network's edge knows (RFC 6052).
fn translated(ip: Ipv6Addr) -> Option<IpAddr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = ip.segments() else { return None };
    Some(IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))))
}

/// Alibaba's, Azure's.
const V4_SERVICES: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Amazon's, Google's, Scaleway's.
const V6_SERVICES: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

fn tcp(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(family(address), SocketType::STREAM, flags(), None)?;
    set_tcp_nodelay(&socket, true)?;
    // Nobody else asks whether the other end is still there.
    set_socket_keepalive(&socket, true)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a03_what_says_who_the_machine_is_is_known() {
        let is = |ip: &str| is_identity(ip.parse().expect("an address"));
        for ip in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(is(ip), "{ip}");
        }
        for ip in ["169.253.0.1", "100.100.100.201", "fd00:ec2::1", "2001:db8::1", "64:ff9b::a00:1"] {
            assert!(!is(ip), "{ip}");
        }
    }
}
