//! Unix sockets: names from `/proc/self/net/unix`, and which two belong together, which the kernel tells by `sock_diag` alone.

use std::collections::HashMap;
use std::fs;
use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::{Doubt, unreadable};

/// `SOCK_DIAG_BY_FAMILY`, and a dump of all.
const BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `UDIAG_SHOW_PEER`, and the attribute with the answer.
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
/// Lengths of a message's head, of what is said of a socket, and of an attribute's head.
const HEAD: usize = 16;
const SAID: usize = 16;
const ATTRIBUTE: usize = 4;

/// The flag of a socket that listens, in the table.
const LISTENS: u32 = 0x0001_0000;
/// `SOCK_DGRAM`, in the table.
const DATAGRAM: u32 = 2;

/// One Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unix {
    /// Its own name: it listens, or was accepted from one that does, or receives datagrams.
    pub(crate) name: Option<String>,
    pub(crate) listens: bool,
    pub(crate) datagrams: bool,
    /// The socket at the other end, if there is one.
    pub(crate) peer: Option<u64>,
}

/// Those of this network namespace, by inode.
pub(crate) fn read() -> Result<HashMap<u64, Unix>, Doubt> {
    let table = fs::read("/proc/self/net/unix").map_err(|e| unreadable(&e))?;
    let table = String::from_utf8_lossy(&table);
    let mut sockets: HashMap<u64, Unix> = table.lines().skip(1).filter_map(line).collect();
    for (inode, peer) in peers().map_err(|e| unreadable(&e))? {
        sockets.entry(inode).or_default().peer = Some(peer);
    }
    Ok(sockets)
}

/// `Num RefCount Protocol Flags Type St Inode Path`; the path is missing when there is none.
fn line(line: &str) -> Option<(u64, Unix)> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let kind = u32::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let name = fields.next().map(str::to_owned);
    Some((inode, Unix { name, listens: flags & LISTENS != 0, datagrams: kind == DATAGRAM, peer: None }))
}

/// All pairs.
fn peers() -> io::Result<Vec<(u64, u64)>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut pairs = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if !add(buffer.get(..length).unwrap_or_default(), &mut pairs)? {
            return Ok(pairs);
        }
    }
}

fn request() -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(40_u32.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    // A number and a sender that nobody asks for.
    request.extend([0; 8]);
    // Family AF_UNIX, in every state, of every inode.
    request.extend([1, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    request.extend([0; 4]);
    request.extend(SHOW_PEER.to_ne_bytes());
    request.extend([0; 8]);
    request
}

/// Reads one piece of the answer; whether more follows.
fn add(mut piece: &[u8], pairs: &mut Vec<(u64, u64)>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (word(piece, 0), half(piece, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = piece.get(HEAD..length) else { break };
        match kind {
            DONE => return Ok(false),
            ERROR => {
                return Err(io::Error::other("the kernel doesn't tell which Unix sockets are connected"));
            }
            _ => pairs.extend(pair(message)),
        }
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn pair(message: &[u8]) -> Option<(u64, u64)> {
    let inode = word(message, 4)?;
    let mut attributes = message.get(SAID..)?;
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        if kind == PEER {
            let peer = word(attributes, ATTRIBUTE)?;
            return (peer != 0).then_some((inode.into(), peer.into()));
        }
        attributes = attributes.get(usize::from(length).max(ATTRIBUTE).next_multiple_of(4)..)?;
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn inode(socket: impl AsFd) -> u64 {
        rustix::fs::fstat(socket).expect("open").st_ino
    }

    #[test]
    fn a03_both_ends_of_a_unix_socket_are_known() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("s")).expect("bound");
        let near = UnixStream::connect(dir.path().join("s")).expect("connected");
        let (far, _) = listener.accept().expect("accepted");
        let datagrams = UnixDatagram::unbound().expect("a socket");
        let sockets = read().expect("readable");
        assert_eq!(sockets[&inode(&one)].peer, Some(inode(&other)));
        assert!(sockets[&inode(&one)].name.is_none() && !sockets[&inode(&one)].datagrams);
        assert!(sockets[&inode(&listener)].listens && sockets[&inode(&listener)].name.is_some());
        assert_eq!(sockets[&inode(&near)].peer, Some(inode(&far)));
        assert!(sockets[&inode(&far)].name.is_some() && !sockets[&inode(&far)].listens);
        assert!(sockets[&inode(&datagrams)].datagrams);
    }
}
