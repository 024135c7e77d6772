//! What logs take of the master's disk, and giving it back when the disk is nearly full (A4). Whose logs that are, and how
//! many, is decided by who asks: the agent beside this master, if they share a disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use domain::audit::{By, Entry, Who};
use domain::authz::System;
use domain::id::{AllocationId, TaskId, UserId};
use domain::time::Timestamp;
use serde_json::json;
use store::Store;
use store::task::Logged;
use tokio::task::spawn_blocking;

use super::Logs;
use crate::Error;
use crate::scheduler::Scheduler;
use crate::system::Clock;

/// Tasks looked at in one go.
const PAGE: i64 = 5000;

/// So many of an account's logs are told one by one, the oldest ones: more needn't be known at once.
const EACH: usize = 4096;

/// Ids that one entry of the audit log has room for.
const NAMES: usize = 40;

/// A log on the master's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLog {
    /// Its task's latest run.
    pub allocation: AllocationId,
    /// Whose it is.
    pub owner: UserId,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Its task.
    pub of: Of,
}

/// What can be done about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Its task isn't over.
    Living,
    /// It can be removed.
    Over,
    /// It stands for all logs of its account's but the oldest ones, and nothing is done about them now.
    Rest,
}

/// Why a log is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Its disk is nearly full.
    NoRoom,
    /// Its task is over for as long as the administrator has logs kept (`retention.log_days`).
    Old,
    /// Its task is over for as long as he has tasks kept (`retention.task_days`), and goes next.
    WithTask,
}

impl Removal {
    fn reason(self) -> &'static str {
        match self {
            Self::NoRoom => "the disk of the logs is nearly full",
            Self::Old => "retention.log_days",
            Self::WithTask => "retention.task_days",
        }
    }
}

/// All logs, for whoever sees to it that there is room on their disk.
#[derive(Clone)]
pub struct Kept {
    logs: Logs,
    store: Store,
    live: Scheduler,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Kept {
    pub(crate) fn new(logs: Logs, store: Store, live: Scheduler, clock: Arc<dyn Clock>) -> Self {
        Self { logs, store, live, clock }
    }

    /// The directory that they are in. It may not be there yet.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.logs.root
    }

    /// All of them, oldest first, and all living tasks. Takes a look at each file, and few queries.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn all(&self) -> Result<Vec<KeptLog>, Error> {
        let mut sum = Sum::default();
        let mut last = 0;
        loop {
            let tasks = store::task::logged(&mut self.store.read().await?, last, PAGE).await?;
            let Some(task) = tasks.last() else { return Ok(sum.done()) };
            last = task.seq;
            let logs = self.logs.clone();
            let looked = spawn_blocking(move || {
                for task in tasks {
                    sum.add(task, logs.on_disk(task.allocation.task));
                }
                sum
            });
            sum = looked.await.map_err(std::io::Error::other).map_err(Error::io("looking at logs"))?;
        }
    }

    /// Removes the logs of these tasks, which are over and take so many bytes; who reads one later is told so.
    ///
    /// # Errors
    /// When that can't be written down: then they stay.
    pub async fn remove(
        &self,
        system: &System,
        tasks: &[TaskId],
        bytes: u64,
        why: Removal,
    ) -> Result<(), Error> {
        let by = system.by(why.reason());
        let (Some(first), logs) = (tasks.first().copied(), self.logs.clone()) else { return Ok(()) };
        if self.note(&by, tasks, bytes).await.is_err() {
            // Not even that has room: it gets some.
            let removed = spawn_blocking(move || logs.remove(first)).await;
            removed.map_err(std::io::Error::other).flatten().map_err(Error::io("removing a log"))?;
            self.note(&by, tasks, bytes).await?;
        }
        self.remove_files(tasks).await
    }

    /// Removes the files of these logs, whose tasks are over and say so.
    async fn remove_files(&self, tasks: &[TaskId]) -> Result<(), Error> {
        let (logs, tasks) = (self.logs.clone(), tasks.to_vec());
        let removed = spawn_blocking(move || {
            for task in tasks {
                // It is tried again as long as there is too little room.
                if let Err(error) = logs.remove(task) {
                    tracing::warn!(%task, %error, "a log couldn't be removed");
                }
            }
        });
        removed.await.map_err(std::io::Error::other).map_err(Error::io("removing logs"))
    }

    /// Writes down that these logs are removed.
    async fn note(&self, by: &By, tasks: &[TaskId], bytes: u64) -> Result<(), Error> {
        let entry = |some: &[TaskId]| {
            let ids: Vec<String> = some.iter().map(ToString::to_string).collect();
            let entry = Entry::done(by, "task.remove_log", Who::named("disk", &"logs", "logs"));
            entry.removed(json!({ "tasks": ids, "of": tasks.len(), "bytes_of_all": bytes }))
        };
        let Some(entry) = tasks.chunks(NAMES).map(entry).reduce(Entry::and) else { return Ok(()) };
        let now = self.clock.now();
        let mut tx = self.store.write_urgent().await?;
        store::task::set_log_removed(&mut tx, tasks, now).await?;
        Ok(tx.commit(&entry, now).await?)
    }

    /// Which of these tasks have a log, and what those take of the disk, in bytes.
    pub(crate) async fn there(&self, mut tasks: Vec<TaskId>) -> Result<(Vec<TaskId>, u64), Error> {
        let logs = self.logs.clone();
        let looked = spawn_blocking(move || {
            let mut sum = 0;
            tasks.retain(|task| logs.on_disk(*task).inspect(|bytes| sum += bytes).is_some());
            (tasks, sum)
        });
        looked.await.map_err(std::io::Error::other).map_err(Error::io("looking at logs"))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Ends these tasks, whose logs grow.
    pub async fn end(&self, _system: &System, tasks: &[TaskId]) {
        self.live.end_for_room(tasks).await;
    }
}

#[derive(Default)]
struct Sum {
    all: Vec<KeptLog>,
    /// How many of each account's were told, and the others.
    of: HashMap<UserId, (usize, Option<KeptLog>)>,
}

impl Sum {
    fn add(&mut self, task: Logged, bytes: Option<u64>) {
        let Logged { allocation, owner, over, .. } = task;
        let (told, rest) = self.of.entry(owner).or_default();
        let files = u64::from(bytes.is_some());
        let of = if over { Of::Over } else { Of::Living };
        let log = KeptLog { allocation, owner, bytes: bytes.unwrap_or(0), files, of };
        match (over, rest) {
            (true, _) if bytes.is_none() => {}
            (true, rest) if *told >= EACH => {
                let rest = rest.get_or_insert(KeptLog { bytes: 0, files: 0, of: Of::Rest, ..log });
                rest.bytes = rest.bytes.saturating_add(log.bytes);
                rest.files += log.files;
            }
            _ => {
                *told += usize::from(over);
                self.all.push(log);
            }
        }
    }

    fn done(mut self) -> Vec<KeptLog> {
        self.all.extend(self.of.into_values().filter_map(|(_, rest)| rest));
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_what_an_account_has_is_counted_however_many_logs_it_has() {
        let mut sum = Sum::default();
        for n in 0..100_000 {
            let allocation = AllocationId::first(TaskId(uuid::Uuid::from_u128(n)));
            let owner = UserId(i64::from(n % 10 == 0));
            let over = n % 50_000 != 0;
            let seq = i64::try_from(n).expect("small");
            sum.add(Logged { seq, allocation, owner, over }, (n % 2 == 0).then_some(4096));
        }
        let all = sum.done();
        for (owner, logs) in [(0, 40_000), (1, 10_000)] {
            let own: Vec<_> = all.iter().filter(|log| log.owner == UserId(owner)).collect();
            assert_eq!(own.iter().map(|log| log.files).sum::<u64>(), logs);
            assert_eq!(own.iter().map(|log| log.bytes).sum::<u64>(), logs * 4096);
            assert!(own.len() <= EACH + 3, "{}", own.len());
        }
        assert_eq!(all.iter().filter(|log| log.of == Of::Living).count(), 2);
    }
}
