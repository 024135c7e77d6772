//! `muster job …`: the queue, and what runs first.

use std::str::FromStr;

use anyhow::{Context, Result};
use api::job::JobUpdate;
use clap::{ArgGroup, Args, Subcommand};

use super::command;
use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, time};
use crate::target::Target;

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List jobs that aren't over, those that run first
    #[command(visible_alias = "ls")]
    List(Format),
    /// Change a job
    #[command(visible_alias = "u")]
    Update(UpdateArgs),
    /// Change several jobs
    UpdateBatch {
        /// What to change, each as ID.priority=N, ID.weight=N or ID.resource-pool=NAME
        #[arg(required = true)]
        operations: Vec<Operation>,
    },
}

/// Arguments of `update`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true)))]
pub(crate) struct UpdateArgs {
    /// Its id, or the beginning of it
    id: String,
    /// 1 to 99, lower first
    #[arg(short, long, group = "change")]
    priority: Option<i64>,
    /// Its share; refused for commands, which keep the one that they were made with
    #[arg(short, long, group = "change")]
    weight: Option<f64>,
    /// Another pool; refused for commands, which stay in theirs
    #[arg(long, value_name = "NAME", group = "change")]
    resource_pool: Option<String>,
}

/// A change as it is written in one word.
#[derive(Debug, Clone)]
pub(crate) struct Operation(JobUpdate);

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write it as ID.priority=N, ID.weight=N or ID.resource-pool=NAME".to_owned();
        let (job_id, change) = text.split_once('.').ok_or_else(form)?;
        let (what, value) = change.split_once('=').ok_or_else(form)?;
        let mut update = JobUpdate { job_id: job_id.to_owned(), ..JobUpdate::default() };
        match what {
            "priority" => update.priority = Some(value.parse().map_err(|_| form())?),
            "weight" => update.weight = Some(value.parse().map_err(|_| form())?),
            "resource-pool" | "resource_pool" => update.resource_pool = Some(value.to_owned()),
            _ => return Err(form()),
        }
        Ok(Self(update))
    }
}

/// Does it.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    let mut updates = match verb {
        Verb::List(format) => return list(session, format).await,
        Verb::Update(UpdateArgs { id, priority, weight, resource_pool }) => {
            vec![JobUpdate { job_id: id, priority, weight, resource_pool, ..JobUpdate::default() }]
        }
        Verb::UpdateBatch { operations } => operations.into_iter().map(|Operation(update)| update).collect(),
    };
    for update in &mut updates {
        update.job_id = command::find(session, &update.job_id).await?;
    }
    let changed = match updates.as_slice() {
        [one] => format!("Job {} was changed.", one.job_id),
        some => format!("{} jobs were changed.", some.len()),
    };
    let done = session.call(async |client| client.update_jobs(updates.clone()).await).await;
    done.with_context(|| match updates.as_slice() {
        [one] => format!("can't change job {}", one.job_id),
        _ => "can't change all of the jobs".to_owned(),
    })?;
    output::note(&changed);
    Ok(())
}

/// The columns that `det` prints, and behind them in which pool a job waits, and for what.
async fn list(session: &mut Session, format: Format) -> Result<()> {
    let jobs = session.call(async |client| client.jobs().await).await?;
    let mut table = Table::new(&[
        "#",
        "ID",
        "Type",
        "Job Name",
        "Priority",
        "Submitted",
        "Slots (acquired/needed)",
        "State",
        "User",
        "Resource Pool",
        "Waits For",
    ]);
    for job in &jobs {
        table.row([
            job.summary.jobs_ahead.to_string(),
            job.job_id.clone(),
            job.kind.clone(),
            job.name.clone(),
            job.priority.to_string(),
            time(&job.submission_time),
            format!("{}/{}", job.allocated_slots, job.requested_slots),
            job.summary.state.clone(),
            job.username.clone(),
            job.resource_pool.clone(),
            job.waiting_for.clone().unwrap_or_default(),
        ]);
    }
    table.print(format, &jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_one_word() {
        let read = |text: &str| text.parse::<Operation>().map(|Operation(update)| update);
        let plain = JobUpdate { job_id: "a-b".to_owned(), ..JobUpdate::default() };
        assert_eq!(read("a-b.priority=3"), Ok(JobUpdate { priority: Some(3), ..plain.clone() }));
        assert_eq!(read("a-b.weight=1.5"), Ok(JobUpdate { weight: Some(1.5), ..plain.clone() }));
        let pool = Some("gpu".to_owned());
        assert_eq!(read("a-b.resource-pool=gpu"), Ok(JobUpdate { resource_pool: pool, ..plain }));
        for wrong in ["a-b", "a-b.priority", "a-b.priority=high", "a-b.size=3", "=3"] {
            assert!(read(wrong).is_err_and(|text| text.contains("ID.priority=N")), "{wrong}");
        }
    }
}
