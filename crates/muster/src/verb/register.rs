//! `muster user register`, and what administrators do about it: `list --pending`, `reject`, `invite`, `invitations`.

use anyhow::{Context, Result, bail};
use api::registration::{Invite, Register};
use clap::Args;

use crate::auth::session::Session;
use crate::auth::{login, password, trust};
use crate::failure::Failure;
use crate::output;
use crate::table::{Format, Table, time};
use crate::target::Target;

/// Arguments of `user register`.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// The name that you want
    name: String,
    /// Where mail reaches you
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Ask for the code of an invitation
    #[arg(long, conflicts_with = "invitation_stdin")]
    invitation: bool,
    /// Read the code of an invitation from standard input, behind the password if that comes from there too
    #[arg(long)]
    invitation_stdin: bool,
}

/// Arguments of `user invite`.
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// The only address that may register with it; the invitation is mailed there
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Days that it is good for [default: 7]
    #[arg(long, value_name = "N")]
    days: Option<i64>,
}

/// Asks for an account, as nobody.
pub(crate) async fn register(args: RegisterArgs, target: &Target) -> Result<()> {
    let client = trust::client(target).await?;
    login::warn_of_plain_text(&client);
    let new = password::new_for(&args.name, args.password_stdin)?;
    if new.is_empty() {
        bail!(Failure::Usage("a new account needs a password".to_owned()));
    }
    let invitation = match (args.invitation_stdin, args.invitation) {
        (true, _) => Some(password::from_stdin()?),
        (_, true) => Some(password::ask_secret("Invitation code: ")?),
        _ => None,
    };
    let wish = Register {
        username: Some(args.name.clone()),
        email: Some(args.email),
        password: Some(password::hashed(&new)),
        is_hashed: Some(true),
        display_name: args.display_name,
        invitation,
    };
    let made = client.register(&wish).await.with_context(|| format!("can't register {}", args.name))?;
    let name = &made.user.username;
    output::note(&if made.user.active {
        format!("The account {name} is ready: log in with `muster user login {name}`.")
    } else {
        format!("The account {name} waits for an administrator to let it in.")
    });
    Ok(())
}

/// Lists who waits.
pub(crate) async fn pending(session: &mut Session, format: Format) -> Result<()> {
    let waiting = session.call(async |client| client.registrations(Some("pending")).await).await?;
    let mut table = Table::new(&["User Id", "Username", "E-mail", "Registered", "From"]);
    for row in &waiting {
        table.row([
            row.user_id.to_string(),
            row.username.clone(),
            row.email.clone(),
            time(&row.created_at),
            row.address.clone(),
        ]);
    }
    table.print(format, &waiting)
}

/// Turns somebody away.
pub(crate) async fn reject(session: &mut Session, name: &str) -> Result<()> {
    let done = session.call(async |client| client.reject_registration(name).await).await;
    done.with_context(|| format!("can't reject {name}"))?;
    output::note(&format!("The registration of {name} was rejected."));
    Ok(())
}

/// Makes an invitation. The code alone goes to standard output, so that it can be sent into a file.
pub(crate) async fn invite(session: &mut Session, args: InviteArgs) -> Result<()> {
    let invite = Invite { email: args.email, days: args.days };
    let made = session.call(async |client| client.invite_user(&invite).await).await;
    let made = made.context("can't invite anybody")?;
    output::line(&made.code)?;
    let whom = made.invitation.email.map(|email| format!(" for {email}")).unwrap_or_default();
    output::note(&format!(
        "Good once{whom}, until {}. Who has it registers with\n  muster user register NAME --email EMAIL --invitation\nor on \
         the page /users/register.",
        time(&made.invitation.expires_at)
    ));
    Ok(())
}

/// Lists invitations, without their codes.
pub(crate) async fn invitations(session: &mut Session, format: Format) -> Result<()> {
    let all = session.call(async |client| client.invitations().await).await?;
    let mut table = Table::new(&["Invitation Id", "E-mail", "Made", "Ends", "Used", "Used By"]);
    let users = session.call(async |client| client.users(None).await).await?;
    let name = |id: i64| match users.iter().find(|user| user.id == id) {
        Some(user) => user.username.clone(),
        None => format!("user {id}, who was deleted"),
    };
    for row in &all {
        table.row([
            row.id.to_string(),
            row.email.clone().unwrap_or_default(),
            time(&row.created_at),
            time(&row.expires_at),
            row.used_at.as_deref().map(time).unwrap_or_default(),
            row.used_by.map(name).unwrap_or_default(),
        ]);
    }
    table.print(format, &all)
}
