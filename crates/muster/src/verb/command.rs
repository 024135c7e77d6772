//! `muster command …`: the tree of verbs, and looking after commands that run or ran.

use anyhow::{Context, Result, bail};
use api::client::Client;
use api::command::Command;
use clap::Subcommand;
use domain::id::TaskId;

use super::command_run::RunArgs;
use super::logs::LogsArgs;
use super::workspace;
use crate::auth::session::Session;
use crate::failure::Failure;
use crate::follow::{self, state};
use crate::output;
use crate::table::{Format, Table, time};
use crate::target::Target;

/// What can be done with commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command; ends with its exit status
    Run(RunArgs),
    /// List your commands
    #[command(visible_alias = "ls")]
    List {
        /// Everyone's
        #[arg(short, long)]
        all: bool,
        /// Only those in this workspace
        #[arg(short, long, visible_alias = "workspace-name", value_name = "NAME")]
        workspace: Option<String>,
        /// Print ids only
        #[arg(short, long, conflicts_with_all = ["json", "csv"])]
        quiet: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Print a command's output
    Logs(LogsArgs),
    /// Show all that is known of a command
    Describe {
        /// Id, or its beginning
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// End commands
    Kill {
        /// Ids, or their beginnings
        #[arg(required = true)]
        ids: Vec<String>,
        /// Go on with the next one when one can't be ended
        #[arg(short, long)]
        force: bool,
    },
    /// Print a command's configuration
    Config {
        /// Id, or its beginning
        id: String,
        /// Print JSON, not YAML
        #[arg(long)]
        json: bool,
    },
    /// Change a command
    #[command(subcommand)]
    Set(Set),
}

/// What can be changed.
#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// Move a command in the queue
    Priority {
        /// Id, or its beginning
        id: String,
        /// 1 to 99, lower comes first
        #[arg(value_parser = clap::value_parser!(i64).range(domain::config::PRIORITIES))]
        priority: i64,
    },
}

/// Carries out the verb that was given, all but `run`, which ends in a status of its own.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::Run(_) => Ok(()),
        Verb::List { all, workspace, quiet, format } => {
            list(session, all, workspace.as_deref(), quiet, format).await
        }
        Verb::Logs(args) => super::logs::logs(session, args).await,
        Verb::Describe { id, format } => describe(session, &id, format).await,
        Verb::Kill { ids, force } => kill(session, &ids, force).await,
        Verb::Config { id, json } => {
            let id = find(session, &id).await?;
            let config = session.call(async |client| client.command(&id).await).await?.config;
            if json { output::json(&config) } else { output::yaml(&config) }
        }
        Verb::Set(Set::Priority { id, priority }) => {
            let id = find(session, &id).await?;
            let change = session.call(async |client| client.set_command_priority(&id, priority).await).await;
            change.with_context(|| format!("can't set the priority of {id}"))?;
            output::note(&format!("The priority of {id} is {priority} now."));
            Ok(())
        }
    }
}

/// The id that `text` is, or is the beginning of.
pub(crate) async fn find(session: &mut Session, text: &str) -> Result<String> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(id) = text.parse::<TaskId>() {
        return Ok(id.to_string());
    }
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        bail!(Failure::Usage(format!("'{text}' is neither the id of a command nor the beginning of one")));
    }
    let found = session.call(async |client| client.commands_by_prefix(&text).await).await?;
    match found.as_slice() {
        [] => bail!(Failure::NotFound(format!("no command's id begins with {text}"))),
        [one] => Ok(one.id.clone()),
        several => {
            let ids: Vec<_> = several.iter().take(5).map(|command| command.id.as_str()).collect();
            let more = if several.len() > ids.len() { " and others" } else { "" };
            bail!(Failure::Usage(format!(
                "{} commands' ids begin with {text}: {}{more}; give more of it",
                several.len(),
                ids.join(", ")
            )))
        }
    }
}

async fn list(
    session: &mut Session,
    all: bool,
    workspace: Option<&str>,
    quiet: bool,
    format: Format,
) -> Result<()> {
    let within = match workspace {
        Some(name) => Some(workspace::find(session, name).await?.id),
        None => None,
    };
    let commands = if all {
        session.call(async |client| client.commands(&[], within).await).await?
    } else {
        // Asked, not remembered: the account may have another name by now.
        let mine =
            async |client: &Client| client.commands(&[&client.me().await?.user.username], within).await;
        session.call(mine).await?
    };
    if quiet {
        return commands.iter().try_for_each(|command| output::line(&command.id));
    }
    let workspaces = if format.json {
        Vec::new()
    } else {
        session.call(async |client| client.workspaces(None, None).await).await?
    };
    let workspace_name = |id: i64| match workspaces.iter().find(|workspace| workspace.id == id) {
        Some(workspace) => workspace.name.clone(),
        None => format!("missing workspace id {id}"),
    };
    let mut table = Table::new(&[
        "id",
        "username",
        "description",
        "state",
        "exitStatus",
        "resourcePool",
        "workspaceName",
    ]);
    for command in &commands {
        // One long reason would make all rows long; `command describe` has all of it (ME15).
        let short = |status: String| if output::is_for_people() { cut(&status) } else { status };
        // Programs find Determined's words; people see why it waits and for how many.
        let (state, status) = waits(command)
            .filter(|_| !format.csv)
            .unwrap_or_else(|| (state(command).to_owned(), command.exit_status.clone()));
        table.row([
            command.id.clone(),
            command.username.clone(),
            command.description.clone(),
            state,
            short(status),
            command.resource_pool.clone(),
            workspace_name(command.workspace_id),
        ]);
    }
    table.print(format, &commands)
}

/// Longest reason in a table on a terminal, in characters.
const REASON: usize = 60;

fn cut(text: &str) -> String {
    match text.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// For how many others a command waits, and why.
fn waits(command: &Command) -> Option<(String, String)> {
    let reason = command.waiting_for.clone()?;
    let state = state(command);
    Some(match command.jobs_ahead {
        None | Some(0) => (format!("{state} (next)"), reason),
        Some(ahead) => (format!("{state} ({ahead} before it)"), reason),
    })
}

async fn describe(session: &mut Session, id: &str, format: Format) -> Result<()> {
    let id = find(session, id).await?;
    let command = session.call(async |client| client.command(&id).await).await?.command;
    let mut table = Table::new(&["field", "value"]);
    let mut add = |field: &str, value: String| table.row([field.to_owned(), value]);
    add("id", command.id.clone());
    add("username", command.username.clone());
    add("description", command.description.clone());
    add("state", state(&command).to_owned());
    if let Some(reason) = &command.waiting_for {
        add("waitingFor", reason.clone());
    }
    if let Some(ahead) = command.jobs_ahead {
        add("jobsAhead", ahead.to_string());
    }
    add("startTime", time(&command.start_time));
    add("endTime", command.end_time.as_deref().map(time).unwrap_or_default());
    add("exitCode", command.exit_code.map(|code| code.to_string()).unwrap_or_default());
    if let Some(signal) = command.exit_signal {
        add("exitSignal", domain::task::signal_name(signal));
    }
    add("exitStatus", command.exit_status.clone());
    add("runsAs", command.runs_as.clone());
    add("agentId", command.agent_id.clone().unwrap_or_default());
    add("slots", command.slots.to_string());
    add("priority", command.priority.to_string());
    add("resourcePool", command.resource_pool.clone());
    add("workspaceId", command.workspace_id.to_string());
    table.print(format, &command)
}

async fn kill(session: &mut Session, ids: &[String], force: bool) -> Result<()> {
    let mut failed = None;
    for text in ids {
        match kill_one(session, text).await {
            Ok(said) => output::note(&said),
            Err(error) if force => {
                output::note(&format!("{error:#}"));
                failed = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(_) => bail!("not all of the commands could be ended"),
        None => Ok(()),
    }
}

/// Ends a command and says what became of it (B18).
async fn kill_one(session: &mut Session, text: &str) -> Result<String> {
    let id = find(session, text).await?;
    let before = session.call(async |client| client.command(&id).await).await?.command;
    let killed = session.call(async |client| client.kill_command(&id).await).await;
    let after = killed.with_context(|| format!("can't end {id}"))?;
    Ok(match (state(&before), state(&after)) {
        (follow::OVER, _) => format!("Command {id} had ended already: {}", before.exit_status),
        ("QUEUED", follow::OVER) => format!("Command {id} was taken out of the queue."),
        _ => format!("Command {id} was told to end."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn me15_long_reasons_are_cut() {
        assert_eq!(cut("it waits for 1 slot"), "it waits for 1 slot");
        assert_eq!(cut(&"é".repeat(REASON)), "é".repeat(REASON));
        assert_eq!(cut(&"é".repeat(REASON + 1)), format!("{}…", "é".repeat(REASON)));
    }
}
