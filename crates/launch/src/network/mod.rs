//! The network of a task (A2, A3): a network namespace of its own, so that it can't listen on the machine's ports
//! and can't reach the machine's loopback services, other tasks' ports or abstract sockets.
//!
//! ```text
//! init    in the new namespace: loopback up, the relay's listener, an interface      (inside, netlink)
//!   └─ hands the descriptors to the shim                                             (descriptors)
//! shim    starts the task's helper: a child without rights, in the machine's network (helper)
//!   └─ helper    hands the listener to the agent as often as it asks                 (doorbell)
//!                is the other end of the interface: what the task says to the world  (stack)
//!                outside goes on over sockets of its own, but never to the machine
//! agent   accepts on the listener, and takes each connection to the master
//! ```
//!
//! What a task may have is decided by the agent's administrator and by the master, not here.

pub(crate) mod descriptors;
pub(crate) mod diag;
pub(crate) mod doorbell;
pub(crate) mod helper;
pub(crate) mod inside;
pub(crate) mod interfaces;
mod netlink;
pub(crate) mod resolver;
pub(crate) mod stack;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use crate::spec::Network;

/// Where a task finds the master in a network namespace of its own. Programs of users can't want this port: it takes
/// rights over the namespace to listen below 1024, and no task has them.
pub(crate) const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 808);

/// The task's own addresses. The first is of the range for hosts whose IPv4 is carried by a translator beside them
/// (RFC 7335), the second is a unique local one (RFC 4193): no network that a machine can be in has either.
const OWN: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 2), Ipv6Addr::new(0xfd6d, 0x7573, 0x7465, 0x72, 0, 0, 0, 2));

/// The addresses at which a task finds the machine's resolvers.
pub(crate) const FORWARDERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 0, 3), Ipv4Addr::new(192, 0, 0, 4), Ipv4Addr::new(192, 0, 0, 5)];

/// Longest packet between a task and its stack, in bytes. No wire is between them, and long ones cost less.
const MTU: u16 = 65_520;

/// Whether this process's network leads anywhere over IPv6. A task whose machine has none is better off without.
pub(crate) fn has_ipv6() -> bool {
    let somewhere = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1));
    let route = netlink::Netlink::open().and_then(|netlink| netlink.route(somewhere));
    route.is_ok_and(|route| route == netlink::Route::Away)
}

/// What the log says of a network that keeps less apart than the usual one.
pub(crate) fn note(network: Network) -> Option<&'static str> {
    match network {
        Network::Private | Network::None => None,
        Network::Host => Some(
            "network: host: this task shares the machine's network; it can take the machine's ports and reach what \
             listens on its loopback addresses, and so can others reach what it listens on",
        ),
    }
}
