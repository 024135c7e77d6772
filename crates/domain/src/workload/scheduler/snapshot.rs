//! What the scheduler decides on: pools, machines, what waits and what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Power;
use crate::allocation::Part;
use crate::capability::Capabilities;
use crate::hash::IdMap;
use crate::id::{AgentId, AllocationId, JobId, ResourcePool, UserId, WorkspaceId};
use crate::identity::UnixIdentity;
use crate::time::Timestamp;

/// Tasks without slots that one agent takes at a time.
pub const AUX_PER_AGENT: usize = 100;

/// Of them, one account's: whatever one wants, others find places on every agent (A12).
pub const AUX_PER_ACCOUNT: usize = AUX_PER_AGENT * 3 / 4;

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The moment.
    pub now: Timestamp,
    /// Resource pools.
    pub pools: BTreeMap<ResourcePool, Policy>,
    /// Those of them whose places somebody else gives, who has nodes and a queue of his own: what is placed there is on none
    /// of these machines, whatever its node is called.
    pub elsewhere: BTreeSet<ResourcePool>,
    /// Connected agents, no two of one name.
    pub machines: Vec<Machine>,
    /// Pools with agents that aren't connected: nobody knows what those could give.
    pub absent: BTreeSet<ResourcePool>,
    /// What waits. Runs that are in the order of the queue already needn't be sorted.
    pub waiting: Vec<Arc<Waiting>>,
    /// Why some of that may not start now, whatever is free: its owner couldn't start it there either (A14, W17).
    pub held: IdMap<AllocationId, String>,
    /// What has a place, on connected agents or elsewhere.
    pub running: Vec<Running>,
    /// What users and workspaces may have.
    pub quotas: Quotas,
    /// The account of P1.
    pub default_user: Option<UserId>,
}

/// How a pool is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Who comes first.
    pub order: Order,
    /// What is more urgent may end what is less urgent, where that can go on later. Only with [`Order::Priority`].
    pub preemption: bool,
}

/// Who comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By priority, lower first, then by submission.
    Priority,
    /// The user with the fewest slots for his weight; of his jobs the one with the fewest for its weight. A job's weight
    /// counts among its owner's jobs alone, so that nobody takes from others by what he says of himself.
    FairShare,
}

/// A share, in thousandths: 1000 is the usual one. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// The usual one.
    pub const ONE: Self = Self(1000);

    /// From a number such as a configuration's `weight`; what is no positive number counts as the least there is.
    #[must_use]
    pub fn new(weight: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
        let thousandths = (weight * 1000.0).clamp(1.0, f64::from(u32::MAX)) as u32;
        Self(thousandths.max(1))
    }

    /// From what [`Self::thousandths`] says; 0 counts as the least there is.
    #[must_use]
    pub fn of_thousandths(thousandths: u32) -> Self {
        Self(thousandths.max(1))
    }

    /// In thousandths of the usual one.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// How much of its share somebody has who uses that many slots: comparable among all weights.
    pub(super) fn share(self, slots: u64) -> u64 {
        slots.saturating_mul(1_000_000) / u64::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// Most slots in use at a time, and shares.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    /// Of a user. Without an entry there is no bound.
    pub users: BTreeMap<UserId, u32>,
    /// Of a workspace.
    pub workspaces: BTreeMap<WorkspaceId, u32>,
    /// Users' weights, where they aren't the usual one.
    pub weights: BTreeMap<UserId, Weight>,
}

/// Whether an agent takes tasks, as administrators say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// It does.
    Open,
    /// No new ones; what runs there goes on.
    Draining,
    /// None.
    Disabled,
}

/// A connected agent.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name.
    pub id: AgentId,
    /// The pool that it is in.
    pub pool: ResourcePool,
    /// Whether it takes tasks.
    pub service: Service,
    /// Slots that may be given out.
    pub slots: BTreeSet<u32>,
    /// The identities that it can give.
    pub power: Power,
    /// What it can carry out.
    pub can: Capabilities,
}

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub allocation: AllocationId,
    /// What it belongs to.
    pub job: JobId,
    /// Where it wants to run.
    pub pool: ResourcePool,
    /// Whose it is.
    pub owner: UserId,
    /// Where it belongs.
    pub workspace: WorkspaceId,
    /// As whom it runs.
    pub identity: Arc<UnixIdentity>,
    /// What its agents have to be able to do.
    pub needs: Capabilities,
    /// Slots that it needs; 0 runs beside them.
    pub slots: u32,
    /// On how many agents.
    pub span: Span,
    /// Lower first.
    pub priority: i64,
    /// Its job's, among its owner's.
    pub weight: Weight,
    /// Position in the order of submission.
    pub seq: i64,
    /// Most slots that its job may use at a time.
    pub max_slots: Option<u32>,
    /// It runs no longer than that.
    pub at_most: Option<Duration>,
}

/// On how many agents a run may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// One.
    One,
    /// Several, with equal parts, where no single one is large enough.
    Several,
}

/// A run that has a place.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its id.
    pub allocation: AllocationId,
    /// What it belongs to.
    pub job: JobId,
    /// Whose it is.
    pub owner: UserId,
    /// Where it belongs.
    pub workspace: WorkspaceId,
    /// In which pool.
    pub pool: ResourcePool,
    /// Its place.
    pub on: Vec<Part>,
    /// Lower is more urgent.
    pub priority: i64,
    /// Position in the order of submission.
    pub seq: i64,
    /// It can go on later from where it was: never a command, a notebook or a shell.
    pub can_resume: bool,
    /// It is being ended.
    pub ending: bool,
    /// When it is over at the latest.
    pub ends_by: Option<Timestamp>,
}
