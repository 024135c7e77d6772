//! `muster user …`: the tree of verbs, and accounts as administrators manage them.

use anyhow::{Context, Result, bail};
use api::user::{AgentUserGroup, CreateUser, NewUser, PatchUser, User};
use clap::{ArgGroup, Args, Subcommand};

use super::{change_password, delete_user, login, register, sessions};
use crate::auth::password;
use crate::auth::session::Session;
use crate::failure::Failure;
use crate::output;
use crate::table::{Format, Table, yes_no};
use crate::target::Target;

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Log in, for 30 days
    Login(login::LoginArgs),
    /// End your session, here and on the server
    Logout(login::LogoutArgs),
    /// Print who you are
    Whoami,
    /// List the active users
    #[command(visible_alias = "ls")]
    List {
        /// Deactivated users too
        #[arg(short, long)]
        all: bool,
        /// Who waits to be let in, in place of the others
        #[arg(long, conflicts_with = "all")]
        pending: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Make an account, with a blank password unless told otherwise
    Create {
        /// Its name
        name: String,
        /// Make it an administrator
        #[arg(long)]
        admin: bool,
        /// It belongs to no person: it has no password, and acts by the access tokens that `token create` makes for it
        #[arg(long, conflicts_with = "password_stdin")]
        service: bool,
        /// Name for people
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        /// Read its password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Ask for an account
    Register(register::RegisterArgs),
    /// Let a user in: one who registered, or again one who was deactivated
    Activate {
        /// The user
        name: String,
    },
    /// Turn away somebody who registered
    Reject {
        /// The user
        name: String,
    },
    /// Print an invitation, good for one person to register with
    Invite(register::InviteArgs),
    /// List the invitations to register
    Invitations(Format),
    /// End all sessions of a user and let them in no more; what they run goes on, what they queued waits
    Deactivate {
        /// The user
        name: String,
        /// End all that they have running and queued, too
        #[arg(long)]
        kill: bool,
    },
    /// Change a password: your own, or as an administrator anybody's
    ChangePassword(change_password::ChangePasswordArgs),
    /// Give a user another name
    Rename {
        /// The name now
        old: String,
        /// The name from now on
        new: String,
    },
    /// Change what is known of a user
    Edit(EditArgs),
    /// Take an account away for good
    Delete(delete_user::DeleteArgs),
    /// See where a user is logged in, and end that
    Sessions(sessions::SessionsArgs),
    /// Have a user's tasks run as a Unix user of the agents
    LinkWithAgentUser(LinkArgs),
    /// Have a user's tasks run as those of accounts without a link again
    UnlinkAgentUser {
        /// The user
        name: String,
    },
}

/// Arguments of `user edit`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("changes").required(true).multiple(true)))]
pub(crate) struct EditArgs {
    /// The user
    name: String,
    /// Name for people; empty for none
    #[arg(long, value_name = "TEXT", group = "changes")]
    display_name: Option<String>,
    /// Where mail reaches the user; empty for nowhere
    #[arg(long, value_name = "ADDRESS", group = "changes")]
    email: Option<String>,
    /// Account name
    #[arg(long, value_name = "NEW", group = "changes")]
    username: Option<String>,
    /// Administrator or not
    #[arg(long, value_name = "BOOL", group = "changes")]
    admin: Option<bool>,
    /// May come in or not
    #[arg(long, value_name = "BOOL", group = "changes")]
    active: Option<bool>,
}

/// Arguments of `user link-with-agent-user`.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The user
    name: String,
    /// User id
    #[arg(long, value_name = "UID")]
    agent_uid: u32,
    /// User name
    #[arg(long, value_name = "NAME")]
    agent_user: String,
    /// Group id
    #[arg(long, value_name = "GID")]
    agent_gid: u32,
    /// Group name
    #[arg(long, value_name = "GROUP")]
    agent_group: String,
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    match verb {
        // These come before there is a session, or end it.
        Verb::Login(args) => return login::login(args, target).await,
        Verb::Logout(args) => return login::logout(args, target).await,
        Verb::Register(args) => return register::register(args, target).await,
        _ => {}
    }
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::Login(_) | Verb::Logout(_) | Verb::Register(_) => Ok(()),
        Verb::Whoami => login::whoami(session).await,
        Verb::List { pending: true, format, .. } => register::pending(session, format).await,
        Verb::List { all, format, .. } => list(session, all, format).await,
        Verb::Create { name, admin, service, display_name, password_stdin } => {
            let new = NewUser {
                username: Some(name),
                display_name,
                admin: Some(admin),
                service: Some(service),
                active: Some(true),
                ..NewUser::default()
            };
            create(session, new, password_stdin).await
        }
        Verb::Activate { name } => set_active(session, &name, true, false).await,
        Verb::Deactivate { name, kill } => set_active(session, &name, false, kill).await,
        Verb::Reject { name } => register::reject(session, &name).await,
        Verb::Invite(args) => register::invite(session, args).await,
        Verb::Invitations(format) => register::invitations(session, format).await,
        Verb::Delete(args) => delete_user::delete(session, args).await,
        Verb::ChangePassword(args) => change_password::change_password(session, args).await,
        Verb::Rename { old, new } => {
            let change = PatchUser { username: Some(new), ..PatchUser::default() };
            edit(session, &old, change, "rename").await
        }
        Verb::Edit(args) => {
            let change = PatchUser {
                username: args.username,
                display_name: args.display_name,
                email: args.email,
                admin: args.admin,
                active: args.active,
                ..PatchUser::default()
            };
            edit(session, &args.name, change, "edit").await
        }
        Verb::Sessions(args) => sessions::run(session, args).await,
        Verb::LinkWithAgentUser(args) => link(session, args).await,
        Verb::UnlinkAgentUser { name } => unlink(session, &name).await,
    }
}

async fn list(session: &mut Session, all: bool, format: Format) -> Result<()> {
    let only = (!all).then_some(true);
    let users = session.call(async |client| client.users(only).await).await?;
    let mut table = Table::new(&[
        "User Id",
        "Username",
        "Display Name",
        "Admin",
        "Active",
        "Remote",
        "Agent Uid",
        "Agent Gid",
        "Agent User",
        "Agent Group",
    ]);
    let number = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    for user in &users {
        let link = user.agent_user_group.clone().unwrap_or_default();
        table.row([
            user.id.to_string(),
            user.username.clone(),
            user.display_name.clone(),
            yes_no(user.admin),
            yes_no(user.active),
            yes_no(user.remote),
            number(link.agent_uid),
            number(link.agent_gid),
            link.agent_user.unwrap_or_default(),
            link.agent_group.unwrap_or_default(),
        ]);
    }
    table.print(format, &users)
}

async fn create(session: &mut Session, new: NewUser, password_stdin: bool) -> Result<()> {
    let name = new.username.clone().unwrap_or_default();
    let password = if password_stdin { password::new_for(&name, true)? } else { String::new() };
    let new =
        CreateUser { user: Some(new), password: Some(password::hashed(&password)), is_hashed: Some(true) };
    let made = session.call(async |client| client.create_user(&new).await).await;
    let made = made.with_context(|| format!("can't create user {name}"))?;
    output::note(&format!("User {} was created.", made.username));
    if made.service {
        let acting = session.option();
        output::note(&format!("Let a program act as it with: muster{acting} token create {}", made.username));
    }
    Ok(())
}

async fn set_active(session: &mut Session, name: &str, active: bool, kill: bool) -> Result<()> {
    let change = PatchUser { active: Some(active), kill_tasks: kill.then_some(true), ..PatchUser::default() };
    let verb = if active { "activate" } else { "deactivate" };
    patch(session, name, &change, verb).await?;
    let what_follows = match (active, kill) {
        (true, _) => "",
        (false, true) => " All their sessions are over, and all their tasks are told to end.",
        (false, false) => {
            " All their sessions are over. What they run goes on and what they queued waits: `--kill` ends that."
        }
    };
    output::note(&format!("User {name} was {verb}d.{what_follows}"));
    Ok(())
}

async fn edit(session: &mut Session, name: &str, change: PatchUser, verb: &str) -> Result<()> {
    let changed = patch(session, name, &change, verb).await?;
    if changed.username != name {
        let kept = session.store().rename(name, &changed.username);
        if let Err(error) = kept {
            output::note(&format!("{error:#}"));
        }
        output::note(&format!("User {name} is {} now.", changed.username));
    } else {
        output::note(&format!("User {name} was changed."));
    }
    Ok(())
}

async fn link(session: &mut Session, args: LinkArgs) -> Result<()> {
    let change = PatchUser {
        agent_user_group: Some(AgentUserGroup {
            agent_uid: Some(args.agent_uid.into()),
            agent_gid: Some(args.agent_gid.into()),
            agent_user: Some(args.agent_user.clone()),
            agent_group: Some(args.agent_group.clone()),
        }),
        ..PatchUser::default()
    };
    patch(session, &args.name, &change, "link").await?;
    let (name, uid) = (&args.name, args.agent_uid);
    // Root of a task is nobody outside of it.
    let inside = if uid == 0 { ": root inside of the task alone, as without a link" } else { "" };
    output::note(&format!(
        "Tasks that {name} starts from now on run as {}:{uid} {}:{}{inside}. To take that away: muster user \
         unlink-agent-user {name}",
        args.agent_user, args.agent_group, args.agent_gid
    ));
    Ok(())
}

async fn unlink(session: &mut Session, name: &str) -> Result<()> {
    let change = PatchUser { unlink_agent_user: Some(true), ..PatchUser::default() };
    patch(session, name, &change, "unlink").await?;
    output::note(&format!("Tasks that {name} starts from now on run as those of accounts without a link."));
    Ok(())
}

/// Changes the account called `name`.
pub(crate) async fn patch(session: &mut Session, name: &str, change: &PatchUser, verb: &str) -> Result<User> {
    let problem = || format!("can't {verb} user {name}");
    let user = find(session, name).await.with_context(problem)?;
    session.call(async |client| client.patch_user(user.id, change).await).await.with_context(problem)
}

/// The account called `name`.
pub(crate) async fn find(session: &mut Session, name: &str) -> Result<User> {
    if name.trim().is_empty() {
        bail!(Failure::Usage("the user name is empty".to_owned()));
    }
    session.call(async |client| client.user_by_name(name).await).await
}
