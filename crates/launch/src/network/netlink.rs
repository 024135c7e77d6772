//! The few requests to the kernel's routing tables that a task's network needs (rtnetlink(7)), each one message and
//! its answer. Which to make is `inside`'s.

use std::io;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;
/// Length of a message's header in bytes.
const HEADER: usize = 16;

/// The index that the kernel gives to every namespace's loopback interface.
pub(super) const LOOPBACK: u32 = 1;

/// A connection to the routing tables of this process's namespace.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // The protocol NETLINK_ROUTE is the family's first.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// Brings an interface up.
    pub(super) fn up(&self, index: u32) -> io::Result<()> {
        let mut body = vec![0_u8; 4];
        for field in [index, IFF_UP, IFF_UP] {
            body.extend(field.to_ne_bytes());
        }
        self.change(RTM_NEWLINK, 0, &body)
    }

    fn change(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.ask(kind, flags | NLM_F_ACK, body).map(drop)
    }

    /// Sends one message and returns the kind and the body of its answer.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let length = u32::try_from(HEADER + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.0, &message, SendFlags::empty())?;
        let mut answer = vec![0_u8; 8192];
        let (length, _) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        answer.truncate(length);
        let kind = answer.get(4..6).and_then(|kind| Some(u16::from_ne_bytes(kind.try_into().ok()?)));
        let (Some(kind), Some(body)) = (kind, answer.get(HEADER..)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if kind == NLMSG_ERROR {
            let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
        }
        Ok((kind, body.to_vec()))
    }
}
