//! Which interfaces a task's network has, for who asks by SIOCGIFCONF (netdevice(7)), as MPI does even on one machine.
//!
//! The kernel would write the answer into the task's memory while it has the lock of all of the machine's network
//! configuration, and that takes as long as the task wants (MD4). So the filter of system calls has the shim answer: it asks
//! the kernel by a socket of the task's network, with memory of its own, and writes what it hears without any lock. The
//! memory is the task's own whatever happens meanwhile, for it was opened while the call waited.

use std::fs::{File, OpenOptions, read_link};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::descriptors::{receive_descriptors, send_patiently};
use crate::sys::clock::of_this_thread;
use crate::sys::net::{INTERFACE, interfaces};
use crate::sys::notify::{Call, Listener};

/// Hands the shim what it answers by. To be called in the task's network.
///
/// # Errors
/// What the kernel says.
pub(crate) fn hand_over(shim: BorrowedFd<'_>, listener: &OwnedFd) -> io::Result<()> {
    let asks = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    send_patiently(shim, &[listener, &asks], "")
}

/// Answers what the task asks until it ends, or `ends` does. It takes one part of a processor's time in so many as `part`
/// says: it isn't the task's own.
pub(crate) fn serve(from_task: &OwnedFd, ends: &OwnedFd, part: impl Fn() -> u32) {
    if !comes(from_task, ends, None) {
        return;
    }
    let Ok((handed, _)) = receive_descriptors(from_task.as_fd()) else { return };
    // A task whose filter has nothing to ask hands nothing over.
    let Ok([listener, asks]) = <[OwnedFd; 2]>::try_from(handed) else { return };
    let listener = Listener::new(listener);
    while comes(&listener, ends, None) {
        let begun = of_this_thread();
        match listener.next() {
            Ok(Some(call)) => listener.answer(&call, answer(&call, &listener, &asks)),
            Ok(None) => {}
            Err(_) => return,
        }
        comes(ends, ends, Some((of_this_thread() - begun) * part()));
    }
}

/// Waits until something is there to be read, and says whether `ends` hasn't ended before.
fn comes(something: &impl AsFd, ends: &OwnedFd, longest: Option<Duration>) -> bool {
    let mut fds = [PollFd::new(something, PollFlags::IN), PollFd::new(ends, PollFlags::IN)];
    let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
    let waited = rustix::io::retry_on_intr(|| poll(&mut fds, longest.as_ref()));
    waited.is_ok() && fds[1].revents().is_empty() && fds[0].revents().contains(PollFlags::IN)
}

/// What the kernel would do. The error is the number of one.
fn answer(call: &Call, listener: &Listener, asks: &OwnedFd) -> Result<(), i32> {
    let process = PathBuf::from(format!("/proc/{}", call.thread));
    let [socket, _, place, ..] = call.arguments;
    // The kernel looks at no more of it.
    let socket = process.join("fd").join((socket & u64::from(u32::MAX)).to_string());
    let is_socket = read_link(socket).map(|is| is.as_os_str().as_bytes().starts_with(b"socket:"));
    let memory = OpenOptions::new().read(true).write(true).open(process.join("mem"));
    if !listener.waits(call) {
        return Err(libc::EINTR);
    }
    if !is_socket.map_err(|_| libc::EBADF)? {
        return Err(libc::ENOTTY);
    }
    let memory = memory.map_err(|_| libc::ENOTTY)?;
    let told = interfaces(asks.as_fd()).map_err(|e| e.raw_os_error().unwrap_or(libc::EFAULT))?;
    tell(&memory, place, &told).map_err(|_| libc::EFAULT)
}

/// Writes into a `struct ifconf`, and to where that leads, what there is room for; without such a place, how much there is.
fn tell(memory: &File, place: u64, told: &[u8]) -> io::Result<()> {
    let (mut room, mut to) = ([0; 4], [0; 8]);
    memory.read_exact_at(&mut room, place)?;
    memory.read_exact_at(&mut to, place.saturating_add(8))?;
    let (room, to) = (i32::from_ne_bytes(room), u64::from_ne_bytes(to));
    let mut length = told.len();
    if to != 0 {
        let whole = usize::try_from(room).unwrap_or(0) / INTERFACE * INTERFACE;
        length = length.min(whole);
        memory.write_all_at(&told[..length], to)?;
    }
    memory.write_all_at(&i32::try_from(length).unwrap_or(i32::MAX).to_ne_bytes(), place)
}
