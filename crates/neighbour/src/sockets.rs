//! The kernel's tables of sockets: TCP's as `/proc/self/net` shows them: those of this network namespace alone.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use nix::sys::socket::SockaddrStorage;

use crate::unix::{self, Unix};
use crate::{Doubt, unreadable};

/// The state of a listening socket in the table.
const LISTEN: u8 = 0x0A;
/// The state of what is left of a connection that is over.
const TIME_WAIT: u8 = 0x06;

/// One TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    listens: bool,
}

/// A socket of this machine that accepts connections, or is what one that was accepted became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The user that made it.
    pub uid: u32,
    pub(crate) inode: u64,
}

/// All sockets of this network namespace.
#[derive(Debug)]
pub(crate) struct Tables {
    unix: HashMap<u64, Unix>,
    /// Which sockets a Unix socket is the other end of; made when it is asked for.
    senders: OnceCell<HashMap<u64, Vec<u64>>>,
    /// Read when somebody is found to hold what may be one: walking through it costs the kernel some milliseconds, and
    /// with thousands of connections far more.
    tcp: OnceCell<Result<TcpTable, Doubt>>,
}

impl Tables {
    /// What is needed to judge a process.
    pub(crate) fn read() -> Result<Self, Doubt> {
        Ok(Self { unix: unix::read()?, senders: OnceCell::new(), tcp: OnceCell::new() })
    }

    /// Whether all that was looked for could be read: without a table nothing is found there.
    pub(crate) fn check_whole(&self) -> Result<(), Doubt> {
        match self.tcp.get() {
            Some(Err(doubt)) => Err(doubt.clone()),
            _ => Ok(()),
        }
    }

    fn tcp_table(&self) -> Option<&TcpTable> {
        self.tcp.get_or_init(TcpTable::read).as_ref().ok()
    }

    pub(crate) fn unix(&self, inode: u64) -> Option<&Unix> {
        self.unix.get(&inode)
    }

    /// The Unix sockets at the other end of one: who sends datagrams to one by its name is none's peer.
    pub(crate) fn far_ends(&self, inode: u64) -> impl Iterator<Item = u64> {
        let senders = self.senders.get_or_init(|| {
            let mut senders: HashMap<u64, Vec<u64>> = HashMap::new();
            for (from, to) in self.unix.iter().filter_map(|(from, unix)| Some((*from, unix.peer?))) {
                senders.entry(to).or_default().push(from);
            }
            senders
        });
        let peer = self.unix(inode).and_then(|unix| unix.peer);
        let senders = senders.get(&inode).map_or(&[][..], Vec::as_slice).iter().copied();
        peer.into_iter().chain(senders.filter(move |sender| Some(*sender) != peer))
    }

    pub(crate) fn tcp(&self, inode: u64) -> Option<Tcp> {
        if self.unix.contains_key(&inode) {
            return None;
        }
        self.tcp_table()?.sockets.get(&inode).copied()
    }

    /// Whether it is any of these.
    pub(crate) fn knows(&self, inode: u64) -> bool {
        self.unix.contains_key(&inode) || self.tcp(inode).is_some()
    }

    /// As [`TcpTable::connection`].
    pub(crate) fn connection(&self, peer: SocketAddr, local: SocketAddr) -> Option<u64> {
        self.tcp_table()?.connection(peer, local)
    }

    /// As [`TcpTable::serves`].
    pub(crate) fn serves(&self, socket: &Tcp) -> bool {
        self.tcp_table().is_none_or(|table| table.serves(socket))
    }
}

/// The TCP sockets of this network namespace.
#[derive(Debug, Default)]
pub(crate) struct TcpTable {
    sockets: HashMap<u64, Tcp>,
    listening: HashSet<SocketAddr>,
    listeners: Vec<(SocketAddr, Listener)>,
    /// Whose a socket is.
    owners: HashMap<u64, u32>,
    /// Both ends of connections that no process has accepted yet, its own first.
    waiting: HashSet<(SocketAddr, SocketAddr)>,
    ephemeral: Option<RangeInclusive<u16>>,
}

impl TcpTable {
    pub(crate) fn read() -> Result<Self, Doubt> {
        let mut table = Self::default();
        let text = |name: &str| fs::read_to_string(format!("/proc/self/net/{name}"));
        table.add(&text("tcp").map_err(|e| unreadable(&e))?);
        // A machine without IPv6 has no such table.
        table.add(&text("tcp6").unwrap_or_default());
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ends = range.split_whitespace().map(str::parse::<u16>);
        if let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) {
            table.ephemeral = Some(first..=last);
        }
        Ok(table)
    }

    fn add(&mut self, table: &str) {
        for (inode, uid, socket) in table.lines().skip(1).filter_map(tcp_line) {
            if socket.listens {
                self.listeners.push((socket.local, Listener { uid, inode }));
                self.listening.insert(socket.local);
            }
            // Sockets that no process holds any more have no inode.
            if inode == 0 {
                self.waiting.insert((socket.local, socket.remote));
            } else {
                self.owners.insert(inode, uid);
                self.sockets.insert(inode, socket);
            }
        }
    }

    /// The socket at the other end of a connection between `peer` and our `local`.
    pub(crate) fn connection(&self, peer: SocketAddr, local: SocketAddr) -> Option<u64> {
        let (peer, local) = (canonical(peer), canonical(local));
        let is_it = |socket: &Tcp| !socket.listens && socket.local == peer && socket.remote == local;
        self.sockets.iter().find(|(_, socket)| is_it(socket)).map(|(inode, _)| *inode)
    }

    /// The socket at the other end of a connection of ours, with inode 0 until a process accepts it.
    pub(crate) fn other_end(&self, at: SocketAddr, from: SocketAddr) -> Option<Listener> {
        let (at, from) = (canonical(at), canonical(from));
        let accepted = self.connection(at, from);
        let owner = accepted.and_then(|inode| Some(Listener { uid: *self.owners.get(&inode)?, inode }));
        owner.or_else(|| self.waiting.contains(&(at, from)).then_some(Listener { uid: 0, inode: 0 }))
    }

    /// Who may accept a connection to an address.
    pub(crate) fn listeners(&self, at: SocketAddr) -> Vec<Listener> {
        let at = canonical(at);
        let reached = |address: &SocketAddr| {
            address.port() == at.port() && (address.ip() == at.ip() || address.ip().is_unspecified())
        };
        self.listeners.iter().filter(|(address, _)| reached(address)).map(|(_, listener)| *listener).collect()
    }

    /// Whether a socket waits for others to connect, or may have come to be by that: the kernel doesn't say who began
    /// a connection, so its ports have to.
    pub(crate) fn serves(&self, socket: &Tcp) -> bool {
        let is_ephemeral =
            |at: SocketAddr| self.ephemeral.as_ref().is_some_and(|range| range.contains(&at.port()));
        socket.listens
            || self.is_listened_at(socket.local)
            || !is_ephemeral(socket.local)
            || (is_ephemeral(socket.remote) && !self.is_listened_at(socket.remote))
    }

    /// Whether a connection to that address is accepted here. A port alone says nothing: others listen at it elsewhere.
    fn is_listened_at(&self, at: SocketAddr) -> bool {
        let every = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let mut ips = [at.ip()].into_iter().chain(every);
        ips.any(|ip: IpAddr| self.listening.contains(&SocketAddr::new(ip, at.port())))
    }
}

/// Whether an address is one of this machine's.
pub(crate) fn is_address_of_ours(ip: IpAddr) -> Result<bool, Doubt> {
    let all = nix::ifaddrs::getifaddrs().map_err(|errno| unreadable(&errno.into()))?;
    let mut all = all.filter_map(|interface| interface.address);
    let ip_of = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(ip.is_unspecified() || all.any(|address| ip_of(address) == Some(ip)))
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `sl local_address rem_address st …:… …:… … uid timeout inode`.
fn tcp_line(line: &str) -> Option<(u64, u32, Tcp)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (fields.next()?, fields.next()?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    // Nobody holds those, and a busy machine has thousands.
    if state == TIME_WAIT {
        return None;
    }
    let (local, remote) = (address(local)?, address(remote)?);
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some((inode, uid, Tcp { local, remote, listens: state == LISTEN }))
}

/// `0100007F:1F90`: words of four bytes, each a number as this machine writes it.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, piece) in bytes.chunks_exact_mut(4).enumerate() {
                piece.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a03_a_connection_is_found_by_both_ends() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(ip) else { continue };
            let here = listener.local_addr().expect("bound");
            let client = TcpStream::connect(here).expect("connected");
            let (_accepted, peer) = listener.accept().expect("accepted");
            let tables = Tables::read().expect("readable");
            let inode = tables.connection(peer, here).expect("it is there");
            tables.check_whole().expect("read");
            let socket = tables.tcp(inode).expect("it is there");
            assert_eq!((socket.local, socket.remote), (client.local_addr().expect("bound"), here));
            assert!(!tables.serves(&socket), "it is the one that began");
            let other = tables.connection(here, peer).expect("the accepted end");
            assert!(tables.serves(&tables.tcp(other).expect("it is there")));
            assert!(tables.connection(SocketAddr::from(([127, 0, 0, 9], 1)), here).is_none());
        }
    }

    #[test]
    fn a03_both_ends_ephemeral_and_nobody_listens_is_in_doubt() {
        let mut tables = TcpTable { ephemeral: Some(32768..=60999), ..TcpTable::default() };
        let socket = |local: u16, remote: u16| Tcp {
            local: SocketAddr::from(([127, 0, 0, 1], local)),
            remote: SocketAddr::from(([127, 0, 0, 1], remote)),
            listens: false,
        };
        assert!(tables.serves(&socket(40_000, 50_000)), "its listener may be closed by now");
        assert!(tables.serves(&socket(80, 50_000)) && tables.serves(&socket(80, 81)));
        assert!(!tables.serves(&socket(40_000, 443)));
        tables.listening.insert(SocketAddr::from(([127, 0, 0, 9], 50_000)));
        assert!(tables.serves(&socket(40_000, 50_000)), "that is another's port");
        assert!(!tables.serves(&socket(50_000, 443)), "that is another's port");
        tables.listening.insert(SocketAddr::from(([0, 0, 0, 0], 50_000)));
        assert!(!tables.serves(&socket(40_000, 50_000)) && tables.serves(&socket(50_000, 40_000)));
    }
}
