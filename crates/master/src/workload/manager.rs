//! Where work runs: what stands between the scheduler and whoever gives places and starts runs there.
//!
//! A pool names its manager. [`Agents`] are our own: where a run starts is decided by `domain::scheduler`. An outside batch
//! system decides by itself, answers late, says things twice, is away for a while, and keeps its jobs while the master is
//! restarted. Everybody else (tasks, kills, views, logs, routes) knows runs and their phases, and no manager.
//!
//! What is wanted is said whole and again and again ([`ResourceManager::decide`]), not once: so nothing that got lost between
//! the two, by whichever crash, needs to be remembered by anybody. What happened is told by [`Reports`], as often as it takes
//! until the answer is that it is recorded.
//!
//! A run gets what it is started with, and with it its token, when it has its place and that is stored. What waits in a
//! queue elsewhere is a request for room and no more: it holds no secret, and as long as nothing is launched in it nothing of
//! the task has begun. So what is killed while it waits is over at once, and two places for one run start one run.

mod agents;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::agent::Start;
use domain::allocation::Placement;
use domain::id::{AgentId, AllocationId, ResourcePool};
use domain::scheduler::{Decision, Round, Snapshot};
use domain::task::Exit;
use tokio_util::sync::CancellationToken;

pub(crate) use agents::Agents;

use crate::scheduler::{At, Scheduler};
pub use crate::scheduler::{Had, Heard};
use crate::{Config, Error};

/// The manager of pools that name none: our agents.
pub const AGENTS: &str = "agents";

/// Who gives the places of some pools. Nothing here waits: what takes time goes on behind it, and is told by [`Reports`].
pub trait ResourceManager: Send + Sync + 'static {
    /// Said once, before anything else. Whoever keeps `reports` lets go of them when [`Reports::stopped`].
    fn begin(&self, reports: Reports);

    /// Its part of a round: for each run that waits in these pools, which are all of its own, one decision; and what runs
    /// there and is lost ([`Decision::Lost`]).
    ///
    /// Who decides by himself takes what he is offered ([`Round::offer`]) as what is wanted now: what isn't among it any more,
    /// and isn't running ([`Round::running`]), is to be taken out of his queue. A run has its place with [`Decision::Place`],
    /// which may be said again as long as nothing was launched there. None that can't go on later is ever ended for another one
    /// (`can_resume`).
    fn decide(&self, round: &mut Round<'_>, pools: &[ResourcePool]) -> Vec<Decision>;

    /// What a run finds on a node of its place; `None` while nothing can be launched there.
    fn around(&self, run: AllocationId, node: &AgentId) -> Option<Around>;

    /// Starts a run's part on a node: its place is recorded. Saying it again replaces what was said and not begun.
    fn launch(&self, node: &AgentId, start: Start);

    /// Has a run end that has its place: asked first, and without any grace if `now`. What comes of it is told as any other
    /// end; it may have ended by itself meanwhile.
    fn cancel(&self, run: AllocationId, on: &Placement, now: bool);
}

/// What a run finds where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// Where the master is reached from there.
    pub master_url: String,
    /// The slots are GPUs.
    pub gpus: bool,
}

/// How a manager tells what happens. Everything may be said twice, and late.
#[derive(Clone)]
pub struct Reports {
    scheduler: Scheduler,
    manager: Arc<str>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reports").field(&self.manager).finish()
    }
}

impl Reports {
    /// What it would decide is something else now.
    pub fn changed(&self) {
        self.scheduler.wake();
    }

    /// A run's process is being started.
    ///
    /// # Errors
    /// When it couldn't be recorded: it is to be said again.
    pub async fn started(&self, node: &AgentId, run: AllocationId) -> Result<(), Error> {
        self.scheduler.started(&self.at(node), run).await
    }

    /// A piece of a run's log: whole records (`domain::log`), beginning at byte `offset` of it. Answers how far the log is
    /// here, which is where the next piece begins.
    ///
    /// # Errors
    /// When it couldn't be kept: it is to be said again.
    pub async fn log(
        &self,
        node: &AgentId,
        run: AllocationId,
        offset: u64,
        records: Vec<u8>,
    ) -> Result<Had, Error> {
        self.scheduler.logged(&self.at(node), run, offset, records).await
    }

    /// A run is over, and its log is `log_bytes` long. Answers whether it may be forgotten, or what is missing.
    ///
    /// # Errors
    /// When it couldn't be recorded: it is to be said again.
    pub async fn exited(
        &self,
        node: &AgentId,
        run: AllocationId,
        exit: Exit,
        log_bytes: u64,
    ) -> Result<Heard, Error> {
        self.scheduler.exited(&self.at(node), run, exit, log_bytes).await
    }

    /// Resolves when the master stops.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    fn at(&self, node: &AgentId) -> At {
        At { manager: Arc::clone(&self.manager), node: node.clone() }
    }
}

/// Managers other than our agents, by their names.
pub type Others = BTreeMap<String, Arc<dyn ResourceManager>>;

/// All managers, and whose each pool is.
pub(crate) struct Managers {
    /// Our own.
    pub(crate) agents: Agents,
    others: BTreeMap<Arc<str>, Arc<dyn ResourceManager>>,
    pools: BTreeMap<ResourcePool, Arc<str>>,
    of_agents: Arc<str>,
}

impl Managers {
    /// # Errors
    /// When a pool names one that there isn't.
    pub(crate) fn new(config: &Config, others: Others) -> Result<Self, Error> {
        let others: BTreeMap<Arc<str>, _> =
            others.into_iter().map(|(name, it)| (Arc::from(name), it)).collect();
        let of_agents: Arc<str> = Arc::from(AGENTS);
        let mut pools = BTreeMap::new();
        for pool in config.pools() {
            let known = others.keys().chain([&of_agents]).find(|name| ***name == *pool.manager);
            let name = known.ok_or_else(|| {
                let all: Vec<&str> = others.keys().chain([&of_agents]).map(|name| &**name).collect();
                Error::Invalid(format!(
                    "resource_pools: '{}': there is no manager '{}': leave it out, or use {}",
                    pool.pool_name,
                    pool.manager,
                    all.join(", ")
                ))
            })?;
            pools.insert(pool.name(), Arc::clone(name));
        }
        Ok(Self { agents: Agents::default(), others, pools, of_agents })
    }

    /// Whose a pool is. One that there isn't any more is nobody's, which is as good as our agents'.
    pub(crate) fn name(&self, pool: &ResourcePool) -> &Arc<str> {
        self.pools.get(pool).unwrap_or(&self.of_agents)
    }

    /// The manager of that name.
    pub(crate) fn get(&self, name: &str) -> &dyn ResourceManager {
        self.others.get(name).map_or(&self.agents, |other| &**other)
    }

    /// Pools that our agents aren't in.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = &ResourcePool> {
        self.pools.iter().filter(|(_, name)| ***name != *AGENTS).map(|(pool, _)| pool)
    }

    pub(crate) fn begin(&self, scheduler: &Scheduler, stop: &CancellationToken) {
        for (name, manager) in &self.others {
            let (scheduler, manager_name) = (scheduler.clone(), Arc::clone(name));
            manager.begin(Reports { scheduler, manager: manager_name, stop: stop.clone() });
        }
    }

    /// What is decided on all that waits, by whoever gives the places.
    pub(crate) fn decide(&self, snapshot: &Snapshot) -> Vec<Decision> {
        let mut round = Round::new(snapshot);
        let mut decisions = round.strays();
        for name in self.others.keys().chain([&self.of_agents]) {
            let own = self.pools.iter().filter(|(_, of)| *of == name);
            let own: Vec<ResourcePool> = own.map(|(pool, _)| pool.clone()).collect();
            decisions.append(&mut self.get(name).decide(&mut round, &own));
        }
        decisions
    }
}
