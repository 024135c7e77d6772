//! Where a connection comes from. The server puts a [`Peer`] into every request, as an extension; whether that makes
//! a request local is for `origin` to say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use domain::id::AllocationId;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP connection.
    Tcp {
        /// The peer's address.
        address: SocketAddr,
        /// Ours: with the peer's it names the connection to the kernel.
        local: SocketAddr,
        /// The bytes are encrypted between the peer and this process.
        encrypted: bool,
    },
    /// A Unix socket of this machine.
    Unix {
        /// The inode of our end: it names the connection to the kernel.
        socket: u64,
        /// The user who opened the other end (`SO_PEERCRED`).
        uid: u32,
    },
    /// A task's process, by way of its agent's encrypted link. It proves nothing about the sender but the task.
    Relay {
        /// The run of the task.
        allocation: AllocationId,
    },
}

impl Peer {
    /// The address for the audit log. A Unix socket is this machine's own; a task's relay has none.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { address, .. } => Some(address.ip().to_canonical()),
            Self::Unix { .. } => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::Relay { .. } => None,
        }
    }

    /// Whom the limit of connections counts this one for.
    #[must_use]
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Tcp { address, .. } => match address.ip().to_canonical() {
                IpAddr::V4(address) => Source::V4(address.octets()),
                // A host chooses among 2⁶⁴ addresses of its network, so that counts as one.
                IpAddr::V6(address) => {
                    let [a, b, c, d, ..] = address.segments();
                    Source::V6([a, b, c, d])
                }
            },
            Self::Unix { uid, .. } => Source::Uid(*uid),
            Self::Relay { allocation } => Source::Relay(*allocation),
        }
    }
}

/// Who shares a limit of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// One address.
    V4([u8; 4]),
    /// A network of one site.
    V6([u16; 4]),
    /// A user of this machine.
    Uid(u32),
    /// A task.
    Relay(AllocationId),
}

impl Source {
    /// What it is counted with, from the widest to itself, where it has to be found out who holds most: whoever has one
    /// address of a network often has many. All loopback addresses are this machine.
    pub(crate) fn wider(self) -> [Self; 4] {
        match self {
            Self::V4([127, ..]) => [Self::V4([127, 0, 0, 0]); 4],
            Self::V4([a, b, c, _]) => {
                let network = Self::V4([a, b, c, 0]);
                [network, network, network, self]
            }
            Self::V6([a, b, c, d]) => {
                [Self::V6([a, b, 0, 0]), Self::V6([a, b, c, 0]), Self::V6([a, b, c, d & 0xff00]), self]
            }
            Self::Uid(_) | Self::Relay(_) => [self; 4],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Peer {
        let local = SocketAddr::from(([127, 0, 0, 1], 8080));
        Peer::Tcp { address: address.parse().expect("an address"), local, encrypted: false }
    }

    #[test]
    fn a07_addresses_of_one_network_share_a_limit() {
        assert_eq!(tcp("10.0.0.1:5").source(), tcp("10.0.0.1:6").source());
        assert_ne!(tcp("10.0.0.1:5").source(), tcp("10.0.0.2:5").source());
        assert_eq!(tcp("[2001:db8::1]:5").source(), tcp("[2001:db8::ffff:2]:6").source());
        assert_eq!(tcp("[::ffff:10.0.0.1]:5").source(), tcp("10.0.0.1:6").source());
    }
}
