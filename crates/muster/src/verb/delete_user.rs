//! `muster user delete`: an account goes for good (X6).

use anyhow::{Context, Result};
use clap::Args;

use super::user::find;
use crate::auth::session::Session;
use crate::output;

/// Arguments of `user delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The user
    name: String,
    /// Who gets what the user made; by default it stays, under the user's name
    #[arg(long, value_name = "NAME")]
    assets_to: Option<String>,
    /// Don't ask whether this is meant
    #[arg(short, long)]
    yes: bool,
}

/// Deletes an account.
pub(crate) async fn delete(session: &mut Session, args: DeleteArgs) -> Result<()> {
    let name = &args.name;
    let problem = || format!("can't delete user {name}");
    let user = find(session, name).await.with_context(problem)?;
    let heir = match &args.assets_to {
        Some(heir) => Some(find(session, heir).await.with_context(problem)?.id),
        None => None,
    };
    output::is_meant(args.yes, &format!("Delete user {name}, so that the name is never used again?"))?;
    session.call(async |client| client.delete_user(user.id, heir).await).await.with_context(problem)?;
    output::note(&format!("User {name} was deleted."));
    Ok(())
}
