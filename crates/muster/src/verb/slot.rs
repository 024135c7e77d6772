//! `muster slot …`: what the agents' machines offer, and who holds it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use api::cluster::{Agent, Slot};
use api::command::AllocationSummary;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, yes_no};
use crate::target::Target;

/// What can be done with slots.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the slots of all agents
    #[command(visible_alias = "ls")]
    List(Format),
    /// Let a slot take new tasks again
    Enable(Which),
    /// Give a slot no new tasks; what runs on it is ended
    Disable(Which),
}

/// One slot.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The agent
    agent: String,
    /// Its number there
    slot: u32,
}

/// A slot as it is listed; the names are those of `det slot list --json`.
#[derive(Debug, Serialize)]
struct Row {
    agent_id: String,
    resource_pools: String,
    slot_id: String,
    enabled: bool,
    draining: bool,
    allocation_id: String,
    task_name: String,
    #[serde(rename = "type")]
    kind: String,
    device: String,
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List(format) => list(session, format).await,
        Verb::Enable(which) => set_enabled(session, &which, true).await,
        Verb::Disable(which) => set_enabled(session, &which, false).await,
    }
}

async fn set_enabled(session: &mut Session, which: &Which, enabled: bool) -> Result<()> {
    let Which { agent, slot } = which;
    let verb = if enabled { "enable" } else { "disable" };
    let done = session.call(async |client| client.set_slot_enabled(agent, *slot, enabled).await).await;
    done.with_context(|| format!("can't {verb} slot {slot} of agent {agent}"))?;
    output::note(&format!("Slot {slot} of agent {agent} is {verb}d."));
    Ok(())
}

async fn list(session: &mut Session, format: Format) -> Result<()> {
    let tasks = session.call(async |client| client.tasks().await).await?.allocation_id_to_summary;
    let mut agents = session.call(async |client| client.agents().await).await?.agents;
    agents.sort_by(|a, b| a.id.cmp(&b.id));
    let mut by_container: BTreeMap<&str, &AllocationSummary> = BTreeMap::new();
    for task in tasks.values() {
        by_container.extend(task.resources.iter().map(|held| (held.container_id.as_str(), task)));
    }
    let rows: Vec<Row> = agents
        .iter()
        .flat_map(|agent| in_order(agent).into_iter().map(|slot| row(agent, slot, &by_container)))
        .collect();
    let mut table = Table::new(&[
        "Agent ID",
        "Resource Pool",
        "Slot ID",
        "Enabled",
        "Draining",
        "Allocation ID",
        "Task Name",
        "Type",
        "Device",
    ]);
    for row in &rows {
        table.row([
            row.agent_id.clone(),
            row.resource_pools.clone(),
            row.slot_id.clone(),
            yes_no(row.enabled),
            yes_no(row.draining),
            row.allocation_id.clone(),
            row.task_name.clone(),
            row.kind.clone(),
            row.device.clone(),
        ]);
    }
    table.print(format, &rows)
}

/// By number; the keys are text, in which 10 comes before 2.
fn in_order(agent: &Agent) -> Vec<&Slot> {
    let mut slots: Vec<_> = agent.slots.values().collect();
    slots.sort_by_key(|slot| slot.device.id);
    slots
}

fn row(agent: &Agent, slot: &Slot, tasks: &BTreeMap<&str, &AllocationSummary>) -> Row {
    let (allocation_id, task_name) = match &slot.container {
        None => ("FREE".to_owned(), "FREE".to_owned()),
        Some(held) if held.permission_denied => ("OCCUPIED".to_owned(), "private".to_owned()),
        Some(held) => match tasks.get(held.id.as_str()) {
            Some(task) => (task.allocation_id.clone(), task.name.clone()),
            None => ("OCCUPIED".to_owned(), held.id.clone()),
        },
    };
    let kind = slot.device.kind.strip_prefix("TYPE_").unwrap_or(&slot.device.kind);
    Row {
        agent_id: agent.id.clone(),
        resource_pools: agent.resource_pools.join(", "),
        slot_id: slot.id.clone(),
        enabled: slot.enabled,
        draining: slot.draining,
        allocation_id,
        task_name,
        kind: kind.to_ascii_lowercase(),
        device: slot.device.brand.clone(),
    }
}
