//! `muster task …`: running tasks of every kind and everybody.

use anyhow::{Context as _, Result};
use api::command::AllocationSummary;
use api::log::CleanedUpLogs;
use clap::Subcommand;

use super::logs::{self, LogsArgs};
use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, time};
use crate::target::Target;

/// What can be done with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the running tasks
    #[command(visible_alias = "ls")]
    List(Format),
    /// Print a task's output
    Logs(LogsArgs),
    /// Remove now what is older than the master's `retention` keeps it; for administrators
    CleanupLogs {
        /// Print JSON, not a sentence
        #[arg(long)]
        json: bool,
    },
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List(format) => list(session, format).await,
        Verb::Logs(args) => logs::logs(session, args).await,
        Verb::CleanupLogs { json } => clean_up(session, json).await,
    }
}

async fn list(session: &mut Session, format: Format) -> Result<()> {
    let by_allocation = session.call(async |client| client.tasks().await).await?.allocation_id_to_summary;
    let mut tasks: Vec<_> = by_allocation.values().collect();
    tasks.sort_by(|a, b| (&a.registered_time, &a.allocation_id).cmp(&(&b.registered_time, &b.allocation_id)));
    let mut table = Table::new(&[
        "Task ID",
        "Allocation ID",
        "Name",
        "Slots Needed",
        "Registered Time",
        "Agent",
        "Priority",
        "Resource Pool",
    ]);
    for task in &tasks {
        table.row([
            task.task_id.clone(),
            task.allocation_id.clone(),
            task.name.clone(),
            task.slots_needed.to_string(),
            time(&task.registered_time),
            agents(task),
            task.priority.to_string(),
            task.resource_pool.clone(),
        ]);
    }
    table.print(format, &tasks)
}

async fn clean_up(session: &mut Session, json: bool) -> Result<()> {
    let done = session.call(async |client| client.clean_up_logs().await).await;
    let done = done.context("can't clean up logs")?;
    if json {
        return output::json(&done);
    }
    let CleanedUpLogs { removed_count, removed_bytes, removed_tasks } = done;
    output::line(&format!(
        "Logs removed: {removed_count}, {removed_bytes} bytes. Tasks removed: {removed_tasks}."
    ))
}

fn agents(task: &AllocationSummary) -> String {
    let agents: Vec<_> =
        task.resources.iter().flat_map(|held| held.agent_devices.keys()).map(String::as_str).collect();
    agents.join(", ")
}
