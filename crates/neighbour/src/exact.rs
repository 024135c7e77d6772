//! One TCP socket by both of its addresses, which the kernel finds without walking through all (`sock_diag(7)`).

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, RecvFlags, recv};

use crate::diag::{self, BY_FAMILY, HEAD, half, word};
use crate::sockets::Listener;

/// A question for one.
const REQUEST: u16 = 1;
const TCP: u8 = 6;
/// Where the answer has what, behind its head.
const PORTS: usize = 4;
const ADDRESSES: usize = 8;
const UID: usize = 64;
const INODE: usize = 68;

/// The socket of this network namespace with these addresses, its own first, if somebody holds it; `None` too when this
/// kernel isn't made for the question, so that the tables have to tell.
pub(crate) fn find(own: SocketAddr, other: SocketAddr) -> Option<Listener> {
    ask(own, &id(own, other)).ok().flatten()
}

fn ask(own: SocketAddr, id: &[u8]) -> io::Result<Option<Listener>> {
    let answer = answer(own, id)?;
    let Some(message) = said(&answer, id) else { return Ok(None) };
    let found = || Some(Listener { uid: word(message, UID)?, inode: word(message, INODE)?.into() });
    Ok(found().filter(|found| found.inode != 0))
}

fn answer(own: SocketAddr, id: &[u8]) -> io::Result<Vec<u8>> {
    let socket = diag::ask(REQUEST, &question(own, id))?;
    let mut answer = vec![0; 1024];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// What the kernel says of the connection with these addresses, its own first, also once nobody holds it.
pub(crate) fn message(own: SocketAddr, other: SocketAddr) -> io::Result<Option<Vec<u8>>> {
    let id = id(own, other);
    Ok(said(&answer(own, &id)?, &id).map(<[u8]>::to_vec))
}

/// Ports and addresses as the kernel has them.
fn id(own: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let mut id = Vec::with_capacity(36);
    id.extend(own.port().to_be_bytes());
    id.extend(other.port().to_be_bytes());
    for address in [own, other] {
        match address.ip() {
            IpAddr::V4(v4) => id.extend(v4.octets().into_iter().chain([0; 12])),
            IpAddr::V6(v6) => id.extend(v6.octets()),
        }
    }
    id
}

fn question(own: SocketAddr, id: &[u8]) -> Vec<u8> {
    let family = if own.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut question = vec![family.as_raw().to_ne_bytes()[0], TCP, 0, 0];
    // In every state.
    question.extend(u32::MAX.to_ne_bytes());
    question.extend(id);
    // On any interface, with whatever cookie.
    question.extend([0; 4]);
    question.extend([0xff; 8]);
    question
}

/// A listener is what the kernel finds where there is no connection: what was asked for has both addresses.
fn said<'a>(answer: &'a [u8], id: &[u8]) -> Option<&'a [u8]> {
    let message = answer.get(HEAD..)?;
    let kind = half(answer, 4)?;
    let same = message.get(PORTS..ADDRESSES)? == id.get(..4)?
        && is_same(message.get(ADDRESSES..ADDRESSES + 32)?, id.get(4..)?);
    (kind == BY_FAMILY && same).then_some(message)
}

/// Of an IPv4 address there are the first four bytes alone; a socket of IPv6 may have it mapped.
fn is_same(said: &[u8], asked: &[u8]) -> bool {
    let is_mapped = |said: &[u8], asked: &[u8]| {
        said.get(..12) == Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
            && said.get(12..) == asked.get(..4)
            && asked.get(4..) == Some(&[0; 12])
    };
    said.chunks(16).zip(asked.chunks(16)).all(|(said, asked)| said == asked || is_mapped(said, asked))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn inode(socket: impl AsFd) -> u64 {
        rustix::fs::fstat(socket).expect("open").st_ino
    }

    #[test]
    fn a03_a_mapped_address_is_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let here = listener.local_addr().expect("bound");
        let Ok(client) = TcpStream::connect(("::ffff:127.0.0.1", here.port())) else { return };
        let (_accepted, there) = listener.accept().expect("accepted");
        let socket = find(there, here).expect("found");
        assert_eq!(socket.inode, inode(&client));
    }

    #[test]
    fn a03_one_connection_is_found_among_all() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(ip) else { continue };
            let here = listener.local_addr().expect("bound");
            let client = TcpStream::connect(here).expect("connected");
            let there = client.local_addr().expect("bound");
            let seen = |own, other| find(own, other).map(|socket| socket.inode);
            assert_eq!(seen(there, here), Some(inode(&client)));
            // Nobody has accepted it.
            assert_eq!(seen(here, there), None);
            let (accepted, _) = listener.accept().expect("accepted");
            assert_eq!(seen(here, there), Some(inode(&accepted)));
            let uid = find(there, here).expect("found").uid;
            assert_eq!(uid, rustix::process::geteuid().as_raw());
            // The listener is not what was asked for.
            assert_eq!(seen(here, SocketAddr::new(there.ip(), 1)), None);
        }
    }
}
