//! `muster template …`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use api::template::{NewTemplate, Template};
use clap::Subcommand;
use domain::config::secrets::Layer;
use serde_json::value::to_raw_value;

use super::{member, workspace};
use crate::auth::session::Session;
use crate::launch_config;
use crate::output;
use crate::table::{Format, Table};
use crate::target::Target;

/// What can be done with templates.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the templates that you see
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Print a template's configuration
    Describe {
        /// The template
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Make a template, or give it another configuration
    Set {
        /// Its name
        name: String,
        /// Its configuration, YAML
        file: PathBuf,
        /// Where a new one is to be [default: the workspace that everybody shares]
        #[arg(short, long, value_name = "NAME")]
        workspace: Option<String>,
    },
    /// Delete a template; what was started with it goes on
    #[command(visible_aliases = ["remove", "rm"])]
    Delete {
        /// The template
        name: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    match verb {
        Verb::List { format } => list(&mut Session::open(target).await?, format).await,
        Verb::Describe { name, format } => describe(&mut Session::open(target).await?, &name, format).await,
        Verb::Set { name, file, workspace } => {
            // What is wrong with the file is found before anybody is asked for a password.
            let config = launch_config::from_file(&file)?;
            let session = &mut Session::open(target).await?;
            let problem = || format!("can't set template {name}");
            let workspace_id = match workspace {
                Some(workspace) => Some(workspace::find(session, &workspace).await.with_context(problem)?.id),
                None => None,
            };
            let new = NewTemplate { config: Some(to_raw_value(&config)?), workspace_id };
            let is_own = Layer::new(config).has_secrets();
            let set = session.call(async |client| client.put_template(&name, &new).await).await;
            set.with_context(problem)?;
            output::note(&format!("Template {name} was set."));
            if is_own {
                output::note(
                    "It holds variables or other secrets, which are for its owner's eyes: nobody else can start from it.",
                );
            }
            Ok(())
        }
        Verb::Delete { name, yes } => {
            let session = &mut Session::open(target).await?;
            let problem = || format!("can't delete template {name}");
            session.call(async |client| client.template(&name).await).await.with_context(problem)?;
            member::sure(&format!("template {name}"), yes)?;
            let deleted = session.call(async |client| client.delete_template(&name).await).await;
            deleted.with_context(problem)?;
            output::note(&format!("Template {name} is gone."));
            Ok(())
        }
    }
}

async fn list(session: &mut Session, format: Format) -> Result<()> {
    let templates = session.call(async |client| client.templates().await).await?;
    let workspaces = session.call(async |client| client.workspaces(None, None).await).await?;
    let workspace_name = |id: i64| match workspaces.iter().find(|workspace| workspace.id == id) {
        Some(workspace) => workspace.name.clone(),
        None => format!("missing workspace id {id}"),
    };
    let mut table = Table::new(&["Name", "Workspace", "Owner"]);
    for Template { name, workspace_id, username, .. } in &templates {
        table.row([name.clone(), workspace_name(*workspace_id), username.clone()]);
    }
    table.print(format, &templates)
}

/// YAML that `template set` takes again, unless told otherwise.
async fn describe(session: &mut Session, name: &str, format: Format) -> Result<()> {
    let template = session.call(async |client| client.template(name).await).await?;
    if !format.json && !format.csv {
        return output::yaml(&template.config);
    }
    let mut table = Table::new(&["field", "value"]);
    table.row(["name".to_owned(), template.name.clone()]);
    table.row(["workspaceId".to_owned(), template.workspace_id.to_string()]);
    table.row(["username".to_owned(), template.username.clone()]);
    table.row(["config".to_owned(), template.config.to_string()]);
    table.print(format, &template)
}
