//! In which order a pool's queue is looked at.

use std::collections::{BTreeSet, VecDeque};

use super::snapshot::{Order, Quotas, Waiting, Weight};
use super::usage::Usage;
use crate::hash::IdMap;
use crate::id::{JobId, UserId};

/// What waits in one pool.
#[derive(Debug)]
pub(super) enum Queue<'a> {
    /// By priority and submission.
    Priority(VecDeque<&'a Waiting>),
    /// By who has least of his share.
    Fair(Fair<'a>),
}

impl<'a> Queue<'a> {
    pub(super) fn new(
        order: Order,
        mut waiting: Vec<&'a Waiting>,
        quotas: &Quotas,
        usage: &Usage<'_>,
    ) -> Self {
        let key = |run: &&Waiting| (run.priority, run.seq, run.allocation);
        if !waiting.is_sorted_by_key(key) {
            // Thousands of keys side by side are compared faster than where each lies.
            waiting.sort_by_cached_key(key);
        }
        match order {
            Order::Priority => Self::Priority(waiting.into()),
            Order::FairShare => Self::Fair(Fair::new(waiting, quotas, usage)),
        }
    }

    /// The next one.
    pub(super) fn next(&mut self, usage: &Usage<'_>) -> Option<&'a Waiting> {
        match self {
            Self::Priority(queue) => queue.pop_front(),
            Self::Fair(fair) => fair.next(usage),
        }
    }

    /// It has its place: whose it is has more now.
    pub(super) fn placed(&mut self, run: &Waiting, usage: &Usage<'_>) {
        if let Self::Fair(fair) = self {
            fair.placed(run, usage);
        }
    }
}

/// Users by their shares, each with his jobs by theirs.
#[derive(Debug)]
pub(super) struct Fair<'a> {
    /// Share, first run that waits, user.
    users: BTreeSet<(u64, i64, UserId)>,
    of: IdMap<UserId, Jobs<'a>>,
}

#[derive(Debug, Default)]
struct Jobs<'a> {
    weight: Weight,
    /// As in `users`.
    key: (u64, i64),
    order: BTreeSet<JobKey>,
    runs: IdMap<JobId, Runs<'a>>,
}

/// Share, priority, first run that waits, job.
type JobKey = (u64, i64, i64, JobId);

#[derive(Debug, Default)]
struct Runs<'a> {
    /// As in `order`, if it is there.
    key: Option<JobKey>,
    waiting: VecDeque<&'a Waiting>,
}

impl Jobs<'_> {
    fn put(&mut self, job: JobId, usage: &Usage<'_>) {
        let Some(runs) = self.runs.get_mut(&job) else { return };
        if let Some(before) = runs.key.take() {
            self.order.remove(&before);
        }
        if let Some(first) = runs.waiting.front() {
            let key = (first.weight.share(usage.job(job)), first.priority, first.seq, job);
            runs.key = Some(key);
            self.order.insert(key);
        }
    }
}

impl<'a> Fair<'a> {
    fn new(waiting: Vec<&'a Waiting>, quotas: &Quotas, usage: &Usage<'_>) -> Self {
        let mut of: IdMap<UserId, Jobs<'a>> = IdMap::default();
        for run in waiting {
            of.entry(run.owner).or_default().runs.entry(run.job).or_default().waiting.push_back(run);
        }
        let mut fair = Self { users: BTreeSet::new(), of: IdMap::default() };
        for (user, mut jobs) in of {
            jobs.weight = quotas.weights.get(&user).copied().unwrap_or_default();
            let all: Vec<JobId> = jobs.runs.keys().copied().collect();
            all.into_iter().for_each(|job| jobs.put(job, usage));
            fair.of.insert(user, jobs);
            fair.put(user, usage);
        }
        fair
    }

    fn put(&mut self, user: UserId, usage: &Usage<'_>) {
        let Some(jobs) = self.of.get_mut(&user) else { return };
        let Some((_, _, seq, _)) = jobs.order.first() else { return };
        jobs.key = (jobs.weight.share(usage.user(user)), *seq);
        self.users.insert((jobs.key.0, jobs.key.1, user));
    }

    fn next(&mut self, usage: &Usage<'_>) -> Option<&'a Waiting> {
        let (_, _, user) = self.users.pop_first()?;
        let jobs = self.of.get_mut(&user)?;
        let (_, _, _, job) = *jobs.order.first()?;
        let run = jobs.runs.get_mut(&job)?.waiting.pop_front()?;
        jobs.put(job, usage);
        self.put(user, usage);
        Some(run)
    }

    fn placed(&mut self, run: &Waiting, usage: &Usage<'_>) {
        let Some(jobs) = self.of.get_mut(&run.owner) else { return };
        jobs.put(run.job, usage);
        let (share, seq) = jobs.key;
        self.users.remove(&(share, seq, run.owner));
        self.put(run.owner, usage);
    }
}
