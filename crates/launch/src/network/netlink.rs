//! The few requests to the kernel's routing tables that a task's network needs (rtnetlink(7)), each one message and
//! its answer. Which to make is `inside`'s and the stack's.

use std::io;
use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate of the address is looked for, so that it is good at once.
const IFA_F_NODAD: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
/// Where in its message a route says of what type it is.
const ROUTE_TYPE: usize = 7;
/// Length of a message's header in bytes.
const HEADER: usize = 16;

/// The index that the kernel gives to every namespace's loopback interface.
pub(super) const LOOPBACK: u32 = 1;

/// A connection to the routing tables of this process's namespace.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// What the machine's routing tables say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// It is the machine's own.
    Here,
    /// The way to it leads over an interface.
    Away,
    /// It isn't one machine's: broadcast, multicast, and what the administrator has closed.
    Other,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // The protocol NETLINK_ROUTE is the family's first.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// Brings an interface up, with this MTU if it is to have another one.
    pub(super) fn up(&self, index: u32, mtu: Option<u32>) -> io::Result<()> {
        let mut body = vec![0_u8; 4];
        for field in [index, IFF_UP, IFF_UP] {
            body.extend(field.to_ne_bytes());
        }
        if let Some(mtu) = mtu {
            attribute(&mut body, IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.ask(RTM_NEWLINK, NLM_F_ACK, &body).map(drop)
    }

    /// Gives an interface an address of its own, alone in its network.
    pub(super) fn add_address(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let mut body = vec![family(address), bits(address), IFA_F_NODAD, 0];
        body.extend(index.to_ne_bytes());
        for kind in [IFA_LOCAL, IFA_ADDRESS] {
            attribute(&mut body, kind, &octets(address));
        }
        self.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, &body).map(drop)
    }

    /// Sends everything of the family of `address` over an interface.
    pub(super) fn add_default_route(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let scope = if address.is_ipv4() { RT_SCOPE_LINK } else { 0 };
        let mut body = vec![family(address), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST];
        body.extend([0; 4]);
        attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
        self.ask(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE, &body).map(drop)
    }

    /// Looks an address up as a connection to it would.
    pub(super) fn route(&self, address: IpAddr) -> io::Result<Route> {
        let mut body = vec![0; 12];
        (body[0], body[1]) = (family(address), bits(address));
        attribute(&mut body, RTA_DST, &octets(address));
        let answer = self.ask(RTM_GETROUTE, 0, &body)?;
        match answer.get(ROUTE_TYPE) {
            Some(&RTN_UNICAST) => Ok(Route::Away),
            Some(&RTN_LOCAL) => Ok(Route::Here),
            _ => Ok(Route::Other),
        }
    }

    /// Sends one message and returns the body of its answer.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(HEADER + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.0, &message, SendFlags::empty())?;
        let mut answer = vec![0_u8; 8192];
        let (_, length) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
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
        Ok(body.to_vec())
    }
}

/// Appends an attribute, padded to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    u8::try_from(family.as_raw()).unwrap_or_default()
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
