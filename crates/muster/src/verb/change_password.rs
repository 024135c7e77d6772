//! `muster user change-password`: one's own, or for administrators anybody's (P4, P13, P14).

use anyhow::{Context, Result};
use api::user::PatchUser;
use clap::Args;

use super::user;
use crate::auth::session::Session;
use crate::auth::{login, password};
use crate::output;

/// Arguments of `user change-password`.
#[derive(Debug, Args)]
pub(crate) struct ChangePasswordArgs {
    /// Whose password [default: your own]
    name: Option<String>,
    /// Read the new password from standard input; an empty line makes it blank
    #[arg(long)]
    password_stdin: bool,
}

/// Changes a password. That ends all sessions of its user, so one's own is started anew.
pub(crate) async fn change_password(session: &mut Session, args: ChangePasswordArgs) -> Result<()> {
    let me = session.call(async |client| client.me().await).await?.user;
    let target = match &args.name {
        Some(name) if *name != me.username => {
            user::find(session, name).await.with_context(|| format!("can't change the password of {name}"))?
        }
        _ => me.clone(),
    };
    let name = &target.username;
    let new = password::new_for(name, args.password_stdin)?;
    if !new.is_empty() {
        login::warn_of_plain_text(session.client());
    }
    let hashed = password::hashed(&new);
    let change = PatchUser { password: Some(hashed.clone()), is_hashed: Some(true), ..PatchUser::default() };
    session
        .call(async |client| client.patch_user(target.id, &change).await)
        .await
        .with_context(|| format!("can't change the password of {name}"))?;
    if target.id == me.id {
        let login = session.client().with_token(None).login(name, &hashed, None).await;
        let login = login.context("the password was changed, but logging in with it failed")?;
        session.adopt(&login);
    }
    output::note(&match (new.is_empty(), target.id == me.id) {
        (false, true) => format!("The password of {name} was changed; your other sessions have ended."),
        (false, false) => {
            format!("The password of {name} was changed, and all sessions of {name} have ended.")
        }
        (true, _) => format!("The password of {name} is blank now."),
    });
    Ok(())
}
