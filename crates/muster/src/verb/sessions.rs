//! `muster user sessions …`: where somebody is logged in, and ending that.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::user::find;
use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, time, yes_no};

/// Arguments of `user sessions`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The user [default: yourself]
    name: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// End sessions; whoever holds one is out at once
    Revoke {
        /// Ids, as `user sessions` lists them
        #[arg(required = true)]
        ids: Vec<i64>,
    },
}

/// Carries out the verb that was given.
pub(crate) async fn run(session: &mut Session, args: SessionsArgs) -> Result<()> {
    match args.verb {
        Some(Verb::Revoke { ids }) => revoke(session, &ids).await,
        None => list(session, args.name.as_deref(), args.format).await,
    }
}

async fn list(session: &mut Session, name: Option<&str>, format: Format) -> Result<()> {
    let user = match name {
        Some(name) => find(session, name).await?.id,
        None => session.call(async |client| client.me().await).await?.user.id,
    };
    let sessions = session.call(async |client| client.sessions(user).await).await?;
    let mut table = Table::new(&["Session Id", "Logged In", "Ends", "This One"]);
    for row in &sessions {
        let cells = [row.id.to_string(), time(&row.created_at), time(&row.expires_at), yes_no(row.current)];
        table.row(cells);
    }
    table.print(format, &sessions)
}

async fn revoke(session: &mut Session, ids: &[i64]) -> Result<()> {
    for id in ids {
        let ended = session.call(async |client| client.end_session(*id).await).await;
        ended.with_context(|| format!("can't end session {id}"))?;
        output::note(&format!("Session {id} has ended."));
    }
    Ok(())
}
