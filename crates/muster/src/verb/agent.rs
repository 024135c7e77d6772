//! `muster agent list`, `invite`, `revoke`, `enable` and `disable`.

use anyhow::{Context, Result, bail};
use api::cluster::{Agent, InviteAgent};
use clap::{ArgGroup, Args, Subcommand};

use crate::auth::session::Session;
use crate::failure::Failure;
use crate::output;
use crate::table::{Format, Table, time, yes_no};
use crate::target::Target;

/// What can be done with the agents of a master.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the agents
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        format: Format,
        /// Show keys, and where agents were last seen; for administrators
        #[arg(long)]
        keys: bool,
    },
    /// Print an invitation, good for one agent to enrol with
    Invite {
        /// The only name that may enrol with it
        #[arg(long)]
        name: Option<String>,
        /// Let it give an enrolled agent of that name another key
        #[arg(long, requires = "name")]
        replace: bool,
    },
    /// Shut an agent out: its tasks are over, its key is refused for ever
    Revoke {
        /// The agent
        name: String,
        /// Don't ask whether this is meant
        #[arg(short, long)]
        yes: bool,
    },
    /// Let an agent take new tasks again
    Enable(Which),
    /// Give an agent no new tasks
    Disable {
        #[command(flatten)]
        which: Which,
        /// Let what runs there run out; else it is ended
        #[arg(long)]
        drain: bool,
    },
}

/// One agent or all.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub(crate) struct Which {
    /// The agent
    #[arg(group = "which")]
    name: Option<String>,
    /// All agents
    #[arg(long, group = "which")]
    all: bool,
}

impl Which {
    async fn names(self, session: &mut Session) -> Result<Vec<String>> {
        if let Some(name) = self.name {
            return Ok(vec![name]);
        }
        let agents = session.call(async |client| client.agents().await).await?.agents;
        Ok(agents.into_iter().filter(|agent| !agent.revoked).map(|agent| agent.id).collect())
    }
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List { format, keys } => list(session, format, keys).await,
        Verb::Invite { name, replace } => invite(session, InviteAgent { name, replace }).await,
        Verb::Revoke { name, yes } => revoke(session, &name, yes).await,
        Verb::Enable(which) => set_enabled(session, which, true, false).await,
        Verb::Disable { which, drain } => set_enabled(session, which, false, drain).await,
    }
}

async fn list(session: &mut Session, format: Format, with_keys: bool) -> Result<()> {
    let mut agents = session.call(async |client| client.agents().await).await?.agents;
    agents.sort_by(|a, b| a.id.cmp(&b.id));
    if with_keys && !agents.is_empty() && agents.iter().all(|agent| agent.enrolled.is_none()) {
        // The master shows them to administrators alone, and says nothing.
        let text = "only administrators see the keys of agents: add `-u admin`, or log in as one";
        bail!(Failure::Forbidden(text.to_owned()));
    }
    if with_keys {
        return keys(&agents).print(format, &agents);
    }
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
        "Clock",
    ]);
    for agent in &agents {
        table.row([
            agent.id.clone(),
            agent.muster_version.clone().unwrap_or_default(),
            agent.registered_time.as_deref().map(time).unwrap_or_default(),
            agent.slots.len().to_string(),
            agent.containers.len().to_string(),
            agent.resource_pools.join(", "),
            yes_no(agent.enabled),
            yes_no(agent.draining),
            agent.addresses.join(", "),
            yes_no(agent.connected),
            agent.clock_skew_ms.map(clock).unwrap_or_default(),
        ]);
    }
    table.print(format, &agents)?;
    // The table's columns are those that scripts know.
    for agent in &agents {
        if agent.revoked {
            output::note(&format!("agent {}: revoked, shut out for ever", agent.id));
        }
        if let Some(trouble) = &agent.trouble {
            output::note(&format!("agent {}: {trouble}", agent.id));
        }
        if !agent.missing_capabilities.is_empty() {
            let version = agent.muster_version.as_deref().unwrap_or_default();
            let missing = agent.missing_capabilities.join(", ");
            output::note(&format!(
                "agent {}, version {version}, can't do {missing}: tasks that ask for it aren't placed there",
                agent.id
            ));
        }
    }
    Ok(())
}

/// How far a clock is ahead (B20).
fn clock(milliseconds: i64) -> String {
    let tenths = milliseconds / 100;
    let sign = if tenths < 0 { "-" } else { "+" };
    format!("{sign}{}.{} s", tenths.abs() / 10, tenths.abs() % 10)
}

fn keys(agents: &[Agent]) -> Table {
    let mut table = Table::new(&["Agent ID", "Key", "Enrolled", "Last Seen", "From", "Revoked"]);
    for agent in agents {
        let Some(enrolled) = &agent.enrolled else { continue };
        table.row([
            agent.id.clone(),
            enrolled.key_fingerprint.clone(),
            time(&enrolled.time),
            enrolled.last_seen_time.as_deref().map(time).unwrap_or_default(),
            enrolled.last_address.clone().unwrap_or_default(),
            enrolled.revoked_time.as_deref().map(time).unwrap_or_default(),
        ]);
    }
    table
}

async fn revoke(session: &mut Session, name: &str, yes: bool) -> Result<()> {
    output::is_meant(yes, &format!("Shut agent {name} out for ever, and take its tasks for over?"))?;
    let done = session.call(async |client| client.revoke_agent(name).await).await;
    done.with_context(|| format!("can't revoke agent {name}"))?;
    output::note(&format!(
        "Agent {name} is shut out. Its tasks are over here; what runs on that machine, end there: `muster down --data-dir \
         DIR`, with its data directory."
    ));
    Ok(())
}

/// The secret alone goes to standard output, so that it can be sent into a file.
async fn invite(session: &mut Session, invite: InviteAgent) -> Result<()> {
    let made = session.call(async |client| client.invite_agent(&invite).await).await;
    let made = made.context("can't invite an agent")?;
    output::line(&made.token)?;
    let address = session.client().address();
    let name = invite.name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
    output::note(&format!(
        "Good once, until {}, at the master with the key {}. On the agent's machine, with the invitation in FILE:\n  \
         muster agent --master {address}{name} --invitation-file FILE",
        time(&made.expires_at),
        made.fingerprint
    ));
    if address.is_loopback() {
        output::note(
            "On another machine put an address in place of that one under which it reaches this master.",
        );
    }
    Ok(())
}

async fn set_enabled(session: &mut Session, which: Which, enabled: bool, drain: bool) -> Result<()> {
    let verb = if enabled { "enable" } else { "disable" };
    for name in which.names(session).await? {
        let agents = session.call(async |client| client.agents().await).await?.agents;
        if agents.iter().any(|agent| agent.id == name && agent.revoked) {
            bail!(
                "can't {verb} agent {name}: it was revoked, for ever; `muster agent invite --name {name} --replace` takes its \
                   machine in again"
            );
        }
        let done = session.call(async |client| client.set_agent_enabled(&name, enabled, drain).await).await;
        done.with_context(|| format!("can't {verb} agent {name}"))?;
        let what_follows = if drain && !enabled {
            " It gets no new tasks; what runs there goes on until it is over (`muster agent list` shows it)."
        } else {
            ""
        };
        output::note(&format!("Agent {name} is {verb}d.{what_follows}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn b20_clocks() {
        assert_eq!([0, 12, 1_250, -61_900].map(clock), ["+0.0 s", "+0.0 s", "+1.2 s", "-61.9 s"]);
    }
}
