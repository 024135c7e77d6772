//! The shim: one process per task that outlives the agent. This file starts it (`muster shim TASKDIR`); what it
//! then does is in `supervise`, and the processes below it are in `init` and `task`.

mod control;
mod descriptor_watch;
mod held;
mod holding;
mod image;
mod init;
pub(crate) mod ledger;
mod log;
mod lookup;
mod output;
mod per_user;
mod queue_watch;
mod reap;
mod recorder;
mod report;
mod scratch_watch;
mod supervise;
mod task;
mod too_much;
mod usage;
mod watch;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

pub use holding::{Holding, holdings};
use log::Log;
use nix::sys::signalfd::SignalFd;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::failure::{Fault, passes};
use crate::handle::{take_lock, write_pid};
use crate::network::doorbell::Doorbell;
use crate::sys::process;
use crate::task_dir::{EXIT_FILE, LOCK_FILE};

/// Longest wait for open files that others have, before the shim is up; the agent waits for a minute.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a shim says that is up.
const UP: &str = "up";
/// Before what it says when that passes.
const PASSING: &str = "passing: ";

/// Exit status of [`main`] when what is missing is what others may have now and not in a moment, such as space on the disk.
pub const TRY_AGAIN: i32 = 75;

/// Unpacks a context archive into the working directory, as the task's user.
pub type Unpack = fn(context: File) -> Result<(), NotUnpacked>;

/// Why a context archive can't be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnpacked {
    /// Whose business that is.
    pub fault: Fault,
    /// One sentence for people.
    pub why: String,
}

/// Runs the task of `task_dir` in a process of its own and returns as soon as that is up: 0, or 1 or [`TRY_AGAIN`] with the
/// reason on standard error. When a shim runs already, or the task has ended, there is nothing to do and that is 0, too.
///
/// To be called first thing in `main`, while the process has one thread and no descriptors worth keeping.
/// `unpack` is called with `TASKDIR/context.tar.gz`, if that exists, inside the sandbox, as the task's user, with
/// the work directory current, before the command starts.
pub fn main(task_dir: &Path, unpack: Unpack) -> i32 {
    crate::descriptors::lower();
    crate::core_files::forgo();
    crate::descriptors::wait_for_room(PATIENCE);
    match image::seal().and_then(|()| start(task_dir, unpack)) {
        Ok(()) => 0,
        Err(e) => {
            // Nobody may be there to read it, which is no reason to panic.
            let _ = writeln!(io::stderr(), "can't run the task of {}: {e}", task_dir.display());
            if passes(&e) { TRY_AGAIN } else { 1 }
        }
    }
}

fn start(task_dir: &Path, unpack: Unpack) -> io::Result<()> {
    let task_dir = task_dir.canonicalize()?;
    let (up, says_up) = pipe_with(PipeFlags::CLOEXEC)?;
    if process::fork()?.is_none() {
        drop(up);
        process::exit_now(detached(&task_dir, says_up, unpack));
    }
    drop(says_up);
    // The shim says nothing when it is up, and a sentence when it can't be.
    let mut trouble = String::new();
    File::from(up).read_to_string(&mut trouble)?;
    match trouble.as_str() {
        UP => Ok(()),
        "" => Err(io::Error::other("the shim ended before it was up")),
        trouble => Err(told(trouble)),
    }
}

/// The shim's process from its first instruction to its last.
fn detached(task_dir: &Path, says_up: OwnedFd, unpack: Unpack) -> i32 {
    process::close_all_but(says_up.as_raw_fd());
    let mut says_up = File::from(says_up);
    match set_up(task_dir) {
        Ok(ready) => {
            let _ = says_up.write_all(UP.as_bytes());
            drop(says_up);
            if let Some(Ready { log, signals, doorbell, lock }) = ready {
                supervise::run(task_dir, unpack, log, signals, doorbell);
                drop(lock);
            }
            0
        }
        Err(e) => {
            let _ = says_up.write_all(tell(&e).as_bytes());
            1
        }
    }
}

/// An error for the process that waits: whether it passes, and its words.
fn tell(error: &io::Error) -> String {
    let passing = if passes(error) { PASSING } else { "" };
    format!("{passing}{error}")
}

/// What [`tell`] told.
fn told(trouble: &str) -> io::Error {
    match trouble.strip_prefix(PASSING) {
        Some(words) => io::Error::new(io::ErrorKind::StorageFull, words.to_owned()),
        None => io::Error::other(trouble.to_owned()),
    }
}

/// What a shim holds from before it says that it is up.
struct Ready {
    log: Log,
    signals: SignalFd,
    doorbell: Doorbell,
    /// The task's processes inherit it until they execute: it is free only when all of the task has ended.
    lock: File,
}

/// Leaves the agent's session and becomes *the* shim of the task; `None` when there is nothing to do.
fn set_up(task_dir: &Path) -> io::Result<Option<Ready>> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    // Files of the shim are nobody else's; what is the task's gets its mode explicitly.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;

    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(task_dir.join(LOCK_FILE))?;
    if !take_lock(&lock)? || task_dir.join(EXIT_FILE).exists() {
        return Ok(None);
    }
    let log = Log::open(task_dir)?;
    // Before anybody can find this process and ask it to kill the task.
    let signals = control::hold_signals()?;
    let doorbell = Doorbell::make(task_dir)?;
    write_pid(task_dir)?;
    Ok(Some(Ready { log, signals, doorbell, lock }))
}
