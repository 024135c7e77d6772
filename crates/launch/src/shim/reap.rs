//! The init at work: it reaps, and passes the request to end on to every process of the task (B15).

use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use super::report::{Report, Reporter};
use crate::failure::{Explain, Failure, Fault};

/// What the init is told by the kernel, and by the shim.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Holds them back from now on. A request of the shim's that came before is kept: the init was made with SIGTERM
    /// held back.
    pub(super) fn hold() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGCHLD);
        set.thread_block()
            .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
            .map(Self)
            .explain(|| "can't hold signals back".into())
    }

    /// Waits for one; tells whether the shim asks for the end.
    fn wait(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        let _ = poll(&mut fds, None);
        let mut end = false;
        while let Ok(Some(info)) = self.0.read_signal() {
            end |= i32::try_from(info.ssi_signo) == Ok(Signal::SIGTERM as i32);
        }
        end
    }
}

/// Reaps until the command has ended, and says how. When the task was asked to end, the rest of it has until the shim
/// kills it: a shell that dies of SIGTERM must not take the program with it that it started and that still cleans up.
pub(super) fn reap(command: Pid, signals: &Signals, reporter: &Reporter) {
    let (mut asked, mut told) = (false, false);
    loop {
        match reap_all(command) {
            Reaped::Command(report) => {
                reporter.tell(report);
                told = true;
                if !asked {
                    // The kernel ends the rest with this process.
                    return;
                }
            }
            Reaped::Everybody if told => return,
            Reaped::Everybody => {
                return reporter
                    .tell(Report::Failed(Fault::Machine, "the command's process has gone".to_owned()));
            }
            Reaped::Others => {
                if signals.wait() && !asked {
                    asked = true;
                    for signal in [Signal::SIGTERM, Signal::SIGCONT] {
                        // Everybody in this pid namespace but its init; who was stopped can't clean up.
                        let _ = kill(Pid::from_raw(-1), signal);
                    }
                }
            }
        }
    }
}

enum Reaped {
    /// The command has ended so.
    Command(Report),
    /// Somebody lives.
    Others,
    /// Nobody is left.
    Everybody,
}

fn reap_all(command: Pid) -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == command.as_raw() => {
                let exited = status.exit_status().map(Report::Exited);
                if let Some(report) = exited.or_else(|| status.terminating_signal().map(Report::Signalled)) {
                    return Reaped::Command(report);
                }
            }
            // An orphan that the task left.
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Reaped::Others,
            Err(Errno::CHILD) => return Reaped::Everybody,
            Err(e) => {
                return Reaped::Command(Report::Failed(
                    Fault::Machine,
                    format!("can't wait for the command: {e}"),
                ));
            }
        }
    }
}
