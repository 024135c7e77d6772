//! What was written to TCP connections and the other end hasn't taken: the kernel holds it, also of a connection that is
//! being closed (A5).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, RecvFlags, recv};

use crate::diag::{self, HEAD, half, word};
use crate::exact;

/// A question for all.
const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const TCP: u8 = 6;
/// Every state but listening and waiting for stragglers: there is nothing to be read then.
const STATES: u32 = !(1 << 10 | 1 << 6);
/// Where an answer has what, behind its head.
const OTHER_PORT: usize = 6;
const OTHER: usize = 24;
const COME: usize = 56;
const UNREAD: usize = 60;

/// Bytes that the other end of one connection of this process hasn't taken. Where the kernel doesn't tell, there are none.
#[must_use]
pub fn unread(own: SocketAddr, other: SocketAddr) -> u32 {
    let message = exact::message(own, other).ok().flatten();
    message.and_then(|message| word(&message, UNREAD)).unwrap_or(0)
}

/// Bytes that the kernel holds for each connection to one port of this network namespace, where it holds any: with who is
/// at the other end, what they haven't taken and what of theirs nobody has taken here.
///
/// # Errors
/// When the kernel doesn't tell.
pub fn all_unread(port: u16) -> io::Result<Vec<(SocketAddr, u32)>> {
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let socket = diag::ask(REQUEST_DUMP, &question(family, port))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            if !add(buffer.get(..length).unwrap_or_default(), &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

fn question(family: AddressFamily, port: u16) -> Vec<u8> {
    let mut question = vec![family.as_raw().to_ne_bytes()[0], TCP, 0, 0];
    question.extend(STATES.to_ne_bytes());
    question.extend(port.to_be_bytes());
    // To any port, between any addresses, on any interface, with whatever cookie.
    question.extend([0; 38]);
    question.extend([0xff; 8]);
    question
}

/// Reads one piece of the answer; whether more follows.
fn add(mut piece: &[u8], found: &mut Vec<(SocketAddr, u32)>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (word(piece, 0), half(piece, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = piece.get(HEAD..length) else { break };
        match kind {
            DONE => return Ok(false),
            ERROR => return Err(io::Error::other("the kernel doesn't tell what is unread")),
            _ => found.extend(read(message).filter(|(_, bytes)| *bytes > 0)),
        }
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn read(message: &[u8]) -> Option<(SocketAddr, u32)> {
    let port = u16::from_be_bytes(message.get(OTHER_PORT..OTHER_PORT + 2)?.try_into().ok()?);
    let octets: [u8; 16] = message.get(OTHER..OTHER + 16)?.try_into().ok()?;
    let is_v4 = u16::from(*message.first()?) == AddressFamily::INET.as_raw();
    let ip = if is_v4 {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets.get(..4)?).ok()?))
    } else {
        Ipv6Addr::from(octets).to_canonical()
    };
    let bytes = word(message, COME)?.saturating_add(word(message, UNREAD)?);
    Some((SocketAddr::new(ip, port), bytes))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a05_what_nobody_has_read_is_seen() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(ip) else { continue };
            let here = listener.local_addr().expect("bound");
            let mut client = TcpStream::connect(here).expect("connected");
            let (mut accepted, there) = listener.accept().expect("accepted");
            // One that holds nothing.
            let (_other, _accepted) =
                (TcpStream::connect(here).expect("connected"), listener.accept().expect("accepted"));
            assert_eq!((unread(here, there), all_unread(here.port()).expect("told")), (0, Vec::new()));
            accepted.set_nonblocking(true).expect("set");
            let mut written = 0;
            while let Ok(more) = accepted.write(&[0; 4096]) {
                written += more;
            }
            let held = unread(here, there);
            assert!(
                held > 0 && usize::try_from(held).is_ok_and(|held| held <= written),
                "{held} of {written}"
            );
            // What the client's own kernel takes meanwhile makes it less.
            let all = all_unread(here.port()).expect("told");
            assert!(all.len() == 1 && all[0].0 == there && (1..=held).contains(&all[0].1), "{all:?} {held}");
            drop(accepted);
            client.read_to_end(&mut Vec::new()).expect("all of it");
            // The end itself is taken note of a moment later.
            let deadline = Instant::now() + Duration::from_secs(20);
            while unread(here, there) > 0 {
                assert!(Instant::now() < deadline, "it isn't taken");
                std::thread::yield_now();
            }
        }
    }
}
