//! The pipes from the task: making them, waiting for them and reading them. What is read goes into the log in
//! `supervise`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Gid, OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use super::control::{Control, timespec};
use crate::identity::Credentials;
use crate::record::Source;

/// Size of a pipe in bytes. What the task writes while the shim waits for the disk fits in here.
const PIPE_SIZE: usize = 1 << 20;

/// The reading ends of the task's standard output and standard error, until each has ended.
#[derive(Debug)]
pub(super) struct Output([(Source, Option<OwnedFd>); 2]);

/// What is ready.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// The task has ended, all of it.
    pub(super) ended: bool,
    /// It has used more than it may.
    pub(super) too_much: bool,
    /// Its processes have told something.
    pub(super) told: bool,
    pipes: [bool; 2],
}

impl Output {
    /// Makes the pipes; also returns the writing ends for standard output and standard error. They belong to the
    /// user, who can so open them again as `/dev/stdout` and `/dev/stderr`.
    pub(super) fn new(credentials: Credentials) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let (stdout, stdout_end) = one(credentials)?;
        let (stderr, stderr_end) = one(credentials)?;
        let this = Self([(Source::Stdout, Some(stdout)), (Source::Stderr, Some(stderr))]);
        Ok((this, stdout_end, stderr_end))
    }

    /// Waits until something is ready, or time has come for `control` to act.
    pub(super) fn wait(&self, control: &Control) -> io::Result<Ready> {
        let Some(task) = &control.task else { return Err(io::ErrorKind::NotFound.into()) };
        let signals = control.signals.as_fd();
        // Too much stays too much.
        let watch = task.watch.as_ref().filter(|_| control.limit().is_none());
        let mut fds = [
            PollFd::from_borrowed_fd(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(task.pidfd.as_fd(), PollFlags::IN),
            watched(watch.map(|watch| watch.over().as_fd()), signals),
            watched(control.told().map(AsFd::as_fd), signals),
            watched(self.0[0].1.as_ref().map(AsFd::as_fd), signals),
            watched(self.0[1].1.as_ref().map(AsFd::as_fd), signals),
        ];
        match poll(&mut fds, timespec(control.timeout()).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let [_, ended, too_much, told, stdout, stderr] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { ended, too_much, told, pipes: [stdout, stderr] })
    }

    /// Hands on what is there: one piece of each ready pipe, or, when the task has ended, everything: as much as a pipe
    /// can hold. Somebody outside who was given its other end may go on writing, and that is nothing of the task's.
    pub(super) fn read(&mut self, ready: Ready, buffer: &mut [u8], mut to: impl FnMut(Source, &[u8])) {
        for ((source, pipe), is_ready) in self.0.iter_mut().zip(ready.pipes) {
            let holds =
                pipe.as_ref().filter(|_| ready.ended).map(|fd| fcntl_getpipe_size(fd).unwrap_or(PIPE_SIZE));
            let mut left = holds.unwrap_or(usize::from(is_ready));
            while left > 0
                && let Some(fd) = pipe
            {
                match rustix::io::read(fd, &mut *buffer) {
                    Ok(0) => *pipe = None,
                    Ok(n) => {
                        to(*source, &buffer[..n]);
                        left = left.saturating_sub(n);
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
        }
    }
}

/// A pipe that has ended would be ready for ever; in its place stands one that isn't asked anything.
fn watched<'fd>(fd: Option<BorrowedFd<'fd>>, other: BorrowedFd<'fd>) -> PollFd<'fd> {
    match fd {
        Some(fd) => PollFd::from_borrowed_fd(fd, PollFlags::IN),
        None => PollFd::from_borrowed_fd(other, PollFlags::empty()),
    }
}

fn one(credentials: Credentials) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    set_nonblocking(&read)?;
    // Ordinary users have a quota of pipe memory; the default size does, too.
    let _ = fcntl_setpipe_size(&write, PIPE_SIZE);
    let (uid, gid) = (Uid::from_raw(credentials.host_uid), Gid::from_raw(credentials.host_gid));
    fchown(&write, Some(uid), Some(gid))?;
    Ok((read, write))
}

/// Makes reads from a descriptor of the shim's return at once.
pub(super) fn set_nonblocking(fd: &OwnedFd) -> rustix::io::Result<()> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}
