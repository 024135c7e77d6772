//! `muster project …`: the workspace comes first, as with `det`.

use anyhow::{Context, Result};
use api::client::Place;
use api::project::{EditProject, Project};
use clap::{ArgGroup, Args, Subcommand};

use super::member::{self, Membership, Who};
use super::workspace;
use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, yes_no};
use crate::target::Target;

/// A project in its workspace.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The workspace
    workspace: String,
    /// The project
    project: String,
}

/// What can be done with projects.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the projects of a workspace
    #[command(visible_alias = "ls")]
    List {
        /// The workspace
        workspace: String,
        #[command(flatten)]
        format: Format,
    },
    /// Make a project
    Create(CreateArgs),
    /// Show all that is known of a project
    Describe {
        #[command(flatten)]
        name: Named,
        #[command(flatten)]
        format: Format,
    },
    /// Change a project
    Edit(EditArgs),
    /// Put a project away
    Archive(Named),
    /// Take a project out again
    Unarchive(Named),
    /// Delete a project
    Delete {
        #[command(flatten)]
        name: Named,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// Move a project to another workspace
    Move {
        #[command(flatten)]
        name: Named,
        /// Where to
        destination: String,
    },
    /// List who is in a project
    Members {
        #[command(flatten)]
        name: Named,
        #[command(flatten)]
        format: Format,
    },
    /// Make somebody a member of a project, or change their role
    AddMember {
        #[command(flatten)]
        name: Named,
        #[command(flatten)]
        member: Membership,
    },
    /// Take somebody out of a project
    RemoveMember {
        #[command(flatten)]
        name: Named,
        #[command(flatten)]
        who: Who,
    },
}

/// Arguments of `project create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    name: Named,
    /// One sentence
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A short name of up to 5 letters and digits [default: from the name]
    #[arg(long)]
    key: Option<String>,
    /// A word to find it by; may be given several times
    #[arg(long, value_name = "WORD")]
    tag: Vec<String>,
    /// Let it exist for its members, and those of its workspace, only
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    format: Format,
}

/// Arguments of `project edit`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("changes").required(true).multiple(true)))]
pub(crate) struct EditArgs {
    #[command(flatten)]
    name: Named,
    /// Another name
    #[arg(long, alias = "new_name", value_name = "NEW", group = "changes")]
    new_name: Option<String>,
    /// One sentence
    #[arg(long, value_name = "TEXT", group = "changes")]
    description: Option<String>,
    /// A short name of up to 5 letters and digits
    #[arg(long, group = "changes")]
    key: Option<String>,
    /// Words to find it by, in place of those that it has
    #[arg(long, value_name = "WORD", group = "changes")]
    tag: Option<Vec<String>>,
    /// Exists for its members only, or not
    #[arg(long, value_name = "BOOL", group = "changes")]
    private: Option<bool>,
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::List { workspace, format } => list(session, &workspace, format).await,
        Verb::Create(args) => create(session, args).await,
        Verb::Describe { name, format } => {
            let found = find(session, &name).await?;
            rows([&found]).print(format, &found)
        }
        Verb::Edit(args) => edit(session, args).await,
        Verb::Archive(name) => {
            let place = place(session, &name).await?;
            member::set_archived(session, place, &called(&name), true).await
        }
        Verb::Unarchive(name) => {
            let place = place(session, &name).await?;
            member::set_archived(session, place, &called(&name), false).await
        }
        Verb::Delete { name, yes } => {
            let place = place(session, &name).await?;
            member::delete(session, place, &called(&name), yes).await
        }
        Verb::Move { name, destination } => move_to(session, &name, &destination).await,
        Verb::Members { name, format } => {
            let found = find(session, &name).await?;
            let owner = (found.user_id, found.username.as_str());
            member::list(session, Place::Project(found.id), owner, format).await
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

fn called(name: &Named) -> String {
    format!("project {}", name.project)
}

async fn find(session: &mut Session, name: &Named) -> Result<Project> {
    let workspace = workspace::find(session, &name.workspace).await?.id;
    session.call(async |client| client.project_by_name(workspace, &name.project).await).await
}

async fn place(session: &mut Session, name: &Named) -> Result<Place> {
    Ok(Place::Project(find(session, name).await?.id))
}

/// The rows that `det` prints, and what is Muster's own behind them.
fn rows<'p>(projects: impl IntoIterator<Item = &'p Project>) -> Table {
    let mut table = Table::new(&[
        "ID",
        "Key",
        "Name",
        "Description",
        "# Experiments",
        "# Active Experiments",
        "Owner",
        "Tags",
        "Private",
        "Archived",
    ]);
    for project in projects {
        table.row([
            project.id.to_string(),
            project.key.clone(),
            project.name.clone(),
            project.description.clone(),
            project.num_experiments.to_string(),
            project.num_active_experiments.to_string(),
            project.username.clone(),
            project.tags.join(", "),
            yes_no(project.private),
            yes_no(project.archived),
        ]);
    }
    table
}

/// Lists the projects of a workspace.
pub(crate) async fn list(session: &mut Session, workspace: &str, format: Format) -> Result<()> {
    let workspace = workspace::find(session, workspace).await?.id;
    let projects = session.call(async |client| client.projects(workspace, None).await).await?;
    rows(&projects).print(format, &projects)
}

async fn create(session: &mut Session, args: CreateArgs) -> Result<()> {
    let problem = || format!("can't create {}", called(&args.name));
    let workspace = workspace::find(session, &args.name.workspace).await.with_context(problem)?.id;
    let new = EditProject {
        name: Some(args.name.project.clone()),
        key: args.key,
        description: args.description,
        tags: Some(args.tag.into()),
        private: Some(args.private),
    };
    let made = session.call(async |client| client.create_project(workspace, &new).await).await;
    let made = made.with_context(problem)?;
    rows([&made]).print(args.format, &made)
}

async fn edit(session: &mut Session, args: EditArgs) -> Result<()> {
    let problem = || format!("can't edit {}", called(&args.name));
    let change = EditProject {
        name: args.new_name,
        key: args.key,
        description: args.description,
        tags: args.tag.map(Into::into),
        private: args.private,
    };
    let id = find(session, &args.name).await.with_context(problem)?.id;
    let changed = session.call(async |client| client.patch_project(id, &change).await).await;
    let changed = changed.with_context(problem)?;
    output::note(&match changed.name == args.name.project {
        true => format!("Project {} was changed.", changed.name),
        false => format!("Project {} is {} now.", args.name.project, changed.name),
    });
    Ok(())
}

async fn move_to(session: &mut Session, name: &Named, destination: &str) -> Result<()> {
    let problem = || format!("can't move {}", called(name));
    let project = find(session, name).await.with_context(problem)?.id;
    let into = workspace::find(session, destination).await.with_context(problem)?.id;
    let moved = session.call(async |client| client.move_project(project, into).await).await;
    moved.with_context(problem)?;
    output::note(&format!("Project {} is in workspace {destination} now.", name.project));
    Ok(())
}
