//! `muster task …`: running tasks of every kind and everybody.

use anyhow::Result;
use api::command::AllocationSummary;
use clap::Subcommand;

use super::logs::{self, LogsArgs};
use crate::auth::session::Session;
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
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List(format) => list(session, format).await,
        Verb::Logs(args) => logs::logs(session, args).await,
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

fn agents(task: &AllocationSummary) -> String {
    let agents: Vec<_> =
        task.resources.iter().flat_map(|held| held.agent_devices.keys()).map(String::as_str).collect();
    agents.join(", ")
}
