//! A cluster of 1 000 agents that is given 100 000 jobs: they come by chance, fail by chance, agents go and come back.
//! Every round keeps the rules, everything comes to its end, and nobody waits much longer than those before it take.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use domain::agent::Power;
use domain::capability::Capabilities;
use domain::id::{AllocationId, JobId, ResourcePool, TaskId, UserId, WorkspaceId};
use domain::identity::UnixIdentity;
use domain::scheduler::{
    Decision, Machine, Order, Policy, Quotas, Running, Service, Snapshot, Span, Waiting, Weight, schedule,
};
use domain::time::Timestamp;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use uuid::Uuid;

use crate::rules;

const AGENTS: usize = 1_000;
const JOBS: usize = 100_000;
/// Slots of an agent.
const SLOTS: u32 = 8;
/// The longest that a job runs, in minutes.
const LONGEST: u64 = 120;
/// Jobs that come in a minute at most.
const ARRIVALS: u64 = 140;

struct Cluster {
    rng: TestRng,
    /// Minutes.
    now: i64,
    world: Snapshot,
    /// Everything that runs or waits, with how long it takes and when it came.
    jobs: HashMap<AllocationId, Job>,
    /// When what runs ends.
    ends: BinaryHeap<Reverse<(i64, AllocationId)>>,
    /// Agents that are away, and until when.
    away: Vec<(i64, Machine)>,
    /// One round of so many is looked at.
    looks: i64,
    /// How many sizes of gangs there are.
    gangs: usize,
    /// One agent of so many goes in a minute.
    fails: u64,
    made: usize,
    done: usize,
    preempted: usize,
    /// The longest time at the head of its pool's queue.
    longest_at_head: i64,
    head_since: BTreeMap<ResourcePool, (AllocationId, i64)>,
}

#[derive(Clone)]
struct Job {
    run: Waiting,
    takes: i64,
}

fn minutes(n: i64) -> Timestamp {
    Timestamp(n * 60_000_000)
}

impl Cluster {
    fn new(seed: u8, agents: usize) -> Self {
        let second: ResourcePool = "second".parse().expect("valid");
        let machine = |n: usize| Machine {
            id: format!("agent{n}").parse().expect("valid"),
            pool: if n.is_multiple_of(4) { second.clone() } else { ResourcePool::default() },
            service: Service::Open,
            slots: (0..SLOTS).collect(),
            power: Power::Root,
            can: Capabilities::ALL,
        };
        let first = Policy { order: Order::Priority, preemption: true };
        let fair = Policy { order: Order::FairShare, preemption: false };
        let quotas = Quotas { users: [(UserId(3), 400)].into(), ..Quotas::default() };
        let pools = [(ResourcePool::default(), first), (second.clone(), fair)].into();
        let machines = (0..agents).map(machine).collect();
        Self {
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]),
            now: 0,
            world: Snapshot { pools, machines, quotas, ..Snapshot::default() },
            jobs: HashMap::new(),
            ends: BinaryHeap::new(),
            away: Vec::new(),
            looks: if agents < 100 { 1 } else { 10 },
            gangs: if agents < 100 { 1 } else { 3 },
            fails: 3_000 / agents as u64,
            made: 0,
            done: 0,
            preempted: 0,
            longest_at_head: 0,
            head_since: BTreeMap::new(),
        }
    }

    fn below(&mut self, most: u64) -> u64 {
        self.rng.next_u64() % most
    }

    fn submit(&mut self) {
        let n = self.made;
        self.made += 1;
        // Most are small; few are gangs.
        let slots = match self.below(100) {
            0..5 => 0,
            5..70 => 1,
            70..85 => 2,
            85..95 => 4,
            95..99 => 8,
            _ => [16, 32, 64][n % self.gangs],
        };
        let takes = 1 + self.below(LONGEST);
        let second = self.below(4) == 0;
        let owner = 1 + i64::try_from(self.below(20)).expect("small");
        let run = Waiting {
            allocation: AllocationId::first(TaskId(Uuid::from_u128(n as u128))),
            job: JobId(Uuid::from_u128(n as u128)),
            pool: if second { "second".parse().expect("valid") } else { ResourcePool::default() },
            owner: UserId(owner),
            workspace: WorkspaceId(1),
            identity: UnixIdentity::root().into(),
            needs: Capabilities::NONE,
            slots,
            span: Span::Several,
            priority: 40 + i64::try_from(self.below(3)).expect("small"),
            weight: Weight::ONE,
            seq: i64::try_from(n).expect("small"),
            max_slots: None,
            at_most: (self.below(3) == 0).then(|| Duration::from_secs(takes * 60)),
        };
        let takes = i64::try_from(takes).expect("small");
        self.jobs.insert(run.allocation, Job { run: run.clone(), takes });
        self.world.waiting.push(run.into());
    }

    /// A minute.
    fn step(&mut self, jobs: usize) {
        self.now += 1;
        self.world.now = minutes(self.now);
        for _ in 0..self.below(ARRIVALS) {
            if self.made < jobs {
                self.submit();
            }
        }
        self.end_what_ends();
        self.come_and_go();
        let decisions = schedule(&self.world);
        // To look takes much longer than to decide.
        if self.now % self.looks == 0 {
            rules::check(&self.world, &decisions);
        }
        self.carry_out(&decisions);
    }

    fn end_what_ends(&mut self) {
        let mut over = Vec::new();
        while let Some(Reverse((at, allocation))) =
            self.ends.peek().copied().filter(|Reverse((at, _))| *at <= self.now)
        {
            self.ends.pop();
            over.push((at, allocation));
        }
        let over: HashMap<AllocationId, i64> =
            over.into_iter().map(|(at, allocation)| (allocation, at)).collect();
        let (ended, running) = std::mem::take(&mut self.world.running)
            .into_iter()
            .partition::<Vec<_>, _>(|run| over.contains_key(&run.allocation));
        self.world.running = running;
        for run in ended {
            // One in fifty failed, and who gave way goes on later.
            if run.ending || self.below(50) == 0 {
                self.again(run.allocation);
            } else {
                self.jobs.remove(&run.allocation);
                self.done += 1;
            }
        }
    }

    fn again(&mut self, allocation: AllocationId) {
        let mut job = self.jobs.remove(&allocation).expect("known");
        job.run.allocation.run += 1;
        self.world.waiting.push(job.run.clone().into());
        self.jobs.insert(job.run.allocation, job);
    }

    fn come_and_go(&mut self) {
        let now = self.now;
        let (back, away) = std::mem::take(&mut self.away).into_iter().partition(|(until, _)| *until <= now);
        self.away = away;
        let back: Vec<(i64, Machine)> = back;
        self.world.machines.extend(back.into_iter().map(|(_, machine)| machine));
        // What is there is used.
        if self.below(self.fails) == 0 && !self.world.machines.is_empty() {
            let at = usize::try_from(self.below(self.world.machines.len() as u64)).expect("small");
            let gone = self.world.machines.swap_remove(at);
            let lost: Vec<AllocationId> = self
                .world
                .running
                .iter()
                .filter(|run| run.on.iter().any(|part| part.agent == gone.id))
                .map(|run| run.allocation)
                .collect();
            self.world.running.retain(|run| !lost.contains(&run.allocation));
            lost.into_iter().for_each(|allocation| self.again(allocation));
            self.away.push((self.now + 30, gone));
        }
    }

    fn carry_out(&mut self, decisions: &[Decision]) {
        let mut placed = HashMap::new();
        let mut heads: BTreeMap<ResourcePool, AllocationId> = BTreeMap::new();
        for decision in decisions {
            match decision {
                Decision::Place { allocation, on } => {
                    placed.insert(*allocation, on.clone());
                }
                Decision::Wait { allocation, why, ahead } => {
                    let of_slots = matches!(why, domain::scheduler::Why::Slots { .. });
                    if *ahead == 0 && of_slots {
                        heads.insert(self.jobs[allocation].run.pool.clone(), *allocation);
                    }
                }
                Decision::Preempt { allocation, .. } => {
                    self.preempted += 1;
                    let run = self.world.running.iter_mut().find(|run| run.allocation == *allocation);
                    run.expect("it runs").ending = true;
                    // It takes a minute to write down where it was.
                    self.ends.push(Reverse((self.now + 1, *allocation)));
                }
                Decision::Refuse { .. } | Decision::Lost { .. } | Decision::Expire { .. } => {
                    panic!("{decision:?}")
                }
            }
        }
        self.note_heads(heads);
        let (start, waiting) = std::mem::take(&mut self.world.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|run| placed.contains_key(&run.allocation));
        self.world.waiting = waiting;
        for run in start {
            let job = &self.jobs[&run.allocation];
            let over = self.now + job.takes;
            self.ends.push(Reverse((over, run.allocation)));
            self.world.running.push(Running {
                allocation: run.allocation,
                job: run.job,
                owner: run.owner,
                workspace: run.workspace,
                pool: run.pool.clone(),
                on: placed.remove(&run.allocation).expect("placed"),
                priority: run.priority,
                seq: run.seq,
                can_resume: run.seq % 2 == 0,
                ending: false,
                // It may be told to take longer than it does.
                ends_by: run.at_most.map(|at_most| minutes(self.now).plus(at_most + Duration::from_secs(60))),
            });
        }
    }

    fn note_heads(&mut self, heads: BTreeMap<ResourcePool, AllocationId>) {
        self.head_since.retain(|pool, (head, _)| heads.get(pool) == Some(head));
        for (pool, head) in heads {
            let (_, since) = *self.head_since.entry(pool).or_insert((head, self.now));
            self.longest_at_head = self.longest_at_head.max(self.now - since);
        }
    }
}

#[test]
fn a_hundred_thousand_jobs_on_a_thousand_agents_all_end() {
    let mut cluster = Cluster::new(7, AGENTS);
    while cluster.done < JOBS {
        cluster.step(JOBS);
        assert!(cluster.now < 20_000, "{} of {JOBS} are done", cluster.done);
    }
    assert!(cluster.preempted > 0, "nobody gave way");
    // The first of a queue waits no longer than what runs where it is next, and than agents are away.
    assert!(cluster.longest_at_head <= 2 * 120, "{} minutes", cluster.longest_at_head);
}

#[test]
fn small_clusters_are_full_and_starve_nobody() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 12);
        while cluster.done < 600 {
            cluster.step(600);
            assert!(
                cluster.now < 200_000,
                "seed {seed}: {} of 600 are done, {:?}",
                cluster.done,
                cluster.world.waiting
            );
        }
    }
}
