//! `cargo xtask test`: the test suite, with all that it talks to.
//!
//! Nothing is printed after nextest's summary, and the exit code is nextest's.

use std::process::{Child, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
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
    command
        .args(&args.nextest)
        .envs(tools.variables())
        .envs(cluster.variables());
    let mut nextest = command.spawn().context("can't start cargo")?;
    let status = signals.wait(&mut nextest)?;

    cluster.stop()?;
    Ok(exit_code(status))
}

/// `--workspace` would win over `-p`.
fn names_packages(args: &[String]) -> bool {
    args.iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
}

/// A death by signal counts as a failure.
fn exit_code(status: ExitStatus) -> ExitCode {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Signals are held while the cluster runs, and taken one by one: we outlive nextest, which ends its tests
/// on Ctrl-C, and then clean up. Children start with none held; the standard library sees to it.
struct Signals(SigSet);

impl Signals {
    /// Before the first thread is made: threads inherit what is held.
    fn hold() -> Result<Self> {
        let set = [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
            .into_iter()
            .collect();
        SigSet::thread_block(&set)?;
        Ok(Self(set))
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        loop {
            match self.0.wait()? {
                // Some child has ended; maybe this one.
                Signal::SIGCHLD => {
                    if let Some(status) = child.try_wait()? {
                        return Ok(status);
                    }
                }
                // A service manager tells us alone.
                Signal::SIGTERM => kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?,
                // The terminal tells our children too; nextest would take a second one as an order to hurry.
                _ => {}
            }
        }
    }
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
