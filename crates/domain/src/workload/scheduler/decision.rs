//! What is decided, and why something waits, in words for people.

use std::fmt;

use super::snapshot::{AUX_PER_ACCOUNT, AUX_PER_AGENT};
use crate::allocation::Part;
use crate::capability::Capabilities;
use crate::id::{AgentId, AllocationId, ResourcePool};
use crate::task::WHY;
use crate::text::Plain;

/// Why a task waits whose owner is deactivated.
pub const OWNER_DEACTIVATED: &str = "its owner is deactivated";

/// Why a task waits whose owner may no more start tasks where it was made.
pub const OWNER_SHUT_OUT: &str = "its owner may not start tasks in its workspace any more";

/// Why a task waits whose workspace was put away.
pub const WORKSPACE_ARCHIVED: &str = "its workspace is archived";

/// What is to be done with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start it there: all parts, or none.
    Place {
        /// The run.
        allocation: AllocationId,
        /// Where, on which slots.
        on: Vec<Part>,
    },
    /// It stays in the queue.
    Wait {
        /// The run.
        allocation: AllocationId,
        /// What for.
        why: Why,
        /// How many wait before it in its pool.
        ahead: usize,
    },
    /// No machine of its pool can ever give what it needs, as far as all of them are known.
    Refuse {
        /// The run.
        allocation: AllocationId,
        /// One sentence for people, with the remedy.
        reason: String,
    },
    /// It had its place, and whoever gave it doesn't have the run any more.
    Lost {
        /// The run.
        allocation: AllocationId,
        /// One sentence for people.
        reason: String,
    },
    /// It runs, and gives way: it can go on later.
    Preempt {
        /// The run.
        allocation: AllocationId,
        /// For whom.
        favoured: AllocationId,
    },
    /// It runs, and has had the time that it may have.
    Expire {
        /// The run.
        allocation: AllocationId,
    },
}

/// Why a run waits. What comes behind a colon are numbers, which change often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its owner couldn't start it now either (A14, W17): one sentence.
    Held(String),
    /// No agent is connected.
    NoAgent,
    /// Some are, but none in its pool.
    NoAgentOfPool(ResourcePool),
    /// Some are, but an administrator has none of them take tasks.
    Shut {
        /// How many are disabled.
        disabled: usize,
        /// How many drain.
        draining: usize,
    },
    /// None of those that are connected and take tasks can run it, by that sentence; others of its pool may.
    Unable(String),
    /// There is no such pool.
    NoPool(ResourcePool),
    /// No agent that is connected and takes tasks can do all that it needs. The first of them, for an example.
    Lacks(Lack),
    /// More than all agents, or the largest one, have.
    TooLarge {
        /// Slots that it needs.
        needed: u32,
        /// What there is.
        largest: u32,
        /// It may take several agents.
        together: bool,
    },
    /// For slots to be free.
    Slots {
        /// Slots that it needs.
        needed: u32,
        /// In use on agents that could run it.
        used: usize,
        /// Free there, and kept for who came before and needs more.
        kept: usize,
        /// That those have.
        all: usize,
        /// It may take several agents.
        together: bool,
    },
    /// For runs that give way to it.
    GivingWay {
        /// How many.
        runs: usize,
    },
    /// Its owner has as many tasks without slots as one account may have.
    AuxOfOwner,
    /// Every agent has as many tasks without slots as it takes.
    AuxFull,
    /// `max_slots` of its job.
    OfJob(Bound),
    /// Its owner's quota.
    OfUser(Bound),
    /// Its workspace's quota.
    OfWorkspace(Bound),
    /// What whoever gives the places of its pool says.
    Told(Plain<WHY>),
    /// It can't run at all: becomes [`Decision::Refuse`].
    Never(String),
}

/// What an agent can't do for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The agent.
    pub agent: AgentId,
    /// What the run needs and the agent hasn't.
    pub missing: Capabilities,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, missing } = self;
        write!(f, "agent {agent} can't do {missing}; with the master's version of Muster there it may")
    }
}

/// A bound on slots in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Slots that the run needs.
    pub needed: u32,
    /// In use already.
    pub used: u64,
    /// Most that may be.
    pub most: u32,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, used, most } = self;
        write!(f, "{used} of {most} are in use, and it needs {needed}")
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(reason) | Self::Never(reason) => f.write_str(reason),
            Self::Told(reason) => f.write_str(reason),
            Self::NoAgent => f.write_str("no agent is connected"),
            Self::NoAgentOfPool(pool) => {
                write!(f, "resource pool {pool} has no connected agent; other pools have (muster agent list)")
            }
            Self::Shut { disabled, draining } => write!(
                f,
                "the connected agents take no tasks until an administrator enables one (muster agent enable NAME): \
                 {disabled} disabled, {draining} draining"
            ),
            Self::Lacks(lack) => write!(f, "no connected agent can do all that it needs: {lack}"),
            Self::Unable(reason) => {
                write!(
                    f,
                    "it waits for other agents of its pool, that aren't connected or take no tasks: {reason}"
                )
            }
            Self::NoPool(pool) => write!(f, "there is no resource pool {pool}"),
            Self::TooLarge { needed, largest, together: false } => {
                write!(f, "it needs {needed} slots on one agent; the largest connected one has {largest}")
            }
            Self::TooLarge { needed, largest, together: true } => write!(
                f,
                "it needs {needed} slots in equal parts; the connected agents can't give that: {largest} in all"
            ),
            Self::Slots { needed, used, kept, all, together } => {
                let plural = match (needed, together) {
                    (1, _) => "slot",
                    (_, false) => "slots on one agent",
                    (_, true) => "slots",
                };
                write!(f, "it waits for {needed} {plural}: {used} of {all} are in use")?;
                // Else it would seem that it could run.
                if *kept > 0 { write!(f, ", and {kept} kept for a larger task before it") } else { Ok(()) }
            }
            Self::GivingWay { runs } => write!(f, "it waits for less urgent runs to give way: {runs}"),
            Self::AuxOfOwner => write!(
                f,
                "its owner already runs {AUX_PER_ACCOUNT} tasks without slots on every agent that has room for more: the \
                 last quarter is for others"
            ),
            Self::AuxFull => write!(f, "every agent already runs {AUX_PER_AGENT} tasks without slots"),
            Self::OfJob(bound) => write!(f, "its job may have no more slots: {bound}"),
            Self::OfUser(bound) => write!(f, "its owner may have no more slots: {bound}"),
            Self::OfWorkspace(bound) => write!(f, "its workspace may have no more slots: {bound}"),
        }
    }
}
