//! What is over goes after the time that the administrator sets (`retention`): tasks' logs, and tasks.

use std::time::Duration;

use domain::audit::{By, Entry, Who};
use domain::id::TaskId;
use domain::time::Timestamp;
use serde_json::json;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::config::Retention;
use crate::log::{Kept, Removal};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// Tasks that are seen to in one go; others get their turn between.
const PAGE: i64 = 200;

/// Ids that one entry of the audit log has room for.
const NAMES: usize = 40;

/// Removes what is old enough, now and every hour, until it is told to stop.
pub(crate) async fn keep(store: Store, kept: Kept, rules: Retention, stop: CancellationToken) {
    if rules == Retention::default() {
        return;
    }
    loop {
        if let Err(error) = tidy(&store, &kept, rules, &stop).await {
            tracing::warn!(%error, "what is over for long couldn't be removed; it is tried again in an hour");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Removes what is old enough.
pub(crate) async fn tidy(
    store: &Store,
    kept: &Kept,
    Retention { log_days, task_days }: Retention,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let now = kept.now();
    let before = |days: u32| Timestamp(now.0.saturating_sub(i64::from(days) * 24 * 60 * 60 * 1_000_000));
    for (days, logs) in [(task_days, false), (log_days, true)] {
        let Some(days) = days else { continue };
        let mut from = Timestamp(i64::MIN);
        while !stop.is_cancelled() {
            let mut conn = store.read().await?;
            let page = store::task::ended_between(&mut conn, from, before(days), logs, PAGE).await?;
            drop(conn);
            let Some((tasks, upto)) = page else { break };
            from = upto;
            if tasks.is_empty() {
                continue;
            }
            if logs {
                let bytes = kept.size(&tasks).await?;
                kept.remove(&tasks, bytes, Removal::Old).await?;
            } else {
                kept.remove_files(&tasks).await?;
                forget(store, &tasks, now).await?;
            }
        }
    }
    Ok(())
}

/// Removes the records of these tasks, whose logs are gone.
async fn forget(store: &Store, tasks: &[TaskId], now: Timestamp) -> Result<(), Error> {
    let by = By::System { reason: "retention.task_days" };
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
