//! What starts tasks on this machine. The agent knows runs, their directories and their logs; what a run is made of, and
//! who sees it through while there is no agent, is its launcher's. The first one is the [`sandbox`]; tests have another.
//!
//! ```text
//! check ─ prepare ─ (complete) ─ start ─┐
//!                                     adopt ── Live ── kill ── Ended ── forget | put_away
//! found on disk by a new agent ─────────┘
//! ```
//!
//! What both sides hold to, and `tests/agents/contract.rs` holds every launcher to:
//!
//! - A run has one directory, [`Run::dir`], and no other launcher or run writes there. `prepare` makes it, whole or not at all;
//!   all that a later agent needs for `adopt` is in it.
//! - The output is in [`LOG_FILE`] there, as records of [`domain::log`], appended while the task runs, whether an agent is
//!   there or not. Before `start` the agent writes there itself.
//! - [`CONTEXT_FILE`] there, if the agent put it there before `start`, is unpacked into the work directory first.
//! - A task outlives the agent, and so does what tells how it ended. `adopt` never begins anything.
//! - Repeating an act changes nothing: `prepare` of the same run, `start` of one that runs or is over, `kill` of one that ends.
//! - A run whose end is told, by the launcher or by `conclude`, never begins again.

mod error;
pub mod sandbox;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use api::agent::Start;
use domain::capability::Capabilities;
use domain::id::AllocationId;
use domain::task::Exit;
use tokio_util::sync::CancellationToken;

use crate::environment::Prepared;

pub use error::{Fault, LaunchError, Refusal};
pub(crate) use sandbox::passes;

/// The log in a run's directory.
pub const LOG_FILE: &str = "log";

/// A packed context directory in a run's directory (gzip, tar).
pub const CONTEXT_FILE: &str = "context.tar.gz";

/// Exit status of a run that couldn't be begun.
pub const NEVER_BEGAN: i32 = 125;

/// What a launcher does.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One run on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// It.
    pub id: AllocationId,
    /// Where all of it is. Made by [`Launcher::prepare`].
    pub dir: PathBuf,
}

impl Run {
    /// That of an agent whose runs have their directories in `tasks`.
    #[must_use]
    pub fn new(tasks: &Path, id: AllocationId) -> Self {
        Self { id, dir: tasks.join(id.to_string()) }
    }
}

/// What is to be run.
#[derive(Debug)]
pub struct Order<'a> {
    /// The master's words.
    pub start: &'a Start,
    /// Whose master says them: by accounts of another one are others. Empty when that isn't known.
    pub master: &'a str,
    /// The Python that the task has besides the machine's.
    pub python: Python<'a>,
}

/// The Python of a task.
#[derive(Debug, Clone, Copy)]
pub enum Python<'a> {
    /// None is given to it.
    None,
    /// It is still being made: [`Launcher::complete`] comes before [`Launcher::start`].
    Later,
    /// This one.
    Now(&'a Prepared),
}

/// What became of a run.
#[derive(Debug)]
pub enum Found {
    /// It was prepared and not started.
    Unstarted {
        /// [`Launcher::complete`] hasn't come yet.
        incomplete: bool,
    },
    /// It is seen through.
    Live(Box<dyn Process>),
    /// It is over.
    Ended {
        /// How it ended.
        exit: Exit,
        /// It was started at all.
        began: bool,
    },
    /// It was started, and whoever saw it through is gone without a word.
    Gone,
}

/// A run that goes on: whoever sees it through.
pub trait Process: fmt::Debug + Send + Sync {
    /// Resolves when it is over; [`Launcher::adopt`] then says how. Can be dropped and asked again.
    fn ended(&self) -> Doing<'_, ()>;

    /// Asks for its end.
    ///
    /// # Errors
    /// When it can't be asked; that it has just ended is no error.
    fn kill(&self, how: Kill) -> io::Result<()>;
}

/// How a run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// SIGTERM to all of its processes, and SIGKILL to what is left of them after [`Launcher::grace`] (B15).
    WithGrace,
    /// SIGKILL.
    Now,
    /// As [`Kill::Now`], because others need what it has of the disk: its log and its end say so (A4).
    ForRoom,
    /// And whoever sees it through with it, for it doesn't obey. Nothing is told of how it ended.
    Destroy,
}

/// What a run has of the agent's disk (A4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// The account that it belongs to, as this launcher names it.
    pub owner: Option<String>,
    /// Bytes; `u64::MAX` is more than anybody looks at.
    pub bytes: u64,
    /// Files and directories of the task's; `u64::MAX` is the same.
    pub files: u64,
    /// It is over: what it has goes by itself.
    pub over: bool,
}

/// A run that goes on and has no record in its directory (KP2). What follows can be told once it has ended.
pub trait Outlived: Process {
    /// Puts what it printed in place of the log in a directory. Blocks.
    ///
    /// # Errors
    /// What the file systems say.
    fn save_log(&self, dir: &Path) -> io::Result<()>;

    /// How it ended, if that can be seen. Blocks.
    fn exit(&self) -> Option<Exit>;
}

/// A way to run tasks on this machine. What is `async` is asked inside the runtime and may take its time; the rest blocks for
/// as long as files take.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// What it can carry out of what tasks may ask for. Told to the master, which places nothing here that asks for more.
    fn can(&self) -> Capabilities;

    /// Between SIGTERM and SIGKILL when a task is to end.
    fn grace(&self) -> Duration;

    /// Says what people should know of it when the agent starts.
    fn describe(&self) -> Doing<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether this machine can run that at all, before anything is fetched for it.
    ///
    /// # Errors
    /// A [`Refusal`].
    fn check(&self, start: &Start) -> Result<(), LaunchError>;

    /// Makes everything ready. When `stop` is cancelled nobody needs the run any more: what takes long is left, with an error.
    ///
    /// # Errors
    /// Why it can't be run; then `conclude` comes next.
    fn prepare<'a>(
        &'a self,
        run: &'a Run,
        order: Order<'a>,
        stop: &'a CancellationToken,
    ) -> Doing<'a, Result<(), LaunchError>>;

    /// Gives a run that was prepared with [`Python::Later`] what it waited for.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    fn complete<'a>(&'a self, run: &'a Run, python: &'a Prepared) -> Doing<'a, Result<(), LaunchError>>;

    /// Starts what is ready. Resolves when somebody sees it through, so that `adopt` finds it.
    ///
    /// # Errors
    /// Why nobody does, as far as that is known: `adopt` says what is so.
    fn start<'a>(&'a self, run: &'a Run) -> Doing<'a, Result<(), LaunchError>>;

    /// What became of a run, whoever started it, and before which crash.
    ///
    /// # Errors
    /// When that can't be seen now, as for want of descriptors: to be asked again.
    fn adopt<'a>(&'a self, run: &'a Run) -> Doing<'a, io::Result<Found>>;

    /// Asks for the end of a run that isn't at hand as a [`Process`].
    ///
    /// # Errors
    /// As [`Process::kill`].
    fn kill<'a>(&'a self, run: &'a Run, how: Kill) -> Doing<'a, io::Result<()>> {
        Box::pin(async move {
            match self.adopt(run).await? {
                Found::Live(process) => process.kill(how),
                Found::Unstarted { .. } | Found::Ended { .. } | Found::Gone => Ok(()),
            }
        })
    }

    /// Empties the task's own directories; nobody sees it through any more.
    ///
    /// # Errors
    /// What the file system says.
    fn empty(&self, run: &Run) -> io::Result<()>;

    /// Notes how a run ended that nobody sees through, so that it never begins again. Makes its directory if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn conclude(&self, run: &Run, exit: &Exit) -> io::Result<()>;

    /// What a run has of the disk. Millions of files take seconds.
    ///
    /// # Errors
    /// When its directory can't be read, or isn't a run's.
    fn holding(&self, run: &Run) -> io::Result<Holding>;

    /// What these have, at one moment as far as this launcher can: what is one's isn't found with another one as well.
    fn holdings(&self, runs: &[Run]) -> Vec<io::Result<Holding>> {
        runs.iter().map(|run| self.holding(run)).collect()
    }

    /// The listener at which a live task asks for the master, if it has no other way there. Every caller gets the same one.
    ///
    /// # Errors
    /// When that can't be had now.
    fn door(&self, _run: &Run) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// What runs on of a data directory and has no record there (KP2).
    fn outlived(&self, _data_dir: &Path) -> Vec<(AllocationId, Box<dyn Outlived>)> {
        Vec::new()
    }

    /// Removes all that there is of a run that is over, by its directory; one that isn't there is no error.
    ///
    /// # Errors
    /// What the file system says.
    fn forget(&self, dir: &Path) -> io::Result<()>;

    /// Moves what tells of a run that is over, and that the master has no record of, to where nothing is yet; the rest of it goes.
    ///
    /// # Errors
    /// What the file system says.
    fn put_away(&self, dir: &Path, to: &Path) -> io::Result<()> {
        fs::rename(dir, to)
    }
}
