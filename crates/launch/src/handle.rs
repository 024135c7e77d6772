//! Finding a running shim again, waiting for it and asking it to kill its task. Starting one is
//! [`crate::shim::main`]; the agent calls that through its own executable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::network::doorbell;
use crate::task_dir::{LOCK_FILE, PID_FILE};

/// A live shim.
#[derive(Debug)]
pub struct Shim {
    pidfd: OwnedFd,
}

impl Shim {
    /// The shim that runs the task of this directory, `None` when none lives.
    ///
    /// A shim is believed only when it holds the lock *and* the recorded process is still the one that wrote it,
    /// so a process id used again for something else is never taken for it.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn open(task_dir: &Path) -> io::Result<Option<Self>> {
        let lock = match OpenOptions::new().read(true).write(true).open(task_dir.join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // Between taking the lock and writing its pid a shim needs microseconds; look again for two seconds.
        for _ in 0..200 {
            if !is_locked(&lock)? {
                return Ok(None);
            }
            if let Some(shim) = recorded_process(task_dir)? {
                return Ok(Some(shim));
            }
            let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            poll(&mut [], Some(&pause))?;
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{} is locked by a process that isn't its shim", task_dir.display()),
        ))
    }

    /// The shim that a descriptor names.
    pub(crate) fn of(pidfd: OwnedFd) -> Self {
        Self { pidfd }
    }

    /// Whether it is over.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }

    /// The listener at which the task of this directory asks for its master, to accept on: `None` when no shim lives
    /// that has one. Every caller gets the same one, so an agent that comes back misses no connection. Waits for a task
    /// that is just being started.
    ///
    /// # Errors
    /// When the shim can't be asked, or says nothing for a minute.
    pub fn relay_listener(task_dir: &Path) -> io::Result<Option<OwnedFd>> {
        doorbell::ring(task_dir)
    }

    /// A file descriptor that becomes readable when the shim has exited.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The same, to be owned by an event loop.
    #[must_use]
    pub fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// Asks the shim to end its task: SIGTERM to all of its processes, and SIGKILL to what is left of them after the
    /// task's `kill_grace` (B15). The shim then writes the exit status and exits. Asking again changes nothing.
    ///
    /// # Errors
    /// When the signal can't be sent; a shim that has exited meanwhile is no error.
    pub fn kill(&self) -> io::Result<()> {
        self.ask(Signal::TERM)
    }

    /// Asks the shim to kill its task now.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn kill_now(&self) -> io::Result<()> {
        self.ask(Signal::QUIT)
    }

    /// Asks the shim to kill its task now because others need what it has of the disk: the log says so, and the exit status
    /// has [`crate::Limit::Scratch`].
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn end_for_room(&self) -> io::Result<()> {
        self.ask(Signal::USR1)
    }

    /// Ends the shim, and by that its task, without a word of how: for one that doesn't obey.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn destroy(&self) -> io::Result<()> {
        self.ask(Signal::KILL)
    }

    fn ask(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Takes the lock for good: `false` when another process has it.
pub(crate) fn take_lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether somebody has the lock. Asks without taking it: a lock held for a moment by somebody who only looks
/// would make a starting shim believe that another one runs.
fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[expect(clippy::cast_possible_truncation, reason = "the constants are small, their type is an accident")]
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Records this process as the shim.
pub(crate) fn write_pid(task_dir: &Path) -> io::Result<()> {
    let pid = std::process::id();
    let start = start_time(pid)?;
    let temporary = task_dir.join("shim.pid.new");
    fs::write(&temporary, format!("{pid} {start}\n"))?;
    fs::rename(temporary, task_dir.join(PID_FILE))
}

/// The process of `shim.pid`, if it is still the one that wrote it.
fn recorded_process(task_dir: &Path) -> io::Result<Option<Shim>> {
    let text = match fs::read_to_string(task_dir.join(PID_FILE)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(start))) = (numbers.next(), numbers.next()) else {
        return Ok(None);
    };
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    // The descriptor first, the check second: then the check is about the process that the descriptor names.
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else {
        return Ok(None);
    };
    let shim = Shim::of(pidfd);
    let same = u32::try_from(pid).is_ok_and(|pid| start_time(pid).is_ok_and(|now| now == start));
    Ok((same && !shim.has_exited()?).then_some(shim))
}

/// Field 22 of `/proc/PID/stat`: when the process started, in clock ticks since boot.
fn start_time(pid: u32) -> io::Result<u64> {
    stat_field(pid, 19)
}

/// A number of `/proc/PID/stat`, counted from the one behind the name, which is 0.
pub(crate) fn stat_field(pid: u32, number: usize) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, spaces and parentheses too: fields count from the last one.
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(number))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}
