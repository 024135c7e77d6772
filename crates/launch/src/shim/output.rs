//! The pipes from the task: making them, waiting for them and reading them. What is read goes into the log in
//! `supervise`.
//!
//! A thread of its own reads them (A4): a reader of a pipe waits in the kernel for whoever writes to it, and who writes may
//! have the kernel wait for his memory, so that not even a signal ends that. What ends the task must not stand in that row.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Gid, OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::control::{Control, timespec};
use super::watch::STACK;
use crate::identity::Credentials;
use crate::record::{MAX_PAYLOAD, Source};

/// Size of a pipe in bytes. What the task writes while the shim waits for the disk fits in here.
const PIPE_SIZE: usize = 1 << 20;
/// The size that anybody may give a pipe.
const MAX_PIPE_SIZE: &str = "/proc/sys/fs/pipe-max-size";
/// So long nothing may come of the last output of a task that has ended, although it is there: somebody outside has the
/// pipe, too.
const LAST: Duration = Duration::from_secs(60);

/// The reading ends of the task's standard output and standard error.
#[derive(Debug)]
pub(super) struct Output {
    shared: Arc<Shared>,
    /// Its end ends the thread.
    _lives: OwnedFd,
}

#[derive(Debug)]
struct Shared {
    pipes: [(Source, OwnedFd); 2],
    came: Mutex<Came>,
    taken: Condvar,
    /// Rung when something has come, or nothing more does.
    bell: OwnedFd,
}

/// What was read.
#[derive(Debug, Default)]
struct Came {
    pieces: Vec<(Source, Vec<u8>)>,
    /// Something is being read that isn't in there yet.
    reading: bool,
    /// Both pipes have ended.
    over: bool,
    /// Nobody takes anything any more.
    left: bool,
}

/// What is ready.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// The task has ended, all of it.
    pub(super) ended: bool,
    /// It has used more than it may.
    pub(super) too_much: bool,
    /// Its processes have told something.
    pub(super) told: bool,
}

impl Output {
    /// Makes the pipes; also returns the writing ends for standard output and standard error. They belong to the
    /// user, who can so open them again as `/dev/stdout` and `/dev/stderr`. The last value is for [`Output::begin`].
    pub(super) fn new(credentials: Credentials) -> io::Result<(Self, OwnedFd, OwnedFd, OwnedFd)> {
        let (stdout, stdout_end) = one(credentials)?;
        let (stderr, stderr_end) = one(credentials)?;
        let (ends, lives) = pipe_with(PipeFlags::CLOEXEC)?;
        let shared = Shared {
            pipes: [(Source::Stdout, stdout), (Source::Stderr, stderr)],
            came: Mutex::default(),
            taken: Condvar::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        Ok((Self { shared: Arc::new(shared), _lives: lives }, stdout_end, stderr_end, ends))
    }

    /// Starts to read. To be called when no process is started from this one any more.
    pub(super) fn begin(&self, ends: OwnedFd) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            shared.read(&ends);
            shared.came().over = true;
            shared.ring();
        })?;
        Ok(())
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
            PollFd::new(&self.shared.bell, PollFlags::IN),
        ];
        match poll(&mut fds, timespec(control.timeout()).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let [_, ended, too_much, told, _] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { ended, too_much, told })
    }

    /// Hands on what is there: one piece of each pipe at most, or, when the task has ended, everything: as much as pipes
    /// can hold. Somebody outside who was given its other end may go on writing, and that is nothing of the task's. Says
    /// whether that is all.
    pub(super) fn read(&mut self, ended: bool, mut to: impl FnMut(Source, &[u8])) -> bool {
        let mut left = if ended { most() } else { 0 };
        loop {
            let pieces = self.shared.take();
            let none = pieces.is_empty();
            for (source, bytes) in pieces {
                left = left.saturating_sub(bytes.len());
                to(source, &bytes);
            }
            if left == 0 || none && self.shared.is_all() {
                return true;
            }
            let wait = timespec(Some(LAST));
            if none && poll(&mut [PollFd::new(&self.shared.bell, PollFlags::IN)], wait.as_ref()) == Ok(0) {
                return false;
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.came().left = true;
        self.shared.taken.notify_all();
    }
}

impl Shared {
    fn came(&self) -> MutexGuard<'_, Came> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Reads both pipes, in the order in which they are written to if that can be, until they end or nobody takes what is
    /// read.
    fn read(&self, ends: &OwnedFd) {
        let mut buffer = vec![0; MAX_PAYLOAD as usize];
        let mut open = [true; 2];
        while open != [false; 2] {
            let [stdout, stderr] = [0, 1].map(|which| open[which].then(|| self.pipes[which].1.as_fd()));
            let mut fds = [
                PollFd::new(ends, PollFlags::IN),
                watched(stdout, ends.as_fd()),
                watched(stderr, ends.as_fd()),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let [over, stdout, stderr] = fds.map(|fd| !fd.revents().is_empty());
            if over {
                return;
            }
            self.came().reading = true;
            let mut pieces = vec![];
            for (which, ready) in [stdout, stderr].into_iter().enumerate() {
                let (source, pipe) = &self.pipes[which];
                if !ready {
                    continue;
                }
                match rustix::io::read(pipe, &mut buffer[..]) {
                    Ok(0) => open[which] = false,
                    Ok(n) => pieces.push((*source, buffer[..n].to_vec())),
                    Err(_) => {}
                }
            }
            if !self.put(pieces) {
                return;
            }
        }
    }

    /// Waits until what was there is taken; says whether anything still is.
    fn put(&self, pieces: Vec<(Source, Vec<u8>)>) -> bool {
        let mut came = self.came();
        while !came.pieces.is_empty() && !came.left {
            came = self.taken.wait(came).unwrap_or_else(PoisonError::into_inner);
        }
        came.pieces = pieces;
        came.reading = false;
        let left = came.left;
        drop(came);
        self.ring();
        !left
    }

    fn take(&self) -> Vec<(Source, Vec<u8>)> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let pieces = std::mem::take(&mut self.came().pieces);
        self.taken.notify_all();
        pieces
    }

    /// Whether all that is in the pipes was taken. Asks nothing that waits for who writes.
    fn is_all(&self) -> bool {
        let mut fds = [0, 1].map(|which: usize| PollFd::new(&self.pipes[which].1, PollFlags::IN));
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let empty = fds.iter().all(|fd| !fd.revents().contains(PollFlags::IN));
        // In this order: what isn't in the pipe any more is on its way since before.
        let came = self.came();
        came.over || empty && !came.reading && came.pieces.is_empty()
    }
}

/// As much as both pipes can hold, and what was read of them meanwhile, in bytes.
fn most() -> usize {
    let size = std::fs::read_to_string(MAX_PIPE_SIZE).ok().and_then(|text| text.trim().parse().ok());
    2 * (size.unwrap_or(PIPE_SIZE).max(PIPE_SIZE) + 2 * MAX_PAYLOAD as usize)
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
