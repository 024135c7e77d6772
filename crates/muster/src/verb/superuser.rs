//! `muster superuser …`: who is an administrator (X7).

use anyhow::Result;
use api::user::PatchUser;
use clap::Subcommand;

use super::user;
use crate::auth::session::Session;
use crate::output;
use crate::target::Target;

/// What can be done with administrators.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a user an administrator
    Grant {
        /// The user
        name: String,
    },
    /// Make an administrator a normal user; never the last one
    Revoke {
        /// The user
        name: String,
    },
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let (name, admin, what) = match verb {
        Verb::Grant { name } => (name, true, "is an administrator now"),
        Verb::Revoke { name } => (name, false, "is no administrator any more"),
    };
    let session = &mut Session::open(target).await?;
    let change = PatchUser { admin: Some(admin), ..PatchUser::default() };
    user::patch(session, &name, &change, if admin { "promote" } else { "demote" }).await?;
    output::note(&format!("User {name} {what}."));
    Ok(())
}
