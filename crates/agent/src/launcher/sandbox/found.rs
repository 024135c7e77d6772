//! What a run's files say about it, and its shim, live or without a record.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use domain::task::{self, Exit};
use launch::{Limit, Shim, Stray};
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_blocking;

use super::PID_FILE;
use crate::descriptor::readable;
use crate::launcher::{Doing, Found, Kill, Outlived, Process, Run};

/// Pause before something that the machine refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the files of a run's directory say.
#[derive(Debug)]
enum Said {
    /// How, and whether it was started at all.
    Ended(launch::Exit, bool),
    Live(Shim),
    Gone,
    Unstarted {
        incomplete: bool,
    },
}

/// Looks at a run's directory.
pub(super) async fn look(run: &Run) -> io::Result<Found> {
    let dir = run.dir.clone();
    Ok(match spawn_blocking(move || said(&dir)).await.map_err(io::Error::from).flatten()? {
        Said::Ended(exit, began) => {
            tell_of(&exit);
            Found::Ended { exit: told(&exit), began }
        }
        Said::Live(shim) => Found::Live(Box::new(Watched::new(shim)?)),
        Said::Gone => Found::Gone,
        Said::Unstarted { incomplete } => Found::Unstarted { incomplete },
    })
}

fn said(dir: &Path) -> io::Result<Said> {
    // A shim says that it took the run on before it starts anything; a log alone may be the agent's, of a run that waits.
    let began = || dir.join(PID_FILE).exists();
    if let Some(exit) = launch::read_exit(dir)? {
        return Ok(Said::Ended(exit, began()));
    }
    if let Some(shim) = Shim::open(dir)? {
        return Ok(Said::Live(shim));
    }
    // It may have ended between the two looks.
    if let Some(exit) = launch::read_exit(dir)? {
        return Ok(Said::Ended(exit, began()));
    }
    if let Some(exit) = launch::read_unfinished_exit(dir)? {
        return Ok(Said::Ended(exit, began()));
    }
    if began() {
        return Ok(Said::Gone);
    }
    // Whatever else is wrong with its description, the shim says.
    let incomplete = launch::read_spec(dir).is_ok_and(|spec| spec.unfinished);
    Ok(Said::Unstarted { incomplete })
}

/// What is wrong with the machine its administrator hears, besides the task's owner.
fn tell_of(exit: &launch::Exit) {
    if let (Some(launch::Fault::Machine), Some(why)) = (exit.fault, &exit.failure) {
        tracing::error!("the task couldn't be run, which is this machine's fault: {why}");
    }
}

/// A shim that is watched.
#[derive(Debug)]
struct Watched {
    shim: Shim,
    /// Readable when it has exited.
    exited: AsyncFd<OwnedFd>,
}

impl Watched {
    fn new(shim: Shim) -> io::Result<Self> {
        let exited = shim.pidfd().try_clone_to_owned().and_then(readable)?;
        Ok(Self { shim, exited })
    }
}

impl Process for Watched {
    fn ended(&self) -> Doing<'_, ()> {
        // An error means that the runtime is shutting down.
        Box::pin(async { drop(self.exited.readable().await) })
    }

    fn kill(&self, how: Kill) -> io::Result<()> {
        ask(&self.shim, how)
    }
}

fn ask(shim: &Shim, how: Kill) -> io::Result<()> {
    match how {
        Kill::WithGrace => shim.kill(),
        Kill::Now => shim.kill_now(),
        Kill::ForRoom => shim.end_for_room(),
        Kill::Destroy => shim.destroy(),
    }
}

/// A shim without a record.
pub(super) fn outlived(stray: Stray) -> Box<dyn Outlived> {
    Box::new(OfStray(stray))
}

#[derive(Debug)]
struct OfStray(Stray);

impl Process for OfStray {
    fn ended(&self) -> Doing<'_, ()> {
        Box::pin(async {
            loop {
                match self.0.shim().pidfd().try_clone_to_owned().and_then(readable) {
                    Ok(exited) => return drop(exited.readable().await),
                    Err(e) => tracing::error!("the task's supervisor can't be watched, trying again: {e}"),
                }
                tokio::time::sleep(RETRY).await;
            }
        })
    }

    fn kill(&self, how: Kill) -> io::Result<()> {
        ask(self.0.shim(), how)
    }
}

impl Outlived for OfStray {
    fn save_log(&self, dir: &Path) -> io::Result<()> {
        self.0.save_log(dir)
    }

    fn exit(&self) -> Option<Exit> {
        self.0.exit().as_ref().map(told)
    }
}

/// An end in the master's words.
fn told(exit: &launch::Exit) -> Exit {
    let limit = exit.limit.map(|limit| match limit {
        Limit::Memory => task::Limit::Memory,
        Limit::Scratch => task::Limit::Scratch,
        Limit::Log => task::Limit::Log,
    });
    Exit {
        code: exit.code,
        signal: exit.signal,
        killed: exit.killed,
        failure: exit.failure.as_deref().map(Into::into),
        limit,
        fault: whose(exit),
    }
}

/// Whose doing an end was; shims of before don't say all of it.
fn whose(exit: &launch::Exit) -> Option<task::Fault> {
    if exit.killed {
        return Some(task::Fault::Ended);
    }
    match (exit.fault, exit.limit) {
        (Some(launch::Fault::Task), _) => Some(task::Fault::Task),
        (Some(launch::Fault::Machine | launch::Fault::Passing), _) => Some(task::Fault::Launch),
        (Some(launch::Fault::Lost), _) => Some(task::Fault::Lost),
        (None, Some(limit)) => match (limit, exit.limit_is_shared?) {
            (Limit::Memory, true) => Some(task::Fault::Memory),
            (Limit::Scratch | Limit::Log, true) => Some(task::Fault::Disk),
            (_, false) => Some(task::Fault::Task),
        },
        (None, None) => exit.failure.is_none().then_some(task::Fault::Task),
    }
}

/// An end in the shim's words.
pub(super) fn noted(exit: &Exit) -> launch::Exit {
    let limit = exit.limit.and_then(|limit| match limit {
        task::Limit::Memory => Some(Limit::Memory),
        task::Limit::Scratch => Some(Limit::Scratch),
        task::Limit::Log => Some(Limit::Log),
        task::Limit::Time => None,
    });
    launch::Exit {
        code: exit.code,
        signal: exit.signal,
        killed: exit.killed,
        failure: exit.failure.as_ref().map(ToString::to_string),
        limit,
        limit_is_shared: match exit.fault {
            Some(task::Fault::Memory | task::Fault::Disk) => Some(true),
            fault => fault.filter(|_| limit.is_some()).map(|_| false),
        },
        fault: match exit.fault {
            Some(task::Fault::Lost) => Some(launch::Fault::Lost),
            Some(task::Fault::Launch) => Some(launch::Fault::Machine),
            Some(task::Fault::Task) if exit.failure.is_some() => Some(launch::Fault::Task),
            _ => None,
        },
    }
}
