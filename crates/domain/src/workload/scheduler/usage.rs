//! How many slots jobs, users and workspaces have, and whether they may have more.

use super::decision::{Bound, Why};
use super::snapshot::{Quotas, Snapshot, Waiting};
use crate::hash::IdMap;
use crate::id::{JobId, UserId, WorkspaceId};

/// Slots in use, of all pools together.
#[derive(Debug)]
pub(super) struct Usage<'a> {
    quotas: &'a Quotas,
    jobs: IdMap<JobId, u64>,
    users: IdMap<UserId, u64>,
    workspaces: IdMap<WorkspaceId, u64>,
}

impl<'a> Usage<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let (jobs, users, workspaces) = (IdMap::default(), IdMap::default(), IdMap::default());
        let mut usage = Self { quotas: &snapshot.quotas, jobs, users, workspaces };
        for run in &snapshot.running {
            let slots = run.on.iter().map(|part| part.slots.len()).sum::<usize>();
            usage.add(run.owner, run.workspace, run.job, u32::try_from(slots).unwrap_or(u32::MAX));
        }
        usage
    }

    pub(super) fn add(&mut self, owner: UserId, workspace: WorkspaceId, job: JobId, slots: u32) {
        let slots = u64::from(slots);
        *self.jobs.entry(job).or_default() += slots;
        *self.users.entry(owner).or_default() += slots;
        *self.workspaces.entry(workspace).or_default() += slots;
    }

    pub(super) fn user(&self, user: UserId) -> u64 {
        self.users.get(&user).copied().unwrap_or_default()
    }

    pub(super) fn job(&self, job: JobId) -> u64 {
        self.jobs.get(&job).copied().unwrap_or_default()
    }

    /// The bound of its own that a run would break; what needs no slots breaks none.
    pub(super) fn bound(&self, run: &Waiting) -> Option<Why> {
        let needed = run.slots;
        if needed == 0 {
            return None;
        }
        // Most have no bound: nothing is counted for those.
        let broken = |most: Option<u32>, used: &dyn Fn() -> u64| {
            let most = most?;
            let used = used();
            (used + u64::from(needed) > u64::from(most)).then_some(Bound { needed, used, most })
        };
        let workspace = || self.workspaces.get(&run.workspace).copied().unwrap_or_default();
        let Quotas { users, workspaces, .. } = self.quotas;
        broken(run.max_slots, &|| self.job(run.job))
            .map(Why::OfJob)
            .or_else(|| broken(users.get(&run.owner).copied(), &|| self.user(run.owner)).map(Why::OfUser))
            .or_else(|| broken(workspaces.get(&run.workspace).copied(), &workspace).map(Why::OfWorkspace))
    }
}
