//! What the kernel says of the TCP, UDP and netlink sockets of a network namespace (sock_diag(7)): how much memory each of them has,
//! whichever process it belongs to, and those that belong to none. Asked over a socket that the task's init has made, for
//! it is about that one's namespace, whoever asks. What is too much is `shim::queue_watch`'s.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::sys;

/// Sockets that are looked at in one answer.
pub(crate) const MOST: u64 = 65_536;

/// Length of a message's header in bytes.
const HEADER: usize = 16;
/// Bytes for messages; the kernel sends no more than half of that at once.
const BUFFER: usize = 64 << 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A request for all of them.
const REQUEST_DUMP: u16 = 0x301;
/// All TCP sockets, of IPv4 and IPv6, for which the kernel looks through the whole machine's table; so it does it once.
const TCPDIAG_GETSOCK: u16 = 18;
/// Those of one family and protocol.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UDP: u8 = 17;
const AF_NETLINK: u8 = 16;
const ALL_PROTOCOLS: u8 = 255;
const SHOW_MEMINFO: u32 = 1;
/// The attribute with a socket's memory, and how it is asked for.
const SKMEMINFO: u16 = 7;
const ASK_SKMEMINFO: u8 = 1 << (SKMEMINFO - 1);
/// In it, as numbers of four bytes: received, ready to be used, written. (`SK_MEMINFO_*`)
const COUNTED: [usize; 3] = [0, 4, 5];
/// Sent and not yet gone: all that UDP has of what it sends.
const SENT: usize = 2;
/// What a request has of addresses; none are asked for.
const ADDRESSES: usize = 48;
/// All states but that of connections which only wait until their numbers are forgotten.
const STATES: u32 = 0xfff & !(1 << 6);

/// Of TCP: both kinds of having closed first, having closed last, and at the same time.
const ENDING: [u8; 4] = [4, 5, 9, 11];
/// What is left of those that have sent everything is small and counted elsewhere; they have this timer.
const REMNANT: u8 = 3;

/// The way to ask.
#[derive(Debug)]
pub(crate) struct Diag(OwnedFd);

/// The sockets of one protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    pub(crate) count: u64,
    /// Bytes of memory of all of them, …
    pub(crate) bytes: u64,
    /// … and of those that no process has: most of them wait to be accepted.
    pub(crate) nobodys: u64,
    /// How many of TCP's are closed and not ended: the kernel still sends what they have, or waits for the other side.
    pub(crate) ending: u64,
    /// Inodes of those that somebody has.
    pub(crate) inodes: HashSet<u32>,
    form: Form,
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    /// Length of what is before its attributes, in bytes.
    answer: usize,
    /// Where in it the socket's inode is: 0 if no process ever had it, or has it any more.
    inode: usize,
    /// The attribute with the socket's memory.
    memory: u16,
}

const OF_INET: Form = Form { answer: 72, inode: 68, memory: SKMEMINFO };
const OF_NETLINK: Form = Form { answer: 28, inode: 16, memory: 0 };

impl Default for Form {
    fn default() -> Self {
        OF_INET
    }
}

/// Opens a way to ask about this process's namespace.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let protocol = Some(netlink::SOCK_DIAG);
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

impl Diag {
    /// Takes what [`open`] has made.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// What tells the namespace from all others, where the kernel does.
    pub(crate) fn namespace(&self) -> Option<u64> {
        sys::net::namespace(self.0.as_fd())
    }

    /// All TCP sockets that listen or are connected.
    pub(crate) fn tcp(&self) -> io::Result<Sockets> {
        let mut body = vec![AF_INET, 0, 0, ASK_SKMEMINFO];
        body.resize(body.len() + ADDRESSES, 0);
        body.extend(STATES.to_ne_bytes());
        body.extend([0; 4]);
        let mut sockets = Sockets::default();
        self.ask(TCPDIAG_GETSOCK, &body, &COUNTED, &mut sockets)?;
        Ok(sockets)
    }

    /// All UDP sockets that have an address.
    pub(crate) fn udp(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for family in [AF_INET, AF_INET6] {
            let mut body = vec![family, UDP, ASK_SKMEMINFO, 0];
            body.extend(STATES.to_ne_bytes());
            body.resize(body.len() + ADDRESSES, 0);
            self.ask(SOCK_DIAG_BY_FAMILY, &body, &[COUNTED[0], COUNTED[1], SENT], &mut sockets)?;
        }
        Ok(sockets)
    }

    /// All netlink sockets. The kernel's table of them begins anew with each page that is read, among all of the machine's;
    /// this doesn't.
    pub(crate) fn netlink(&self) -> io::Result<Sockets> {
        let mut body = vec![AF_NETLINK, ALL_PROTOCOLS, 0, 0];
        for field in [0, SHOW_MEMINFO, 0, 0] {
            body.extend(field.to_ne_bytes());
        }
        let mut sockets = Sockets { form: OF_NETLINK, ..Sockets::default() };
        self.ask(SOCK_DIAG_BY_FAMILY, &body, &[COUNTED[0], SENT], &mut sockets)?;
        Ok(sockets)
    }

    fn ask(&self, kind: u16, body: &[u8], counted: &[usize], sockets: &mut Sockets) -> io::Result<()> {
        let len = u32::try_from(HEADER + body.len()).unwrap_or(0);
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(REQUEST_DUMP.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.0, &message, SendFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let (len, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            if sockets.hear(buffer.get(..len).unwrap_or_default(), counted)? {
                return Ok(());
            }
        }
    }
}

impl Sockets {
    /// Takes answers; tells whether they were the last.
    fn hear(&mut self, mut messages: &[u8], counted: &[usize]) -> io::Result<bool> {
        while let Some((message, rest)) = cut(messages, |head| number(head, 0)) {
            match short(message, 4) {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => self.add(message.get(HEADER..).unwrap_or_default(), counted),
            }
            messages = rest;
        }
        if messages.is_empty() { Ok(false) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn add(&mut self, socket: &[u8], counted: &[usize]) {
        let inode = number(socket, self.form.inode);
        let mut attributes = socket.get(self.form.answer..).unwrap_or_default();
        let mut bytes = 0;
        while let Some((attribute, rest)) = cut(attributes, |head| short(head, 0).into()) {
            if short(attribute, 2) == self.form.memory {
                bytes = memory(attribute.get(4..).unwrap_or_default(), counted);
            }
            attributes = rest;
        }
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if inode == 0 {
            let ends = |state| ENDING.contains(state) && socket.get(2) != Some(&REMNANT);
            self.ending += u64::from(self.form == OF_INET && socket.get(1).is_some_and(ends));
            self.nobodys = self.nobodys.saturating_add(bytes);
        } else if self.count <= MOST {
            self.inodes.insert(inode);
        }
    }
}

/// Bytes of a socket's memory, of what the kernel says of it (`SK_MEMINFO_*`).
pub(crate) fn whole(meminfo: &[u8]) -> u64 {
    memory(meminfo, &[COUNTED[0], COUNTED[1], SENT])
}

fn memory(meminfo: &[u8], counted: &[usize]) -> u64 {
    counted.iter().map(|which| u64::from(number(meminfo, which * 4))).sum()
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |two| u16::from_ne_bytes(*two))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_ne_bytes(*four))
}

/// Cuts off what comes first, which begins with its length and ends where a multiple of four does.
fn cut(bytes: &[u8], length: impl Fn(&[u8]) -> u32) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(length(bytes)).ok().filter(|len| *len >= 4)?;
    Some((bytes.get(..len)?, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn a12_the_kernel_tells_of_sockets_that_nobody_has() {
        use std::io::Write;
        let Ok(diag) = open().map(Diag::new) else { return };
        // Others make sockets meanwhile: what is this test's only grows.
        let before = diag.tcp().unwrap();
        let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let mut from = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        from.write_all(&[0; 50_000]).unwrap();
        let now = diag.tcp().unwrap();
        assert!(now.nobodys >= before.nobodys + 50_000, "{} {}", before.nobodys, now.nobodys);
        assert!(now.count >= 3 && now.inodes.len() >= 2);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.send_to(&[0; 50_000], udp.local_addr().unwrap()).unwrap();
        let now = diag.udp().unwrap();
        assert!(now.bytes >= 50_000 && now.nobodys == 0, "{now:?}");
        let before = diag.netlink().unwrap();
        assert!(before.count >= 1, "{before:?}");
        // A question of which nobody reads the answer.
        let asks = open().map(Diag::new).unwrap();
        let mut body = vec![AF_NETLINK, ALL_PROTOCOLS, 0, 0];
        body.resize(20, 0);
        let message =
            [&36_u32.to_ne_bytes()[..], &20_u16.to_ne_bytes(), &REQUEST_DUMP.to_ne_bytes(), &[0; 8], &body];
        send(&asks.0, &message.concat(), SendFlags::empty()).unwrap();
        let now = diag.netlink().unwrap();
        assert!(now.count > before.count && now.bytes > before.bytes, "{before:?} {now:?}");
    }
}
