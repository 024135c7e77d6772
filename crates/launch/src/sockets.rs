//! The names of the machine's Unix sockets, as whoever listens gave them: asked of the kernel (sock_diag(7)), or read from
//! its table where a kernel doesn't answer. What of them a task would see is `sandbox::sockets`'s.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Where nothing of the machine's is shown to a task, but what an administrator allows for the sake of its sockets.
const NOT_SHOWN: [&str; 4] = ["/run", "/proc", "/sys", "/dev"];
/// Most names that are looked for in the directories of processes.
const MAX_RELATIVE: usize = 64;

/// Length of a message's header in bytes, and of what an answer has before its attributes.
const HEADER: usize = 16;
const ANSWER: usize = 16;
/// Bytes for messages; the kernel sends no more than half of that at once.
const BUFFER: usize = 64 << 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// A request for all of them.
const REQUEST_DUMP: u16 = 0x301;
const AF_UNIX: u8 = 1;
/// States of sockets that anybody may get to: listening, and not connected. The others are ends of connections, which have
/// their listener's name.
const LISTENING: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
const SHOW_NAME: u32 = 1;
const UNIX_DIAG_NAME: u16 = 0;

/// What may be connected to or sent to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) absolute: Vec<PathBuf>,
    /// From a directory that only the process knows which gave the name.
    pub(crate) relative: Vec<PathBuf>,
}

impl Names {
    /// Those of this process's network namespace, of the machine's where an agent has one of its own, and others.
    ///
    /// # Errors
    /// The kernel tells by neither way.
    pub(crate) fn read(others: Self) -> io::Result<Self> {
        let table = |process| fs::read(format!("/proc/{process}/net/unix")).map(|table| Self::parse(&table));
        let mut names = Self::ask().or_else(|_| table("self"))?;
        let namespace = |process| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let first = namespace("1");
        // Who may not look at the namespace may still read the table.
        if (first.is_none() || first != namespace("self"))
            && let Ok(machine) = table("1")
        {
            names.extend(machine);
        }
        names.extend(others);
        Ok(names.sorted())
    }

    /// Those of this thread's network namespace.
    ///
    /// # Errors
    /// The kernel doesn't tell in this way.
    pub(crate) fn ask() -> io::Result<Self> {
        let protocol = Some(netlink::SOCK_DIAG);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        let mut request = vec![AF_UNIX, 0, 0, 0];
        for field in [LISTENING | UNCONNECTED, 0, SHOW_NAME, 0, 0] {
            request.extend(field.to_ne_bytes());
        }
        let len = u32::try_from(HEADER + request.len()).unwrap_or(0);
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST_DUMP.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(request);
        send(&socket, &message, SendFlags::empty())?;
        let mut names = Self::default();
        let mut buffer = vec![0; BUFFER];
        loop {
            let (len, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            if names.hear(buffer.get(..len).unwrap_or_default())? {
                return Ok(names);
            }
        }
    }

    /// Takes answers; tells whether they were the last.
    fn hear(&mut self, mut messages: &[u8]) -> io::Result<bool> {
        while let Some((message, kind, rest)) = cut(messages, 4) {
            match kind {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => {
                    let mut attributes = message.get(HEADER + ANSWER..).unwrap_or_default();
                    while let Some((attribute, kind, rest)) = cut(attributes, 2) {
                        if kind == UNIX_DIAG_NAME {
                            let name = attribute.get(4..).unwrap_or_default();
                            self.add(name.split(|b| *b == 0).next().unwrap_or_default());
                        }
                        attributes = rest;
                    }
                }
            }
            messages = rest;
        }
        if messages.is_empty() { Ok(false) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Columns as in `/proc/net/unix`: the sixth is the state, the eighth the name, if any.
    fn parse(table: &[u8]) -> Self {
        let mut names = Self::default();
        for line in table.split(|b| *b == b'\n').skip(1) {
            let state = line.splitn(6, |b| *b == b' ').nth(5).and_then(|rest| rest.split_at_checked(3));
            let Some((state, rest)) = state else { continue };
            // The inode is written with blanks before it.
            let name = rest.trim_ascii_start().splitn(2, |b| *b == b' ').nth(1).unwrap_or_default();
            if state == b"01 " && !name.starts_with(b"@") {
                names.add(name);
            }
        }
        names
    }

    /// Adds a name that isn't an abstract one's.
    fn add(&mut self, name: &[u8]) {
        let path = PathBuf::from(OsString::from_vec(name.to_vec()));
        if path.is_absolute() {
            if is_shown(&path) {
                self.absolute.push(path);
            }
        } else if !name.is_empty() && self.relative.len() < MAX_RELATIVE {
            self.relative.push(path);
        }
    }

    /// Adds others', as far as there is room.
    pub(crate) fn extend(&mut self, others: Self) {
        self.absolute.extend(others.absolute);
        self.relative.extend(others.relative);
        self.relative.truncate(MAX_RELATIVE);
    }

    /// Each one once.
    fn sorted(mut self) -> Self {
        for names in [&mut self.absolute, &mut self.relative] {
            names.sort();
            names.dedup();
        }
        self
    }
}

/// Cuts off what comes first, which begins with its length, in `width` bytes, and its kind, and ends where a multiple of
/// four does.
fn cut(bytes: &[u8], width: usize) -> Option<(&[u8], u16, &[u8])> {
    let short = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let len = match width {
        2 => usize::from(short(0)?),
        _ => usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?,
    };
    let kind = short(width)?;
    if len < width + 2 {
        return None;
    }
    Some((bytes.get(..len)?, kind, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// Whether a task may see something of the machine's at a path.
pub(crate) fn is_shown(path: &Path) -> bool {
    !NOT_SHOWN.iter().any(|hidden| path.starts_with(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r15_names_are_those_that_somebody_answers_to() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21234 /srv/a b.sock\n\
            0000000000000000: 00000002 00000000 00000000 0002 01    12 /srv/log\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 41234 /srv/end\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 41234 @abstract\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 41234 ./t\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 41234\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 41234 /run/dbus\n";
        let names = Names::parse(table);
        assert_eq!(names.absolute, [Path::new("/srv/a b.sock"), Path::new("/srv/log")]);
        assert_eq!(names.relative, [Path::new("./t")]);
    }

    #[test]
    fn r15_both_ways_to_ask_tell_the_same() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
        let dir = std::env::temp_dir().join(format!("launch-test-names-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let paths = [dir.join("a b"), dir.join("dgram")];
        let listener = UnixListener::bind(&paths[0]).unwrap();
        let _datagram = UnixDatagram::bind(&paths[1]).unwrap();
        let _ends = (UnixStream::connect(&paths[0]).unwrap(), listener.accept().unwrap());
        let name = SocketAddr::from_abstract_name("launch-test-names").unwrap();
        let _abstract = UnixListener::bind_addr(&name).unwrap();
        let table = fs::read("/proc/self/net/unix").unwrap();
        for names in [Names::ask().unwrap().sorted(), Names::parse(&table).sorted()] {
            let found: Vec<_> = names.absolute.iter().filter(|path| path.starts_with(&dir)).collect();
            assert_eq!(found, [&paths[0], &paths[1]]);
            assert!(!names.relative.contains(&"launch-test-names".into()));
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
