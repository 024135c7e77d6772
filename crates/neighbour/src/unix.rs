//! Unix sockets: names from `/proc/self/net/unix`, and which two belong together, which the kernel tells by `sock_diag` alone.

use std::collections::HashMap;
use std::fs;
use std::io;

use rustix::net::{RecvFlags, recv};

use crate::diag::{self, HEAD, half, word};
use crate::{Doubt, unreadable};

/// A question for all.
const REQUEST_DUMP: u16 = 0x301;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `UDIAG_SHOW_PEER`, and the attribute with the answer.
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
/// Lengths of what is said of a socket, and of an attribute's head.
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
    let socket = diag::ask(REQUEST_DUMP, &question())?;
    let mut pairs = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if !add(buffer.get(..length).unwrap_or_default(), &mut pairs)? {
            return Ok(pairs);
        }
    }
}

fn question() -> Vec<u8> {
    // Family AF_UNIX, in every state, of every inode.
    let mut question = vec![1, 0, 0, 0];
    question.extend(u32::MAX.to_ne_bytes());
    question.extend([0; 4]);
    question.extend(SHOW_PEER.to_ne_bytes());
    question.extend([0; 8]);
    question
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
