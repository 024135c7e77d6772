//! How a master deals with the batch system: what it wants is compared with what there is, again and again, and whatever
//! differs is asked for. Nothing is remembered that couldn't be found out again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::master::Error;
use ::master::manager::{Around, Heard, Reports, ResourceManager};
use api::agent::Start;
use domain::allocation::{Part, Placement};
use domain::id::{AgentId, AllocationId, ResourcePool};
use domain::scheduler::{Decision, Round, Running, Waiting, Why};
use tokio::sync::Notify;

use super::{Batch, Job, No, SLOW, Stage, Wish};

pub(super) struct Manager(Arc<Inner>);

struct Inner {
    batch: Batch,
    mirror: Mutex<Mirror>,
    poke: Notify,
}

/// A run's job, by its number there.
type Jobs = BTreeMap<AllocationId, (u64, Job)>;

/// What is known of both sides.
#[derive(Default)]
struct Mirror {
    /// What there is; nothing before the first answer.
    seen: Option<Jobs>,
    away: bool,
    /// What it will never run, and why.
    refused: BTreeMap<AllocationId, String>,
    /// Nothing before the master's first round.
    desired: Option<Desired>,
}

/// What the master wants.
#[derive(Debug, Clone, Default)]
struct Desired {
    wanted: BTreeMap<AllocationId, Wish>,
    /// What has its place.
    placed: BTreeSet<AllocationId>,
    ending: BTreeSet<AllocationId>,
    orders: BTreeMap<AllocationId, Start>,
}

impl Mirror {
    fn stage(&self, run: AllocationId) -> Option<&Stage> {
        self.seen.as_ref()?.get(&run).map(|(_, job)| &job.stage)
    }

    fn is_ordered(&self, run: AllocationId) -> bool {
        self.desired.as_ref().is_some_and(|desired| desired.orders.contains_key(&run))
    }

    fn waiting(&self, run: &Waiting, ahead: usize) -> Decision {
        let allocation = run.allocation;
        if let Some(reason) = self.refused.get(&allocation) {
            return Decision::Refuse { allocation, reason: format!("the batch system refuses it: {reason}") };
        }
        let why = match self.stage(allocation) {
            _ if self.away => "the batch system doesn't answer",
            Some(Stage::Up(node)) => return place(allocation, node, run.slots),
            Some(_) => "it waits in the batch system's own queue for: Resources",
            None => "it is being submitted to the batch system",
        };
        Decision::Wait { allocation, why: Why::Told(why.into()), ahead }
    }

    fn running(&self, run: &Running) -> Option<Decision> {
        let allocation = run.allocation;
        let known = self.seen.as_ref().filter(|_| !self.away)?;
        match known.get(&allocation).map(|(_, job)| &job.stage) {
            None => {
                let reason = "the batch system has no such job any more".to_owned();
                Some(Decision::Lost { allocation, reason })
            }
            // What it was to be told got lost.
            Some(Stage::Up(node)) if !run.ending && !self.is_ordered(allocation) => {
                let slots = run.on.iter().map(|part| part.slots.len()).sum::<usize>();
                Some(place(allocation, node, u32::try_from(slots).unwrap_or_default()))
            }
            Some(_) => None,
        }
    }
}

fn place(allocation: AllocationId, node: &AgentId, slots: u32) -> Decision {
    Decision::Place { allocation, on: vec![Part { agent: node.clone(), slots: (0..slots).collect() }] }
}

impl Manager {
    pub(super) fn new(batch: Batch) -> Self {
        Self(Arc::new(Inner { batch, mirror: Mutex::default(), poke: Notify::new() }))
    }
}

impl ResourceManager for Manager {
    fn begin(&self, reports: Reports) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut told = BTreeMap::new();
            let turns = async {
                loop {
                    tokio::select! {
                        () = inner.poke.notified() => {}
                        () = tokio::time::sleep(SLOW) => {}
                    }
                    // What it couldn't ask or tell it asks and tells in the next one.
                    let _ = inner.turn(&reports, &mut told).await;
                }
            };
            // As a crash does: in the midst of it.
            tokio::select! {
                () = reports.stopped() => {}
                () = turns => {}
            }
        });
    }

    fn decide(&self, round: &mut Round<'_>, pools: &[ResourcePool]) -> Vec<Decision> {
        let mut mirror = self.0.mirror();
        let (mut decisions, mut desired) = (Vec::new(), Desired::default());
        for pool in pools {
            let (offered, others) = round.offer(pool);
            decisions.extend(others);
            for offered in offered {
                let Waiting { allocation: run, slots, priority, .. } = *offered.run;
                desired.wanted.insert(run, Wish { run, slots, priority, ahead: offered.ahead });
                decisions.push(mirror.waiting(offered.run, offered.ahead));
            }
            for run in round.running(pool) {
                desired.placed.insert(run.allocation);
                if run.ending {
                    desired.ending.insert(run.allocation);
                }
                decisions.extend(mirror.running(run));
            }
        }
        desired.orders = mirror.desired.take().map(|before| before.orders).unwrap_or_default();
        mirror.desired = Some(desired);
        drop(mirror);
        self.0.poke.notify_one();
        decisions
    }

    fn around(&self, _: AllocationId, _: &AgentId) -> Option<Around> {
        Some(Around { master_url: "http://login.cluster.example:8080".to_owned(), gpus: false })
    }

    fn launch(&self, _: &AgentId, start: Start) {
        let (mut mirror, run) = (self.0.mirror(), start.allocation);
        let Some(desired) = &mut mirror.desired else { return };
        // It isn't to be submitted again when it is over before the next round.
        desired.wanted.remove(&run);
        desired.placed.insert(run);
        desired.orders.insert(run, start);
        self.0.poke.notify_one();
    }

    fn cancel(&self, run: AllocationId, _: &Placement, _: bool) {
        if let Some(desired) = &mut self.0.mirror().desired {
            desired.ending.insert(run);
        }
        self.0.poke.notify_one();
    }
}

/// What was told of a run, and what is known to have arrived of its log.
#[derive(Default)]
struct Told {
    started: bool,
    log: u64,
}

impl Inner {
    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self, reports: &Reports, told: &mut BTreeMap<AllocationId, Told>) -> Result<(), No> {
        let listed = self.batch.list().await;
        let was_away = std::mem::replace(&mut self.mirror().away, listed.is_err());
        if was_away != listed.is_err() {
            reports.changed();
        }
        let mut jobs = Jobs::new();
        for (number, job) in listed? {
            // An answer that got lost, and a master that died of it, can have made two jobs of one run.
            match jobs.entry(job.wish.run) {
                Entry::Vacant(first) => drop(first.insert((number, job))),
                Entry::Occupied(_) => self.batch.cancel(number).await?,
            }
        }
        let desired = self.mirror().desired.clone();
        let Some(Desired { wanted, placed, ending, orders }) = desired else {
            self.know(jobs, reports, &[]);
            return Ok(());
        };
        for (run, (number, job)) in &jobs {
            let is_wanted = (wanted.contains_key(run) || placed.contains(run)) && !ending.contains(run);
            if !is_wanted && !matches!(job.stage, Stage::Over(..)) {
                self.batch.cancel(*number).await?;
            }
        }
        // In the order of our queue, which is the batch system's where priorities are alike.
        let mut wishes: Vec<_> = wanted.iter().collect();
        wishes.sort_by_key(|(_, wish)| wish.ahead);
        for (run, wish) in wishes {
            if jobs.contains_key(run) || self.mirror().refused.contains_key(run) {
                continue;
            }
            let submitted = self.batch.submit(wish.clone()).await;
            let Err(No::Never(reason)) = submitted else {
                submitted?;
                continue;
            };
            self.mirror().refused.insert(*run, reason);
            reports.changed();
        }
        let mut ordered = Vec::new();
        for (run, start) in orders {
            if let Some((number, job)) = jobs.get_mut(&run)
                && let Stage::Up(node) = &job.stage
                && !ending.contains(&run)
            {
                self.batch.order(*number, start.clone()).await?;
                job.stage = Stage::Ordered(node.clone(), super::Order(Box::new(start)));
            }
            ordered.push(run);
        }
        self.know(jobs.clone(), reports, &ordered);
        for (run, (number, job)) in &jobs {
            let told = told.entry(*run).or_default();
            if tell(reports, *run, &job.stage, told).await.unwrap_or_default() {
                self.batch.forget(*number).await?;
            }
        }
        told.retain(|run, _| jobs.contains_key(run));
        Ok(())
    }

    /// What there is, and what was ordered.
    fn know(&self, jobs: Jobs, reports: &Reports, ordered: &[AllocationId]) {
        let mut mirror = self.mirror();
        if let Some(desired) = &mut mirror.desired {
            desired.orders.retain(|run, _| !ordered.contains(run));
        }
        let is_news = mirror.seen.as_ref() != Some(&jobs);
        mirror.seen = Some(jobs);
        drop(mirror);
        if is_news {
            reports.changed();
        }
    }
}

/// Tells what happened to a run, all of it twice. Answers whether it may be forgotten.
async fn tell(reports: &Reports, run: AllocationId, stage: &Stage, told: &mut Told) -> Result<bool, Error> {
    let (Stage::Running(node, log) | Stage::Over(node, log, _)) = stage else { return Ok(false) };
    if !told.started {
        reports.started(node, run).await?;
        reports.started(node, run).await?;
        told.started = true;
    }
    let from = usize::try_from(told.log).unwrap_or_default().min(log.len());
    let new = log.get(from..).unwrap_or_default().to_vec();
    if !new.is_empty() {
        told.log = reports.log(node, run, told.log, new.clone()).await?.offset;
        reports.log(node, run, from as u64, new).await?;
    }
    let Stage::Over(_, _, exit) = stage else { return Ok(false) };
    let mut may_forget = false;
    for _ in 0..2 {
        match reports.exited(node, run, exit.clone(), log.len() as u64).await? {
            Heard::Forget => may_forget = true,
            Heard::SendFrom(offset) => told.log = offset,
            Heard::Later => {}
        }
    }
    if may_forget {
        // Late.
        reports.started(node, run).await?;
    }
    Ok(may_forget)
}
