//! Who runs next and where: a pure function of a [`Snapshot`], pool by pool.
//!
//! - **Order** ([`order`]): by priority (lower first), then by submission; or by fair share between users.
//! - **Place** ([`board`]): a run takes all its slots on one agent, on the fullest one that has them free. A gang, which no
//!   agent is large enough for, takes equal parts on as few agents as can be, all or nothing.
//! - **Reservation**: the first that doesn't fit keeps the agents that will be free for it soonest; what comes behind it
//!   uses the others, or is known to be over by then. So a large job isn't starved by a stream of small ones. Nothing is
//!   remembered from round to round: what is kept gets nothing new, so it only comes nearer to being free.
//! - **Preemption**: where a pool allows it, what is more urgent ends runs that are less urgent *and can go on later*.
//! - **Bounds**: `max_slots` of a job, quotas of users and workspaces, a limit on running time. Who waits for a bound of
//!   its own keeps its place in the queue, and nobody from theirs.

mod board;
mod decision;
mod order;
mod snapshot;
mod usage;

use std::collections::BTreeMap;

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
/// gets exactly one decision; the order of those that wait is the order of the queue.
#[must_use]
pub fn schedule(snapshot: &Snapshot) -> Vec<Decision> {
    let mut decisions = Vec::with_capacity(snapshot.waiting.len());
    for run in snapshot.running.iter().filter(|run| !run.ending) {
        if run.ends_by.is_some_and(|by| by <= snapshot.now) {
            decisions.push(Decision::Expire { allocation: run.allocation });
        }
    }
    let mut usage = Usage::of(snapshot);
    let mut pools: BTreeMap<&ResourcePool, Vec<&Waiting>> = BTreeMap::new();
    for run in &snapshot.waiting {
        pools.entry(&run.pool).or_default().push(run);
    }
    for (pool, waiting) in pools {
        match snapshot.pools.get(pool) {
            Some(policy) => decide_pool(snapshot, pool, *policy, waiting, &mut usage, &mut decisions),
            None => decisions.extend(waiting.into_iter().enumerate().map(|(ahead, run)| Decision::Wait {
                allocation: run.allocation,
                why: Why::NoPool(pool.clone()),
                ahead,
            })),
        }
    }
    decisions
}

fn decide_pool(
    snapshot: &Snapshot,
    pool: &ResourcePool,
    policy: Policy,
    waiting: Vec<&Waiting>,
    usage: &mut Usage,
    decisions: &mut Vec<Decision>,
) {
    let mut board = Board::new(snapshot, pool, policy);
    let mut queue = Queue::new(policy.order, waiting, &snapshot.quotas, usage);
    let mut ahead = 0;
    while let Some(run) = queue.next(usage) {
        let outcome = match own_bound(run, usage) {
            Some(why) => Err(why),
            None => board.place(run),
        };
        match outcome {
            Ok(on) => {
                usage.add(run.owner, run.workspace, run.job, run.slots);
                queue.placed(run, usage);
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
}

/// What keeps a run waiting whatever is free.
fn own_bound(run: &Waiting, usage: &Usage) -> Option<Why> {
    run.held.clone().map(Why::Held).or_else(|| usage.bound(run))
}

#[cfg(test)]
mod tests;
