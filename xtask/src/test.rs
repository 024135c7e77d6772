//! `cargo xtask test`: the test suite, with all that it talks to.
//!
//! Nothing is printed after nextest's summary, and the exit code is nextest's.

use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::Pid;

use crate::postgres::Cluster;
use crate::setup;
use crate::shell::Checkout;
use crate::tools::Tools;

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Trust that what the tests need is installed
    #[arg(long)]
    no_setup: bool,
    /// Arguments for nextest: packages (`-p store`), filters, `--no-capture` …
    #[arg(last = true)]
    nextest: Vec<String>,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    let tools = Tools::locate(checkout)?;
    if !args.no_setup {
        setup::run(checkout)?;
    }
    let signals = Signals::hold()?;
    let cluster = Cluster::start(&tools.folder.join("postgres.log"))?;

    let mut command = checkout.cargo(["nextest", "run", "--profile", "ci"]);
    if !names_packages(&args.nextest) {
        command.arg("--workspace");
    }
    command.args(&args.nextest).envs(tools.variables()).envs(cluster.variables());
    ensure!(!signals.interrupted()?, "interrupted");
    let status = signals.wait(&mut signals.spawn(&command)?)?;

    cluster.stop()?;
    Ok(exit_code(status))
}

/// `--workspace` would win over `-p`.
fn names_packages(args: &[String]) -> bool {
    args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
}

/// A death by signal counts as a failure.
fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Signals are held while the cluster runs, and taken one by one: we outlive nextest, which ends its tests
/// on Ctrl-C, and then clean up.
struct Signals(SignalFd);

impl Signals {
    /// Before the first thread is made: threads inherit what is held.
    fn hold() -> Result<Self> {
        let set = [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        SigSet::thread_block(&set)?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Starts the command. Children inherit what is held, and `env` lets go of it; `setpriv` has it told to
    /// end should we be killed.
    fn spawn(&self, command: &Command) -> Result<Child> {
        let mut free = Command::new("setpriv");
        free.args(["--pdeathsig", "TERM", "--", "env", "--default-signal=CHLD,HUP,INT,TERM"]);
        free.arg(command.get_program()).args(command.get_args());
        free.current_dir(command.get_current_dir().context("a command without a folder")?);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => free.env(name, value),
                None => free.env_remove(name),
            };
        }
        free.spawn().context("can't start cargo")
    }

    /// Whether we were told to end.
    fn interrupted(&self) -> Result<bool> {
        while let Some(signal) = self.0.read_signal()? {
            if signal_of(&signal)? != Signal::SIGCHLD {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        loop {
            // SIGCHLD tells of any child, and of several but once.
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(signal) = self.0.read_signal()? {
                // Another process (a service manager) told us alone. The terminal tells our children too, and
                // nextest would take a second Ctrl-C as an order to hurry.
                let told_alone = signal.ssi_pid != 0;
                let name = signal_of(&signal)?;
                if name != Signal::SIGCHLD && told_alone {
                    kill(pid, name)?;
                }
            }
        }
    }
}

fn signal_of(signal: &siginfo) -> Result<Signal> {
    Ok(Signal::try_from(i32::try_from(signal.ssi_signo)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_named_replace_the_whole_workspace() {
        let named = |args: &[&str]| names_packages(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(named(&["-p", "store"]) && named(&["--package=store"]));
        assert!(!named(&["--no-capture"]) && !named(&[]));
    }
}
