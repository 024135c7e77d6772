//! Who runs next and where: a pure function of a [`Snapshot`], pool by pool.
//!
//! - **Order** ([`order`]): by priority (lower first), then by submission; or by fair share between users.
//! - **Place** ([`board`]): a run takes all its slots on one agent, on the fullest one that has them free. A gang, which no
//!   agent is large enough for, takes equal parts on as few agents as can be, all or nothing.
//! - **Reservation**: the first that doesn't fit keeps the agents that will be free for it soonest; what comes behind it
//!   uses the others, or is known to be over by then. So a large job isn't starved by a stream of small ones. Nothing is
//!   remembered from round to round: what is kept gets nothing new, so it only comes nearer to being free.
//! - **Elsewhere**: places of some pools are given by somebody else ([`Round::offer`]): who may start, and in which order, is
//!   decided here all the same.
//! - **Preemption**: where a pool allows it, what is more urgent ends runs that are less urgent *and can go on later*.
//! - **Bounds**: `max_slots` of a job, quotas of users and workspaces, a limit on running time. Who waits for a bound of
//!   its own keeps its place in the queue, and nobody from theirs.

mod board;
mod decision;
mod order;
mod snapshot;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use decision::{Decision, Lack, OWNER_DEACTIVATED, OWNER_SHUT_OUT, WORKSPACE_ARCHIVED, Why};
pub use snapshot::{
    AUX_PER_ACCOUNT, AUX_PER_AGENT, Machine, Order, Policy, Quotas, Running, Service, Snapshot, Span,
    Waiting, Weight,
};

pub use crate::allocation::Part;

use crate::id::ResourcePool;
use board::Board;
use order::Queue;
use usage::Usage;

/// Decides for everything that waits, and for what runs where that has to give way or has had its time. Each waiting run
/// gets exactly one decision; the order of those that wait is the order of the queue. All pools are taken to be of agents.
#[must_use]
pub fn schedule(snapshot: &Snapshot) -> Vec<Decision> {
    let mut round = Round::new(snapshot);
    let mut decisions = round.strays();
    decisions.extend(snapshot.pools.keys().flat_map(|pool| round.place(pool)));
    decisions
}

/// One round, pool by pool: what is given in one counts in the others. Whoever gives a pool's places asks for its part.
#[derive(Debug)]
pub struct Round<'a> {
    snapshot: &'a Snapshot,
    usage: Usage<'a>,
    waiting: BTreeMap<&'a ResourcePool, Vec<&'a Waiting>>,
}

/// A run that may start now, as far as it is for Muster to say.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// It.
    pub run: &'a Waiting,
    /// How many wait before it in its pool.
    pub ahead: usize,
}

impl<'a> Round<'a> {
    /// A round over all that there is.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut waiting: BTreeMap<_, Vec<_>> = BTreeMap::new();
        // Thousands in a row are of one pool.
        for runs in snapshot.waiting.chunk_by(|a, b| a.pool == b.pool) {
            if let Some(first) = runs.first() {
                waiting.entry(&first.pool).or_default().extend(runs.iter().map(Arc::as_ref));
            }
        }
        Self { snapshot, usage: Usage::of(snapshot), waiting }
    }

    /// What is decided whoever gives the places: runs that have had their time, and what waits in pools that there aren't.
    pub fn strays(&mut self) -> Vec<Decision> {
        let is_late = |run: &&Running| !run.ending && run.ends_by.is_some_and(|by| by <= self.snapshot.now);
        let late = self.snapshot.running.iter().filter(is_late);
        let mut decisions: Vec<Decision> =
            late.map(|run| Decision::Expire { allocation: run.allocation }).collect();
        for (pool, runs) in &self.waiting {
            if self.snapshot.pools.contains_key(*pool) {
                continue;
            }
            decisions.extend(runs.iter().enumerate().map(|(ahead, run)| Decision::Wait {
                allocation: run.allocation,
                why: Why::NoPool((*pool).clone()),
                ahead,
            }));
        }
        decisions
    }

    /// Decides for a pool of agents.
    pub fn place(&mut self, pool: &ResourcePool) -> Vec<Decision> {
        let Some((policy, waiting)) = self.take(pool) else { return Vec::new() };
        let mut board = Board::new(self.snapshot, pool, policy);
        let mut decisions = Vec::with_capacity(waiting.len());
        let mut queue = Queue::new(policy.order, waiting, &self.snapshot.quotas, &self.usage);
        let mut ahead = 0;
        while let Some(run) = queue.next(&self.usage) {
            let outcome = match self.own_bound(run) {
                Some(why) => Err(why),
                None => board.place(run),
            };
            match outcome {
                Ok(on) => {
                    self.usage.add(run.owner, run.workspace, run.job, run.slots);
                    queue.placed(run, &self.usage);
                    decisions.push(Decision::Place { allocation: run.allocation, on });
                }
                Err(Why::Never(reason)) => {
                    decisions.push(Decision::Refuse { allocation: run.allocation, reason });
                }
                Err(why) => {
                    decisions.push(Decision::Wait { allocation: run.allocation, why, ahead });
                    ahead += 1;
                }
            }
        }
        decisions.extend(board.preempted());
        decisions
    }

    /// For a pool whose places somebody else gives: what may start there now, in order, and what is decided of the others.
    /// What is offered counts as what runs: a bound holds in another's queue, too.
    pub fn offer(&mut self, pool: &ResourcePool) -> (Vec<Offered<'a>>, Vec<Decision>) {
        let (mut offered, mut decisions) = (Vec::new(), Vec::new());
        let Some((policy, waiting)) = self.take(pool) else { return (offered, decisions) };
        let mut queue = Queue::new(policy.order, waiting, &self.snapshot.quotas, &self.usage);
        while let Some(run) = queue.next(&self.usage) {
            let ahead = offered.len() + decisions.len();
            if let Some(why) = self.own_bound(run) {
                decisions.push(Decision::Wait { allocation: run.allocation, why, ahead });
                continue;
            }
            self.usage.add(run.owner, run.workspace, run.job, run.slots);
            queue.placed(run, &self.usage);
            offered.push(Offered { run, ahead });
        }
        (offered, decisions)
    }

    /// What has its place in a pool.
    pub fn running(&self, pool: &ResourcePool) -> impl Iterator<Item = &'a Running> {
        self.snapshot.running.iter().filter(move |run| run.pool == *pool)
    }

    /// What keeps a run waiting whatever is free.
    fn own_bound(&self, run: &Waiting) -> Option<Why> {
        let held = self.snapshot.held.get(&run.allocation);
        held.map(|why| Why::Held(why.clone())).or_else(|| self.usage.bound(run))
    }

    fn take(&mut self, pool: &ResourcePool) -> Option<(Policy, Vec<&'a Waiting>)> {
        Some((*self.snapshot.pools.get(pool)?, self.waiting.remove(pool)?))
    }
}

#[cfg(test)]
mod tests;
