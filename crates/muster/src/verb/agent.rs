//! `muster agent list`, `invite`, `enable` and `disable`.

use anyhow::{Context, Result};
use api::cluster::InviteAgent;
use clap::Subcommand;

use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, time, yes_no};
use crate::target::Target;

/// What can be done with the agents of a master.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the agents
    #[command(visible_alias = "ls")]
    List(Format),
    /// Print an invitation, good for one agent to enrol with
    Invite {
        /// The only name that may enrol with it
        #[arg(long)]
        name: Option<String>,
    },
    /// Let an agent take new tasks again
    Enable {
        /// The agent
        name: String,
    },
    /// Give an agent no new tasks
    Disable {
        /// The agent
        name: String,
    },
}

/// Does it.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List(format) => list(session, format).await,
        Verb::Invite { name } => invite(session, name).await,
        Verb::Enable { name } => set_enabled(session, &name, true).await,
        Verb::Disable { name } => set_enabled(session, &name, false).await,
    }
}

async fn list(session: &mut Session, format: Format) -> Result<()> {
    let mut agents = session.call(async |client| client.agents().await).await?.agents;
    agents.sort_by(|a, b| a.id.cmp(&b.id));
    let mut table = Table::new(&[
        "Agent ID",
        "Version",
        "Registered Time",
        "Slots",
        "Containers",
        "Resource Pool",
        "Enabled",
        "Draining",
        "Addresses",
        "Connected",
    ]);
    for agent in &agents {
        table.row([
            agent.id.clone(),
            agent.version.clone(),
            agent.registered_time.as_deref().map(time).unwrap_or_default(),
            agent.slots.len().to_string(),
            agent.containers.len().to_string(),
            agent.resource_pools.join(", "),
            yes_no(agent.enabled),
            yes_no(agent.draining),
            agent.addresses.join(", "),
            yes_no(agent.connected),
        ]);
    }
    table.print(format, &agents)?;
    // The table's columns are those that scripts know.
    for agent in &agents {
        if let Some(trouble) = &agent.trouble {
            output::note(&format!("agent {}: {trouble}", agent.id));
        }
    }
    Ok(())
}

/// The secret alone goes to standard output, so that it can be sent into a file.
async fn invite(session: &mut Session, name: Option<String>) -> Result<()> {
    let invite = InviteAgent { name };
    let made = session.call(async |client| client.invite_agent(&invite).await).await;
    let made = made.context("can't invite an agent")?;
    output::line(&made.token)?;
    let address = session.client().address();
    output::note(&format!(
        "Good once, until {}. On the agent's machine, with the invitation in FILE:\n  \
         muster agent --master {address} --invitation-file FILE",
        time(&made.expires_at)
    ));
    Ok(())
}

async fn set_enabled(session: &mut Session, name: &str, enabled: bool) -> Result<()> {
    let verb = if enabled { "enable" } else { "disable" };
    let done = session.call(async |client| client.set_agent_enabled(name, enabled).await).await;
    done.with_context(|| format!("can't {verb} agent {name}"))?;
    output::note(&format!("Agent {name} is {verb}d."));
    Ok(())
}
