//! What is over goes after the time that the administrator sets (`retention`): tasks' logs, tasks, what the audit log says.

use std::sync::Arc;
use std::time::Duration;

use domain::audit::{Entry, Who};
use domain::authz::{CleanUpLogs, Permit, System};
use domain::id::TaskId;
use domain::time::Timestamp;
use serde_json::json;
use store::Store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::config::Retention;
use crate::log::{Kept, Removal};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// Tasks that are seen to in one go; others get their turn between.
const PAGE: i64 = 200;

/// Entries of the audit log that are removed at once.
const CUT: i64 = 5000;

/// Ids that one entry of the audit log has room for.
const NAMES: usize = 40;

/// Removes what is old enough. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    store: Store,
    kept: Kept,
    rules: Retention,
    system: System,
    stop: CancellationToken,
    /// One at a time: else two would tell of the same logs.
    turn: Arc<Mutex<()>>,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Tasks' logs.
    pub logs: u64,
    /// What they took of the disk, in bytes.
    pub bytes: u64,
    /// Tasks, whose logs are among those above.
    pub tasks: u64,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Keeper {
    pub(crate) fn new(
        store: Store,
        kept: Kept,
        rules: Retention,
        system: System,
        stop: CancellationToken,
    ) -> Self {
        Self { store, kept, rules, system, stop, turn: Arc::default() }
    }

    /// Removes what is old enough, now and every hour, until it is told to stop.
    pub(crate) async fn run(self) {
        if self.rules == Retention::default() {
            return;
        }
        loop {
            if let Err(error) = self.tidy().await {
                tracing::warn!(%error, "what is over for long couldn't be removed; it is tried again in an hour");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Removes what is old enough now, which else happens within the hour, for an administrator.
    ///
    /// # Errors
    /// When the database or the disk refuses: the rest is tried again within the hour.
    pub async fn clean_up(&self, permit: &Permit<CleanUpLogs>) -> Result<Tidied, Error> {
        // Who asked for it stands before what was removed: that follows from the rules, as ever.
        let Retention { log_days, task_days, .. } = self.rules;
        let entry = Entry::done(permit.by(), "task.clean_up_logs", Who::named("disk", &"logs", "logs"));
        let entry = entry.made(json!({ "log_days": log_days, "task_days": task_days }));
        self.store.write().await?.commit(&entry, self.kept.now()).await?;
        let _turn = self.turn.lock().await;
        self.tasks().await
    }

    /// Removes what is old enough.
    pub(crate) async fn tidy(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.tasks().await?;
        self.audit().await
    }

    /// Removes the audit log's oldest entries. That is told of in the log itself, so it is done once a day.
    async fn audit(&self) -> Result<(), Error> {
        let Some(days) = self.rules.audit_days else { return Ok(()) };
        let now = self.kept.now();
        let oldest = store::audit::oldest(&mut self.store.read().await?).await?;
        if oldest.is_none_or(|(_, at)| at >= before(now, days.saturating_add(1))) {
            return Ok(());
        }
        let by = self.system.by("retention.audit_days");
        while !self.stop.is_cancelled() {
            let mut tx = self.store.write().await?;
            let Some(cut) = store::audit::cut(&mut tx, before(now, days), CUT).await? else { break };
            tx.commit(&cut.entry(&by), now).await?;
        }
        Ok(())
    }

    /// Removes tasks and their logs.
    async fn tasks(&self) -> Result<Tidied, Error> {
        let Retention { log_days, task_days, .. } = self.rules;
        let now = self.kept.now();
        let mut sum = Tidied::default();
        for (days, only_logs) in [(task_days, false), (log_days, true)] {
            let Some(days) = days else { continue };
            let mut from = Timestamp(i64::MIN);
            while !self.stop.is_cancelled() {
                let mut conn = self.store.read().await?;
                let page =
                    store::task::ended_between(&mut conn, from, before(now, days), only_logs, PAGE).await?;
                drop(conn);
                let Some((tasks, upto)) = page else { break };
                from = upto;
                if tasks.is_empty() {
                    continue;
                }
                let (logs, bytes) = self.kept.there(tasks.clone()).await?;
                (sum.logs, sum.bytes) = (sum.logs + logs.len() as u64, sum.bytes + bytes);
                if only_logs {
                    // Those without one, too: they aren't looked at again.
                    self.kept.remove(&self.system, &tasks, bytes, Removal::Old).await?;
                } else {
                    // What follows may not come to pass: who reads meanwhile is told by the task.
                    self.kept.remove(&self.system, &logs, bytes, Removal::WithTask).await?;
                    forget(&self.store, &self.system, &tasks, now).await?;
                    sum.tasks += tasks.len() as u64;
                }
            }
        }
        Ok(sum)
    }
}

fn before(now: Timestamp, days: u32) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::from(days) * 24 * 60 * 60 * 1_000_000))
}

/// Removes the records of these tasks, whose logs are gone.
async fn forget(store: &Store, system: &System, tasks: &[TaskId], now: Timestamp) -> Result<(), Error> {
    let by = system.by("retention.task_days");
    let entry = |some: &[TaskId]| {
        let ids: Vec<String> = some.iter().map(ToString::to_string).collect();
        let entry = Entry::done(&by, "task.forget", Who::named("task", &"", ""));
        entry.removed(json!({ "tasks": ids, "of": tasks.len() }))
    };
    let Some(entry) = tasks.chunks(NAMES).map(entry).reduce(Entry::and) else { return Ok(()) };
    let mut tx = store.write().await?;
    store::task::delete_over(&mut tx, tasks).await?;
    Ok(tx.commit(&entry, now).await?)
}
