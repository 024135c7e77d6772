//! Work on a task's directories in a process of its own, which nobody has to wait for. Whoever has a hand in such a directory
//! can have it wait in the kernel for as long as he likes, where no signal ends it: for a directory that he reads into memory
//! that doesn't come, or for a list of his mappings (MG4); for a little while in each of very many (MJ1). A thread that waits
//! so would keep its whole process from ending, with all that this holds (MJ2). Here the work is waited for as long as it
//! does anything: as long as it runs, and as what it reads from the disk explains.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::process;

/// Its name in lists of processes.
const NAME: &std::ffi::CStr = c"muster-apart";
/// How often it is looked whether it does anything.
const LOOK: Duration = Duration::from_millis(250);
/// So long a busy disk may take to read …
const READ: Duration = Duration::from_millis(50);
/// … so many bytes.
const BLOCK: u64 = 4096;

/// How long is waited for work that does nothing: for one thing, and for everything together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) one: Duration,
    pub(crate) all: Duration,
}

/// Work that goes on. Dropped, it is killed, and ends when the kernel lets it.
#[derive(Debug)]
pub(crate) struct Apart<T> {
    /// Until its end was seen.
    pid: Option<Pid>,
    /// Its directory in `/proc`.
    process: PathBuf,
    /// Comes to an end when the process has said what came of it, or has ended.
    answers: File,
    answer: Vec<u8>,
    /// How often it had waited for something when that was looked at first, and when.
    waited: (Option<u64>, Instant),
    /// How long it was seen waiting, for whatever it was.
    waiting: Duration,
    looked: Instant,
    result: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Apart<T> {
    /// Begins it, in a process that has a copy of everything but no descriptor beside those to `keep`. `work` takes no lock
    /// that another thread may hold.
    ///
    /// # Errors
    /// When no process can be started.
    pub(crate) fn begin(keep: &[BorrowedFd<'_>], work: impl FnOnce() -> T) -> io::Result<Self> {
        reap();
        let (answers, tells) = pipe_with(PipeFlags::CLOEXEC)?;
        let Some(pid) = process::fork_beside_threads()? else {
            process::exit_now(i32::from(tell(&tells, keep, work).is_err()));
        };
        drop(tells);
        rustix::io::ioctl_fionbio(&answers, true)?;
        let (process, now) = (format!("/proc/{pid}").into(), Instant::now());
        let (answers, answer, waited) = (File::from(answers), Vec::new(), (None, now));
        Ok(Self {
            pid: Some(pid),
            process,
            answers,
            answer,
            waited,
            waiting: Duration::ZERO,
            looked: now,
            result: PhantomData,
        })
    }

    /// Waits for what comes of it for so long. An error is that it came to no end.
    pub(crate) fn within(&mut self, time: Duration) -> Option<io::Result<T>> {
        let until = Instant::now() + time;
        loop {
            match self.answers.read_to_end(&mut self.answer) {
                Ok(_) => {
                    // It is past everything that it could wait for.
                    if let Some(pid) = self.pid.take() {
                        let _ = waitpid(pid, None);
                    }
                    return Some(serde_json::from_slice(&self.answer).map_err(io::Error::from));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Some(Err(e)),
            }
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return None,
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Some(Err(e.into())),
            }
        }
    }

    /// Whether it waits for who has a hand in what it works on.
    pub(crate) fn is_stuck(&mut self, patience: Patience) -> bool {
        if self.looked.elapsed() >= LOOK {
            let before = std::mem::replace(&mut self.looked, Instant::now());
            let status = fs::read_to_string(self.process.join("status")).unwrap_or_default();
            let waited = waited(&status);
            if waited.is_some() {
                self.waiting += self.looked.saturating_duration_since(before);
            }
            if waited.is_none() || waited != self.waited.0 {
                self.waited = (waited, self.looked);
            }
        }
        self.looked.saturating_duration_since(self.waited.1) >= patience.one
            || self.waited_in_all() >= patience.all
    }

    /// How long it was seen waiting, beyond what the disk explains.
    pub(crate) fn waited_in_all(&self) -> Duration {
        if self.waiting.is_zero() {
            return Duration::ZERO;
        }
        let io = fs::read_to_string(self.process.join("io")).unwrap_or_default();
        self.waiting.saturating_sub(READ.saturating_mul(blocks_read(&io)))
    }

    /// Waits for what comes of it; nothing when it waits for who has a hand in it.
    pub(crate) fn unless_stuck(&mut self, patience: Patience) -> Option<io::Result<T>> {
        loop {
            let outcome = self.within(LOOK);
            if outcome.is_some() || self.is_stuck(patience) {
                return outcome;
            }
        }
    }
}

/// What the process does.
fn tell<T: Serialize>(tells: &OwnedFd, keep: &[BorrowedFd<'_>], work: impl FnOnce() -> T) -> io::Result<()> {
    let tells = tells.as_fd();
    let _ = rustix::thread::set_name(NAME);
    process::close_all_except(&keep.iter().copied().chain([tells]).collect::<Vec<_>>());
    let answer = serde_json::to_vec(&work())?;
    File::from(tells.try_clone_to_owned()?).write_all(&answer)
}

/// Those that had to be left, until they end.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Takes leave of those that have ended meanwhile.
pub(crate) fn reap() {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| !has_gone(*pid));
}

fn has_gone(pid: Pid) -> bool {
    !matches!(waitpid(pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
}

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        let Some(pid) = self.pid else { return };
        let _ = kill(pid, Signal::SIGKILL);
        if !has_gone(pid) {
            LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        }
    }
}

/// How many blocks a process has read from a disk.
fn blocks_read(io: &str) -> u32 {
    let bytes = io.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    let bytes: u64 = bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX)
}

/// How often it has waited for something, if it waits now.
fn waited(status: &str) -> Option<u64> {
    let value = |key| status.lines().find_map(|line: &str| line.strip_prefix(key)).map(str::trim);
    if value("State:")?.starts_with('R') {
        return None;
    }
    value("voluntary_ctxt_switches:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(time: Duration) {
        let _ = poll(&mut [], Timespec::try_from(time).ok().as_ref());
    }

    #[test]
    fn a04_mg4_who_waits_for_one_thing_is_seen_to() {
        let status = |state: &str, times: u64| {
            format!("Name:\tx\nState:\t{state}\nvoluntary_ctxt_switches:\t{times}\n")
        };
        assert_eq!(waited(&status("D (disk sleep)", 7)), Some(7));
        assert_eq!(waited(&status("R (running)", 7)), None);
        assert_eq!(waited(""), None);
        let own = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_eq!(waited(&own), None, "it runs: {own}");
        assert_eq!(blocks_read("rchar: 9\nread_bytes: 12288\nwrite_bytes: 0\n"), 3);
        assert!(fs::read_to_string("/proc/self/io").unwrap().contains("\nread_bytes: "));
    }

    /// MJ1: each of two hundred directories was held for a second.
    #[test]
    fn a04_mj1_many_short_waits_are_one_long_one() {
        let mut work = Apart::begin(&[], || {
            loop {
                pause(Duration::from_millis(20));
            }
            #[expect(unreachable_code, reason = "it says what it would answer")]
            true
        })
        .unwrap();
        let patience = Patience { one: Duration::from_secs(600), all: Duration::from_millis(600) };
        assert!(work.unless_stuck(patience).is_none(), "it isn't through");
        assert!(work.waited_in_all() >= patience.all);
        let pid = work.pid.unwrap();
        drop(work);
        let gone = || {
            reap();
            !LEFT.lock().unwrap().contains(&pid)
        };
        let until = Instant::now() + Duration::from_secs(60);
        while !gone() && Instant::now() < until {
            pause(Duration::from_millis(10));
        }
        assert!(gone(), "it was killed");
    }

    #[test]
    fn a04_mj2_what_it_says_comes_whole_and_its_death_is_told() {
        let long = || (0..100_000_u64).collect::<Vec<_>>();
        let patience = Patience { one: Duration::from_secs(60), all: Duration::from_secs(60) };
        let mut work = Apart::begin(&[], long).unwrap();
        assert_eq!(work.unless_stuck(patience).unwrap().unwrap(), long());
        let mut dies = Apart::begin(&[], || -> bool { process::exit_now(3) }).unwrap();
        assert!(dies.unless_stuck(patience).unwrap().is_err());
    }
}
