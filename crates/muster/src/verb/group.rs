//! `muster group …`: groups of users, who can be members of workspaces and projects together.

use anyhow::{Context, Result, bail};
use api::few::Few;
use api::group::{CreateGroup, UpdateGroup};
use clap::Subcommand;

use super::user::find;
use crate::auth::session::Session;
use crate::failure::Failure;
use crate::output;
use crate::table::{Format, Table, yes_no};
use crate::target::Target;

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a group
    Create {
        /// Its name
        name: String,
        /// A user who is in it from the beginning; may be given several times
        #[arg(long, value_name = "USER")]
        add_user: Vec<String>,
    },
    /// List the groups
    #[command(visible_alias = "ls")]
    List {
        /// Only those that this user is in
        #[arg(long, value_name = "USER")]
        member: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Show who is in a group
    Describe {
        /// The group
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Put users into a group
    AddUser {
        /// The group
        group: String,
        /// The users, also separated by commas
        #[arg(required = true, value_delimiter = ',')]
        users: Vec<String>,
    },
    /// Take users out of a group
    RemoveUser {
        /// The group
        group: String,
        /// The users, also separated by commas
        #[arg(required = true, value_delimiter = ',')]
        users: Vec<String>,
    },
    /// Give a group another name
    ChangeName {
        /// The name now
        old: String,
        /// The name from now on
        new: String,
    },
    /// Delete a group; its members lose what they could do by it
    Delete {
        /// The group
        name: String,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::Create { name, add_user } => create(session, name, &add_user).await,
        Verb::List { member, format } => list(session, member.as_deref(), format).await,
        Verb::Describe { name, format } => describe(session, &name, format).await,
        Verb::AddUser { group, users } => {
            let change = UpdateGroup { add_users: ids(session, &users).await?, ..UpdateGroup::default() };
            update(session, &group, &change).await?;
            output::note(&format!("{} can do what {group} can do.", users.join(", ")));
            Ok(())
        }
        Verb::RemoveUser { group, users } => {
            let change = UpdateGroup { remove_users: ids(session, &users).await?, ..UpdateGroup::default() };
            update(session, &group, &change).await?;
            output::note(&format!("{} left {group}.", users.join(", ")));
            Ok(())
        }
        Verb::ChangeName { old, new } => {
            let change = UpdateGroup { name: Some(new), ..UpdateGroup::default() };
            let name = update(session, &old, &change).await?;
            output::note(&format!("Group {old} is {name} now."));
            Ok(())
        }
        Verb::Delete { name, yes } => delete(session, &name, yes).await,
    }
}

async fn create(session: &mut Session, name: String, users: &[String]) -> Result<()> {
    let new = CreateGroup { add_users: ids(session, users).await?, name: Some(name.clone()) };
    let made = session.call(async |client| client.create_group(&new).await).await;
    let made = made.with_context(|| format!("can't create group {name}"))?;
    output::note(&format!("Group {} was created.", made.name));
    Ok(())
}

async fn list(session: &mut Session, member: Option<&str>, format: Format) -> Result<()> {
    let member = match member {
        Some(name) => Some(find(session, name).await?.id),
        None => None,
    };
    let groups = session.call(async |client| client.groups(member).await).await?;
    let mut table = Table::new(&["Group ID", "Name", "Members"]);
    for found in &groups {
        let id = found.group.group_id.to_string();
        table.row([id, found.group.name.clone(), found.num_members.to_string()]);
    }
    table.print(format, &groups)
}

async fn describe(session: &mut Session, name: &str, format: Format) -> Result<()> {
    let id = find_group(session, name).await?;
    let group = session.call(async |client| client.group(id).await).await?;
    let mut table = Table::new(&["User Id", "Username", "Display Name", "Admin", "Active"]);
    for user in &group.users {
        table.row([
            user.id.to_string(),
            user.username.clone(),
            user.display_name.clone(),
            yes_no(user.admin),
            yes_no(user.active),
        ]);
    }
    table.print(format, &group)
}

async fn delete(session: &mut Session, name: &str, yes: bool) -> Result<()> {
    let problem = || format!("can't delete group {name}");
    let id = find_group(session, name).await.with_context(problem)?;
    if !yes && !output::confirm(&format!("Delete group {name}, and what its members can do by it? [y/N] "))? {
        bail!("nothing was deleted; --yes deletes without asking");
    }
    session.call(async |client| client.delete_group(id).await).await.with_context(problem)?;
    output::note(&format!("Group {name} was deleted."));
    Ok(())
}

/// Changes a group, and gives its name afterwards.
async fn update(session: &mut Session, name: &str, change: &UpdateGroup) -> Result<String> {
    let problem = || format!("can't change group {name}");
    let id = find_group(session, name).await.with_context(problem)?;
    let changed = session.call(async |client| client.update_group(id, change).await).await;
    Ok(changed.with_context(problem)?.name)
}

/// The id of the group called `name`.
pub(crate) async fn find_group(session: &mut Session, name: &str) -> Result<i64> {
    let found = session.call(async |client| client.group_by_name(name).await).await?;
    match found {
        Some(found) => Ok(found.group.group_id),
        None => bail!(Failure::NotFound(format!("there is no group {name}"))),
    }
}

async fn ids(session: &mut Session, names: &[String]) -> Result<Few<i64>> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(find(session, name).await.with_context(|| name.clone())?.id);
    }
    Ok(ids.into())
}
