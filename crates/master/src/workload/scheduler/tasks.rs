//! Living tasks. Which of them wait, in the order of the queue, and which don't is known without looking at each: a round looks
//! at thousands that wait, and nothing of those has changed since the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::allocation::Phase;
use domain::capability::Capability;
use domain::hash::IdMap;
use domain::id::{AllocationId, JobId, ResourcePool, TaskId, UserId, WorkspaceId};
use domain::identity::UnixIdentity;
use domain::scheduler::{Span, Waiting};

use super::Live;

/// How long runs may take, by pool.
pub(super) type Limits = BTreeMap<ResourcePool, Duration>;

/// An account that has something waiting in a workspace, and as whom that is to run.
#[derive(Debug, Clone)]
pub(super) struct Wants {
    pub(super) owner: UserId,
    pub(super) workspace: WorkspaceId,
    pub(super) identity: Arc<UnixIdentity>,
}

/// An account, and a workspace where it has something waiting.
pub(super) type Pair = (UserId, WorkspaceId);

/// How many of one's in a workspace wait as whom.
type Crowds = Vec<(Arc<UnixIdentity>, usize)>;

/// Priority, submission, run.
type Turn = (i64, i64, AllocationId);

pub(super) struct Tasks {
    all: BTreeMap<TaskId, Live>,
    /// Since that was asked last.
    touched: BTreeSet<TaskId>,
    /// Since they were sorted last.
    unsorted: BTreeSet<TaskId>,
    waiting: BTreeMap<Turn, Arc<Waiting>>,
    turns: IdMap<TaskId, Turn>,
    /// Whose needs aren't known.
    unread: BTreeSet<TaskId>,
    /// How many wait as whom.
    wants: IdMap<Pair, Crowds>,
    /// All others.
    busy: BTreeSet<TaskId>,
    limits: Limits,
}

impl Tasks {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            all: BTreeMap::new(),
            touched: BTreeSet::new(),
            unsorted: BTreeSet::new(),
            waiting: BTreeMap::new(),
            turns: IdMap::default(),
            unread: BTreeSet::new(),
            wants: IdMap::default(),
            busy: BTreeSet::new(),
            limits,
        }
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<&Live> {
        self.all.get(id)
    }

    pub(super) fn contains_key(&self, id: &TaskId) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn get_mut(&mut self, id: &TaskId) -> Option<&mut Live> {
        let found = self.all.get_mut(id);
        if found.is_some() {
            self.touched.insert(*id);
            self.unsorted.insert(*id);
        }
        found
    }

    pub(super) fn insert(&mut self, id: TaskId, live: Live) {
        self.touched.insert(id);
        self.unsorted.insert(id);
        self.all.insert(id, live);
    }

    pub(super) fn remove(&mut self, id: &TaskId) -> Option<Live> {
        self.touched.insert(*id);
        self.unsorted.insert(*id);
        self.all.remove(id)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &TaskId> {
        self.all.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Live> {
        self.all.values()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// What was touched since it was asked last.
    pub(super) fn take_touched(&mut self) -> BTreeSet<TaskId> {
        std::mem::take(&mut self.touched)
    }

    /// How long runs may take, by pool.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All that doesn't just wait.
    pub(super) fn busy(&mut self) -> impl Iterator<Item = &Live> {
        self.sort();
        self.busy.iter().filter_map(|id| self.all.get(id))
    }

    /// What waits, by priority and submission.
    pub(super) fn waiting(&mut self) -> Vec<Arc<Waiting>> {
        self.sort();
        self.waiting.values().cloned().collect()
    }

    /// Of what waits, that whose needs aren't known.
    pub(super) fn unread(&mut self) -> Vec<TaskId> {
        self.sort();
        self.unread.iter().copied().collect()
    }

    /// Who wants something.
    pub(super) fn wants(&mut self) -> Vec<Wants> {
        self.sort();
        let wants = |(pair, crowds): (&Pair, &Crowds)| {
            let (owner, workspace) = *pair;
            let each =
                |(identity, _): &(Arc<_>, _)| Wants { owner, workspace, identity: Arc::clone(identity) };
            crowds.iter().map(each).collect::<Vec<_>>()
        };
        self.wants.iter().flat_map(wants).collect()
    }

    /// Those that aren't sorted as they are: never any.
    pub(super) fn misplaced(&mut self) -> Vec<TaskId> {
        self.sort();
        let sorted =
            |id: &TaskId| self.turns.get(id).and_then(|turn| self.waiting.get(turn)).map(Arc::as_ref);
        let is_wrong = |(id, live): &(&TaskId, &Live)| {
            let (here, there) = (sorted(id), waiting(live, &self.limits));
            here != there.as_ref() || self.busy.contains(id) == there.is_some()
        };
        self.all.iter().filter(is_wrong).map(|(id, _)| *id).collect()
    }

    fn sort(&mut self) {
        for id in std::mem::take(&mut self.unsorted) {
            self.take_out(id);
            let Some(live) = self.all.get(&id) else { continue };
            let Some(run) = waiting(live, &self.limits) else {
                self.busy.insert(id);
                continue;
            };
            if live.needs.is_none() {
                self.unread.insert(id);
            }
            let identities = self.wants.entry((run.owner, run.workspace)).or_default();
            match identities.iter_mut().find(|(identity, _)| *identity == run.identity) {
                Some((_, runs)) => *runs += 1,
                None => identities.push((Arc::clone(&run.identity), 1)),
            }
            let turn = (run.priority, run.seq, run.allocation);
            self.turns.insert(id, turn);
            self.waiting.insert(turn, Arc::new(run));
        }
    }

    fn take_out(&mut self, id: TaskId) {
        self.busy.remove(&id);
        self.unread.remove(&id);
        let Some(run) = self.turns.remove(&id).and_then(|turn| self.waiting.remove(&turn)) else { return };
        let pair = (run.owner, run.workspace);
        let Some(identities) = self.wants.get_mut(&pair) else { return };
        identities
            .iter_mut()
            .filter(|(identity, _)| *identity == run.identity)
            .for_each(|(_, runs)| *runs -= 1);
        identities.retain(|(_, runs)| *runs > 0);
        if identities.is_empty() {
            self.wants.remove(&pair);
        }
    }
}

fn waiting(live: &Live, limits: &Limits) -> Option<Waiting> {
    let task = &live.task;
    let span = if task.kind.about().spans { Span::Several } else { Span::One };
    let needs = live.needs.unwrap_or_default();
    let is_gang = span == Span::Several && task.slots > 1;
    (*live.phase() == Phase::Waiting && live.is_over.is_none()).then(|| Waiting {
        allocation: task.latest.id,
        job: JobId(task.id.0),
        pool: task.pool.clone(),
        owner: task.owner,
        workspace: task.workspace,
        identity: Arc::clone(&live.identity),
        needs: if is_gang { needs.with(Capability::Gang) } else { needs },
        slots: task.slots,
        span,
        priority: task.priority,
        weight: task.weight,
        seq: task.seq,
        max_slots: task.max_slots,
        at_most: limits.get(&task.pool).copied(),
    })
}
