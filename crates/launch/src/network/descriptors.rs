//! Descriptors over a Unix socket (unix(7), `SCM_RIGHTS`): from the task's init to its shim, and from the shim's
//! helper to the agent.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Most descriptors of one message.
const MOST: usize = 3;
/// Most bytes of the words that go with them.
const WORDS: usize = 1024;

/// Longest wait until the kernel takes descriptors, and the pause between two tries.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The shim's end and the init's.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Sends descriptors, at most [`MOST`], and words for people.
pub(crate) fn send_descriptors(socket: BorrowedFd<'_>, fds: &[&OwnedFd], words: &str) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Descriptors travel with bytes, so there is one in any case.
    let bytes = [IoSlice::new(b"d"), IoSlice::new(words.as_bytes())];
    sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The same, again and again while the kernel says that too many are on their way. It counts them for each user, who may be
/// an agent without root and with it all of its tasks: what one of those does then costs others time, and no start (G10).
pub(crate) fn send_patiently(socket: BorrowedFd<'_>, fds: &[&OwnedFd], words: &str) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match send_descriptors(socket, fds, words) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::TOOMANYREFS) && begun.elapsed() < PATIENCE => {
                // Ends early when the other end has gone, which the next try then says.
                let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::empty())], Some(&PAUSE));
            }
            done => return done,
        }
    }
}

/// Waits for the descriptors and the words of one message; none when the other end has gone without one.
pub(crate) fn receive_descriptors(socket: BorrowedFd<'_>) -> io::Result<(Vec<OwnedFd>, String)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; WORDS];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let words = bytes.get(1..received.bytes).unwrap_or_default();
    let words = String::from_utf8_lossy(words).into_owned();
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok((rights.flatten().collect(), words))
}
