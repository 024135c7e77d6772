//! `muster user login`, `logout` and `whoami`: sessions of one's own.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use api::client::ClientError;
use clap::Args;

use super::cluster_message;
use crate::auth::login::{self as auth, Means};
use crate::auth::password;
use crate::auth::session::Session;
use crate::auth::store::Store;
use crate::auth::trust;
use crate::failure::Failure;
use crate::output;
use crate::target::{Secret, Target};

/// Arguments of `user login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user [default: the one of -u, else the one that is logged in]
    name: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Arguments of `user logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// End the sessions of every user that are kept here for this master
    #[arg(long)]
    all: bool,
}

/// Starts a session and makes its user the active one.
pub(crate) async fn login(args: LoginArgs, target: &Target) -> Result<()> {
    let client = trust::client(target).await?;
    let store = Store::new(target.config_dir.clone(), &target.address);
    let Some(name) = args.name.or_else(|| target.user.clone()).or(store.read()?.active_user) else {
        bail!(Failure::Usage("name the user: muster user login NAME".to_owned()));
    };
    let means = if args.password_stdin {
        Means::Given(password::from_stdin()?)
    } else {
        Means::Ask(target.password.clone().map(|Secret(password)| password))
    };
    let login = auth::sign_in(&client, &store, &name, &means).await?;
    let user = login.user.username;
    let mut replaced = None;
    store.update(|kept| {
        replaced = kept.tokens.insert(user.clone(), login.token);
        kept.active_user = Some(user.clone());
    })?;
    if let Some(old) = replaced {
        // Nobody can use it any more; left alone it would stand in the list of sessions for a month.
        let _ = client.with_token(Some(old)).logout().await;
    }
    output::note(&format!("Logged in as {user}."));
    // That it can't be asked for is no reason to be told of anything.
    cluster_message::tell(client.info().await.ok().and_then(|info| info.cluster_message).as_deref());
    Ok(())
}

/// Ends sessions, here and on the server.
pub(crate) async fn logout(args: LogoutArgs, target: &Target) -> Result<()> {
    let client = trust::client(target).await?;
    let store = Store::new(target.config_dir.clone(), &target.address);
    let kept = store.read()?;
    let user = target.user.clone().or_else(|| kept.active_user.clone());
    let was_active = kept.active_user.filter(|active| args.all || Some(active) == user.as_ref());
    let ending: Vec<(String, String)> =
        kept.tokens.into_iter().filter(|(name, _)| args.all || Some(name) == user.as_ref()).collect();
    // Whatever the server says, the tokens leave this machine.
    if args.all || user.is_some() {
        store.update(|kept| {
            kept.tokens.retain(|name, _| !ending.iter().any(|(ended, _)| ended == name));
            if args.all || kept.active_user == user {
                kept.active_user = None;
            }
        })?;
    }
    let mut failure = None;
    for (name, token) in &ending {
        match client.with_token(Some(token.clone())).logout().await {
            // A refused one had ended already.
            Ok(()) | Err(ClientError::Api { status: 401 | 403, .. }) => {}
            Err(error) => failure = Some((name, error)),
        }
    }
    let names: BTreeSet<_> = ending.iter().map(|(name, _)| name).chain(&was_active).collect();
    for name in &names {
        output::note(&format!("Logged out {name}."));
    }
    if names.is_empty() {
        output::note("Nobody was logged in.");
    }
    match failure {
        Some((name, error)) => Err(error)
            .with_context(|| format!("{name} is logged out here, but the session goes on at the master")),
        None => Ok(()),
    }
}

/// Prints the caller's name.
pub(crate) async fn whoami(session: &mut Session) -> Result<()> {
    let me = session.call(async |client| client.me().await).await?;
    auth::urge_password(&me.user, me.blank_password);
    output::line(&me.user.username)
}
