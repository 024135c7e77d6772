//! `muster user delete`: an account goes for good (X6).

use anyhow::{Context, Result, bail};
use clap::Args;

use super::user::find;
use crate::auth::password;
use crate::auth::session::Session;
use crate::failure::Failure;
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
    if !args.yes {
        if !password::can_ask() {
            bail!(Failure::Usage(
                "there is no terminal to ask on: say that you mean it with --yes".to_owned()
            ));
        }
        if !output::confirm(&format!("Delete user {name}, so that the name is never used again? [y/N] "))? {
            bail!("nothing was changed");
        }
    }
    session.call(async |client| client.delete_user(user.id, heir).await).await.with_context(problem)?;
    output::note(&format!("User {name} was deleted."));
    Ok(())
}
