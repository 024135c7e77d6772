//! The process around a role: runtime, log output, signals.

use anyhow::{Context as _, Result};
use master::own_log::OwnLog;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::own_log;

/// Most threads for work on files; each costs memory after it has worked, and the disk has no more to give.
const BLOCKING_THREADS: usize = 32;

/// Runs a role on a runtime of its own, with its log on standard error.
pub(super) fn block_on<T>(role: impl Future<Output = Result<T>>) -> Result<T> {
    block_on_with_log(|_| role)
}

/// The same for a role that shows its log to others.
pub(super) fn block_on_with_log<T, R: Future<Output = Result<T>>>(
    role: impl FnOnce(OwnLog) -> R,
) -> Result<T> {
    let role = role(own_log::start());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    let runtime = runtime.context("starting the runtime")?;
    let result = runtime.block_on(role);
    // Blocking work that is still under way must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// How a role is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// SIGINT, SIGTERM or the end of the terminal: tasks go on.
    LeaveTasks,
    /// SIGUSR1, from `muster down`: tasks are ended first.
    EndTasks,
}

/// Waits for the signals that end a role.
pub(super) struct Endings {
    hangup: Signal,
    /// It was started on a terminal, and ends with it.
    on_terminal: bool,
    interrupt: Signal,
    terminate: Signal,
    down: Signal,
}

/// Starts to listen for them; from here on they don't kill the process.
pub(super) fn endings() -> Result<Endings> {
    let listen = |kind| signal(kind).context("listening for signals");
    Ok(Endings {
        hangup: listen(SignalKind::hangup())?,
        on_terminal: std::io::IsTerminal::is_terminal(&std::io::stdin()),
        interrupt: listen(SignalKind::interrupt())?,
        terminate: listen(SignalKind::terminate())?,
        down: listen(SignalKind::user_defined1())?,
    })
}

impl Endings {
    /// The next one.
    pub(super) async fn next(&mut self) -> Ending {
        loop {
            return tokio::select! {
                _ = self.interrupt.recv() => Ending::LeaveTasks,
                _ = self.terminate.recv() => Ending::LeaveTasks,
                _ = self.down.recv() => Ending::EndTasks,
                _ = self.hangup.recv() => {
                    if self.on_terminal {
                        return Ending::LeaveTasks;
                    }
                    tracing::info!("SIGHUP: certificates are looked at by themselves, other settings at the next start");
                    continue;
                }
            };
        }
    }
}
