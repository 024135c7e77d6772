//! The network of a task (A2, A3): a network namespace of its own, so that it can't listen on the machine's ports
//! and can't reach the machine's loopback services, other tasks' ports or abstract sockets.
//!
//! ```text
//! init    in the new namespace: loopback up, the relay's listener              (inside, netlink)
//!   └─ hands the descriptors to the shim                                       (descriptors)
//! shim    starts the task's helper: a child without rights in the machine's network
//!   └─ helper    hands the listener to the agent as often as it asks           (helper, doorbell)
//! agent   accepts there, and takes each connection to the master
//! ```
//!
//! What a task may have is decided by the agent's administrator and by the master, not here.

pub(crate) mod descriptors;
pub(crate) mod doorbell;
pub(crate) mod helper;
pub(crate) mod inside;
mod netlink;

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::spec::Network;

/// Where a task finds the master in a network namespace of its own. Programs of users can't want this port: it takes
/// rights over the namespace to listen below 1024, and no task has them.
pub(crate) const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 808);

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
