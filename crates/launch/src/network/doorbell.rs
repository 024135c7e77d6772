//! `TASKDIR/relay.sock`: who connects there is handed the relay's listener and nothing else. The task directory lets
//! in nobody but the agent. A listener that an agent has accepted on is whole for the next one, for as long as the
//! task lives.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open, unlink};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

use super::descriptors::{receive_descriptors, send_descriptors};
use crate::task_dir::RELAY_FILE;

/// Longest wait for a task that is being started.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shim's end. Who rings before there is something to hand out waits.
#[derive(Debug)]
pub(crate) struct Doorbell(OwnedFd);

impl Doorbell {
    /// Makes the socket. The caller holds the task's lock, so that what is there already is nobody's.
    pub(crate) fn make(task_dir: &Path) -> io::Result<Self> {
        match unlink(task_dir.join(RELAY_FILE)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let (_dir, address) = address(task_dir)?;
        let socket = unix(SocketFlags::NONBLOCK)?;
        bind(&socket, &address)?;
        listen(&socket, 16)?;
        Ok(Self(socket))
    }

    /// Hands `listener` to everybody who has rung.
    pub(super) fn answer(&self, listener: &OwnedFd) {
        while let Ok(caller) = accept_with(&self.0, SocketFlags::CLOEXEC) {
            // Who rings and goes away misses it. Whom the kernel lets nothing be handed to (too many descriptors on their way)
            // sees that it gets nothing, and rings again: this process has packets to carry.
            let _ = send_descriptors(caller.as_fd(), &[listener], "");
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The listener of the task of a directory; see [`crate::Shim::relay_listener`].
pub(crate) fn ring(task_dir: &Path) -> io::Result<Option<OwnedFd>> {
    let socket = unix(SocketFlags::empty())?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let (_dir, address) = address(task_dir)?;
    let received = match connect(&socket, &address) {
        Ok(()) => receive_descriptors(socket.as_fd()),
        Err(e) => Err(e.into()),
    };
    match received {
        Ok((fds, _)) => match fds.into_iter().next() {
            Some(listener) => Ok(Some(listener)),
            None => Err(io::Error::other("the task's shim couldn't hand over the listener; ask it again")),
        },
        Err(e) => match Errno::from_io_error(&e) {
            // No shim made one, or its task has ended.
            Some(Errno::NOENT | Errno::CONNREFUSED | Errno::CONNRESET) => Ok(None),
            _ => Err(e),
        },
    }
}

fn unix(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | flags, None)
}

/// Where the socket is, however long the directory's name is: addresses have room for 107 bytes. Good while the
/// descriptor is open.
fn address(task_dir: &Path) -> rustix::io::Result<(OwnedFd, SocketAddrUnix)> {
    let dir = open(task_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(RELAY_FILE);
    let address = SocketAddrUnix::new(&path)?;
    Ok((dir, address))
}
