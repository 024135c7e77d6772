//! Questions about sockets to the kernel (`sock_diag(7)`): the frame around them, and numbers in the answers.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink, send, socket_with};

/// `SOCK_DIAG_BY_FAMILY`: the kind of questions and of answers.
pub(crate) const BY_FAMILY: u16 = 20;
/// Length of a message's head.
pub(crate) const HEAD: usize = 16;

/// Sends a question with these flags; the answer is to be read from the socket.
pub(crate) fn ask(flags: u16, question: &[u8]) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    let length = u32::try_from(HEAD + question.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEAD + question.len());
    message.extend(length.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // A number and a sender that nobody asks for.
    message.extend([0; 8]);
    message.extend(question);
    send(&socket, &message, SendFlags::empty())?;
    Ok(socket)
}

/// Four bytes as a number.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Two bytes as a number.
pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
