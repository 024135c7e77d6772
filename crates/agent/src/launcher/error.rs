//! Why a run can't be begun: whose business it is to change something is told by the type. The words are for people.

use std::io;

use domain::agent::CannotGive;
use domain::capability::Capabilities;
use domain::config::Network;
use domain::id::AgentId;
use domain::identity::{InvalidIdentity, MachineNumber};
use domain::system_ids::SystemId;

use super::sandbox::passes;
use crate::context::NotFetched;

/// Whose business it is that something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The task asks for what it can't have here: it would fail again.
    Task,
    /// The machine or its set-up: an administrator's.
    Machine,
    /// Nobody's: it passes, and can be tried again.
    Passing,
}

/// Why a launcher can't begin a run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It asks for what it can't have here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its directory can't be made.
    #[error("the task's directory couldn't be made on the agent: {0}")]
    Directory(#[source] io::Error),
    /// Its context directory couldn't be had.
    #[error("the context directory couldn't be fetched: {0}")]
    NotFetched(#[from] NotFetched),
    /// Its context directory can't be stored.
    #[error("the context directory couldn't be stored: {0}")]
    Context(#[source] io::Error),
    /// What it waited for can't be added.
    #[error("the task's description couldn't be written: {0}")]
    Description(#[source] io::Error),
    /// Who is to see it through can't be started.
    #[error("the task's supervisor couldn't be started: {0}")]
    Supervisor(#[source] io::Error),
    /// Who is to see it through ended at once.
    #[error("{}", died(.status, .words))]
    SupervisorDied {
        /// How.
        status: std::process::ExitStatus,
        /// What it said.
        words: String,
        /// It said that this passes.
        passing: bool,
    },
    /// Who is to see it through wasn't up in time.
    #[error("the task's supervisor wasn't up within {0:?}")]
    SupervisorSilent(std::time::Duration),
    /// What earlier runs of its account had on the disk can't be removed (ML1).
    #[error(
        "what {0} of its account's earlier tasks had on this agent's disk can't be removed: a process outside of them holds \
         their directories. It is one of that account's on the agent's machine: end it, and tasks begin again"
    )]
    Leftovers(usize),
    /// Nobody needs it any more.
    #[error("the task was killed before it began")]
    Stopped,
}

fn died(status: &std::process::ExitStatus, words: &str) -> String {
    format!("the task's supervisor couldn't be started: {status} {words}").trim_end().to_owned()
}

impl LaunchError {
    /// Whose business it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_) | Self::NotFetched(NotFetched::TooLarge) => Fault::Task,
            Self::NotFetched(why) if why.passes() => Fault::Passing,
            Self::NotFetched(NotFetched::Stored(e) | NotFetched::Named(e)) => of_io(e),
            Self::NotFetched(_) => Fault::Machine,
            Self::Directory(e) | Self::Context(e) | Self::Description(e) | Self::Supervisor(e) => of_io(e),
            Self::SupervisorDied { passing: true, .. }
            | Self::SupervisorSilent(_)
            | Self::Leftovers(_)
            | Self::Stopped => Fault::Passing,
            Self::SupervisorDied { passing: false, .. } => Fault::Machine,
        }
    }
}

fn of_io(error: &io::Error) -> Fault {
    if passes(error) { Fault::Passing } else { Fault::Machine }
}

/// Why a task can't run on this machine, whatever is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No machine tells so many accounts apart.
    #[error("its account has number {0}, and machines tell {most} accounts apart: update the master", most = MachineNumber::SPACE)]
    Account(u32),
    /// More network than the administrator gives.
    #[error(
        "network: {wanted} is more than agent {agent} gives its tasks, which is {most}: leave it out, or ask the \
         administrator for `agent.network: {wanted}` there"
    )]
    Network {
        /// The agent.
        agent: AgentId,
        /// What the task asks for.
        wanted: Network,
        /// What there is.
        most: Network,
    },
    /// To each account its own user's files would be everybody's (F12).
    #[error(
        "bind_mounts: agent {0} isn't root and takes tasks of every account, so that all of them would have the files \
         of its own user: its administrator has to name the folders that may be mounted, as in \
         `agent.bind_prefixes: [/data]`"
    )]
    BindMounts(AgentId),
    /// A mount in a way that isn't known here.
    #[error("bind_mounts: propagation '{0}' is not known to this agent")]
    Propagation(String),
    /// The agent can't become that user.
    #[error(transparent)]
    Identity(#[from] CannotGive),
    /// Nobody is, or has to be, such a user.
    #[error(transparent)]
    Incomplete(#[from] InvalidIdentity),
    /// An id of the system's (A11).
    #[error("agent {agent}: {why}")]
    System {
        /// The agent.
        agent: AgentId,
        /// Which, and what to do.
        why: SystemId,
    },
    /// It makes no sense, in the launcher's words.
    #[error("{0}")]
    Senseless(String),
    /// What this launcher can't do at all. The master knows, and doesn't place such a task here.
    #[error("this agent can't do {0}")]
    Unable(Capabilities),
}
