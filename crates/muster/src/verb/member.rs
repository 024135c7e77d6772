//! What `muster workspace` and `muster project` do alike: members, and asking before something goes.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result, bail};
use api::client::Place;
use api::workspace::SetMember;
use clap::{ArgGroup, Args, ValueEnum};

use super::group::find_group;
use super::user;
use crate::auth::session::Session;
use crate::failure::Failure;
use crate::output;
use crate::table::{Format, Table};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Read
    Viewer,
    /// Make and change things in it
    Editor,
    /// Change itself, and say who is in it
    Administrator,
}

/// Who is meant.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("who").required(true)))]
pub(crate) struct Who {
    /// The user
    #[arg(group = "who", value_name = "USER")]
    member: Option<String>,
    /// All of a group in place of one user
    #[arg(long, group = "who", value_name = "NAME")]
    group: Option<String>,
}

/// Somebody and a role.
#[derive(Debug, Args)]
pub(crate) struct Membership {
    #[command(flatten)]
    who: Who,
    /// What they may do
    #[arg(long, value_enum, default_value = "editor")]
    role: Role,
}

impl Who {
    fn called(&self) -> String {
        match (&self.member, &self.group) {
            (Some(name), _) => name.clone(),
            (None, group) => format!("group {}", group.as_deref().unwrap_or_default()),
        }
    }

    async fn resolve(&self, session: &mut Session) -> Result<SetMember> {
        let user_id = match &self.member {
            Some(name) => Some(user::find(session, name).await?.id),
            None => None,
        };
        let group_id = match &self.group {
            Some(name) => Some(find_group(session, name).await?),
            None => None,
        };
        Ok(SetMember { user_id, group_id, role: None })
    }
}

/// Lists members, before them whose the place is.
pub(crate) async fn list(
    session: &mut Session,
    place: Place,
    (owner, name): (i64, &str),
    format: Format,
) -> Result<()> {
    let members = session.call(async |client| client.members(place).await).await?;
    let mut table = Table::new(&["Name", "Kind", "Id", "Role"]);
    table.row([name.to_owned(), "user".to_owned(), owner.to_string(), "owner".to_owned()]);
    for member in &members {
        let kind = if member.user_id.is_some() { "user" } else { "group" };
        let id = member.user_id.or(member.group_id).unwrap_or_default();
        table.row([member.name.clone(), kind.to_owned(), id.to_string(), member.role.clone()]);
    }
    table.print(format, &members)
}

/// Gives somebody a role.
pub(crate) async fn add(session: &mut Session, place: Place, name: &str, new: &Membership) -> Result<()> {
    let who = new.who.called();
    let problem = || format!("can't make {who} a member of {name}");
    let role = match new.role {
        Role::Viewer => "viewer",
        Role::Editor => "editor",
        Role::Administrator => "administrator",
    };
    let member =
        SetMember { role: Some(role.to_owned()), ..new.who.resolve(session).await.with_context(problem)? };
    let set = session.call(async |client| client.set_member(place, &member).await).await;
    set.with_context(problem)?;
    output::note(&format!("{who} is {role} in {name} now."));
    Ok(())
}

/// Takes somebody's role away.
pub(crate) async fn remove(session: &mut Session, place: Place, name: &str, who: &Who) -> Result<()> {
    let called = who.called();
    let problem = || format!("can't remove {called} from {name}");
    let member = who.resolve(session).await.with_context(problem)?;
    let removed = session.call(async |client| client.remove_member(place, &member).await).await;
    removed.with_context(problem)?;
    output::note(&format!(
        "{called} has no role of their own in {name} any more; a group of theirs may still give them one."
    ));
    Ok(())
}

/// Puts a workspace or project away, or takes it out again.
pub(crate) async fn set_archived(
    session: &mut Session,
    place: Place,
    name: &str,
    archived: bool,
) -> Result<()> {
    let verb = if archived { "archive" } else { "unarchive" };
    let done = session.call(async |client| client.set_archived(place, archived).await).await;
    done.with_context(|| format!("can't {verb} {name}"))?;
    output::note(&format!("{} was {verb}d.", capital(name)));
    Ok(())
}

/// Deletes a workspace or project, when the person is sure.
pub(crate) async fn delete(session: &mut Session, place: Place, what: &str, yes: bool) -> Result<()> {
    sure(what, yes)?;
    let deleted = session.call(async |client| client.delete_place(place).await).await;
    deleted.with_context(|| format!("can't delete {what}"))?;
    output::note(&format!("{} is gone.", capital(what)));
    Ok(())
}

/// `workspace X` as the beginning of a sentence.
pub(crate) fn capital(what: &str) -> String {
    let mut chars = what.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// Asks before something goes for good.
pub(crate) fn sure(what: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!(Failure::Usage("there is no terminal to ask on: say --yes".to_owned()));
    }
    if !output::confirm(&format!("Delete {what} for good? [y/N] "))? {
        bail!("nothing was deleted; --yes deletes without asking");
    }
    Ok(())
}
