//! `muster workspace …`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use api::client::Place;
use api::user::AgentUserGroup;
use api::workspace::{EditWorkspace, Workspace};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::value::{RawValue, to_raw_value};

use super::member::{self, Membership, Who};
use super::project;
use crate::auth::session::Session;
use crate::launch_config;
use crate::output;
use crate::table::{Format, Table, yes_no};
use crate::target::Target;

/// What can be done with workspaces.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the workspaces that you see
    #[command(visible_alias = "ls")]
    List {
        /// Archived ones too
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Make a workspace
    Create(CreateArgs),
    /// Show all that is known of a workspace
    Describe {
        /// The workspace
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Change a workspace
    Edit(EditArgs),
    /// Put a workspace away: nothing new gets into it
    Archive {
        /// The workspace
        name: String,
    },
    /// Take a workspace out again
    Unarchive {
        /// The workspace
        name: String,
    },
    /// Delete a workspace with its projects and templates; its tasks stay
    Delete {
        /// The workspace
        name: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// List the projects of a workspace
    ListProjects {
        /// The workspace
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// List who is in a workspace
    #[command(visible_alias = "list-members")]
    Members {
        /// The workspace
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Make somebody a member of a workspace, or change their role
    AddMember {
        /// The workspace
        name: String,
        #[command(flatten)]
        member: Membership,
    },
    /// Take somebody out of a workspace
    RemoveMember {
        /// The workspace
        name: String,
        #[command(flatten)]
        who: Who,
    },
}

/// Arguments of `workspace create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    name: String,
    /// Let it exist for its members only
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    format: Format,
}

/// Arguments of `workspace edit`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("changes").required(true).multiple(true)))]
pub(crate) struct EditArgs {
    /// The workspace
    workspace: String,
    /// Another name
    #[arg(long, value_name = "NEW", group = "changes")]
    name: Option<String>,
    /// Exists for its members only, or not
    #[arg(long, value_name = "BOOL", group = "changes")]
    private: Option<bool>,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// Have its tasks run as their users again
    #[arg(long, group = "changes", conflicts_with = "agent")]
    no_agent: bool,
}

/// The Unix identity that a workspace lays over its users'.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("agent").multiple(true)))]
pub(crate) struct AgentArgs {
    /// User id of its tasks
    #[arg(long, value_name = "UID", groups = ["agent", "changes"])]
    agent_uid: Option<u32>,
    /// User name of its tasks
    #[arg(long, value_name = "NAME", groups = ["agent", "changes"])]
    agent_user: Option<String>,
    /// Group id of its tasks
    #[arg(long, value_name = "GID", groups = ["agent", "changes"])]
    agent_gid: Option<u32>,
    /// Group name of its tasks
    #[arg(long, value_name = "GROUP", groups = ["agent", "changes"])]
    agent_group: Option<String>,
}

/// Where a workspace's experiments put their checkpoints.
#[derive(Debug, Args)]
pub(crate) struct StorageArgs {
    /// Where checkpoints go, YAML or JSON; a file with {} in it is where the installation's go
    #[arg(long, visible_alias = "checkpoint-storage-config-file", value_name = "FILE", group = "changes")]
    checkpoint_storage: Option<PathBuf>,
}

impl StorageArgs {
    /// From a file, for there may be keys in it.
    fn read(&self) -> Result<Option<Box<RawValue>>> {
        let read = |file| Ok(to_raw_value(&launch_config::from_file(file)?)?);
        self.checkpoint_storage.as_deref().map(read).transpose()
    }
}

impl AgentArgs {
    fn group(self) -> Option<AgentUserGroup> {
        let group = AgentUserGroup {
            agent_uid: self.agent_uid.map(i64::from),
            agent_gid: self.agent_gid.map(i64::from),
            agent_user: self.agent_user,
            agent_group: self.agent_group,
        };
        (group != AgentUserGroup::default()).then_some(group)
    }
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List { all, format } => list(session, all, format).await,
        Verb::Create(args) => create(session, args).await,
        Verb::Describe { name, format } => describe(session, &name, format).await,
        Verb::Edit(args) => edit(session, args).await,
        Verb::Archive { name } => {
            let place = place(session, &name).await?;
            member::set_archived(session, place, &called(&name), true).await
        }
        Verb::Unarchive { name } => {
            let place = place(session, &name).await?;
            member::set_archived(session, place, &called(&name), false).await
        }
        Verb::Delete { name, yes } => {
            let place = place(session, &name).await?;
            member::delete(session, place, &called(&name), yes).await
        }
        Verb::ListProjects { name, format } => project::list(session, &name, format).await,
        Verb::Members { name, format } => {
            let found = find(session, &name).await?;
            let owner = (found.user_id, found.username.as_str());
            member::list(session, Place::Workspace(found.id), owner, format).await
        }
        Verb::AddMember { name, member } => {
            let place = place(session, &name).await?;
            member::add(session, place, &called(&name), &member).await
        }
        Verb::RemoveMember { name, who } => {
            let place = place(session, &name).await?;
            member::remove(session, place, &called(&name), &who).await
        }
    }
}

fn called(name: &str) -> String {
    format!("workspace {name}")
}

/// The workspace called `name`.
pub(crate) async fn find(session: &mut Session, name: &str) -> Result<Workspace> {
    session.call(async |client| client.workspace_by_name(name).await).await
}

async fn place(session: &mut Session, name: &str) -> Result<Place> {
    Ok(Place::Workspace(find(session, name).await?.id))
}

/// The rows that `det` prints, and what is Muster's own behind them.
fn rows<'w>(workspaces: impl IntoIterator<Item = &'w Workspace>) -> Table {
    let mut table = Table::new(&[
        "ID",
        "Name",
        "# Projects",
        "Agent Uid",
        "Agent Gid",
        "Agent User",
        "Agent Group",
        "Owner",
        "Private",
        "Archived",
    ]);
    let number = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    for workspace in workspaces {
        let agent = workspace.agent_user_group.clone().unwrap_or_default();
        table.row([
            workspace.id.to_string(),
            workspace.name.clone(),
            workspace.num_projects.to_string(),
            number(agent.agent_uid),
            number(agent.agent_gid),
            agent.agent_user.unwrap_or_default(),
            agent.agent_group.unwrap_or_default(),
            workspace.username.clone(),
            yes_no(workspace.private),
            yes_no(workspace.archived),
        ]);
    }
    table
}

async fn list(session: &mut Session, all: bool, format: Format) -> Result<()> {
    let archived = (!all).then_some(false);
    let workspaces = session.call(async |client| client.workspaces(None, archived).await).await?;
    rows(&workspaces).print(format, &workspaces)
}

async fn create(session: &mut Session, args: CreateArgs) -> Result<()> {
    let name = args.name;
    let new = EditWorkspace {
        name: Some(name.clone()),
        private: Some(args.private),
        agent_user_group: args.agent.group(),
        checkpoint_storage_config: args.storage.read()?,
        ..EditWorkspace::default()
    };
    let made = session.call(async |client| client.create_workspace(&new).await).await;
    let made = made.with_context(|| format!("can't create workspace {name}"))?;
    rows([&made]).print(args.format, &made)
}

async fn describe(session: &mut Session, name: &str, format: Format) -> Result<()> {
    let found = find(session, name).await?;
    rows([&found]).print(format, &found)
}

async fn edit(session: &mut Session, args: EditArgs) -> Result<()> {
    let name = args.workspace;
    let problem = || format!("can't edit workspace {name}");
    let change = EditWorkspace {
        name: args.name,
        private: args.private,
        agent_user_group: if args.no_agent { Some(AgentUserGroup::default()) } else { args.agent.group() },
        checkpoint_storage_config: args.storage.read()?,
        ..EditWorkspace::default()
    };
    let id = find(session, &name).await.with_context(problem)?.id;
    let changed = session.call(async |client| client.patch_workspace(id, &change).await).await;
    let changed = changed.with_context(problem)?;
    output::note(&match changed.name == name {
        true => format!("Workspace {name} was changed."),
        false => format!("Workspace {name} is {} now.", changed.name),
    });
    Ok(())
}
