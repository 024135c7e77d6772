//! `muster master cluster-message …`: what administrators tell everybody.

use anyhow::{Context, Result};
use api::cluster_message::SetClusterMessage;
use clap::{Args, Subcommand};

use crate::auth::session::Session;
use crate::output;
use crate::target::Target;

/// What can be done with the message.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Tell everybody something: on the pages, and when they log in or run something; for administrators
    Set(SetArgs),
    /// Print the message, also one that is for later; for administrators
    Get {
        /// Print JSON, not YAML
        #[arg(long)]
        json: bool,
    },
    /// Tell everybody nothing any more; for administrators
    Clear,
}

/// Arguments of `set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// What to tell: one line of at most 250 characters
    #[arg(long, value_name = "TEXT")]
    message: String,
    /// From when, such as 2026-10-26T23:17:12Z [default: now]
    #[arg(short, long, value_name = "TIME")]
    start: Option<String>,
    /// Until when [default: until it is cleared]
    #[arg(short, long, value_name = "TIME", conflicts_with = "duration")]
    end: Option<String>,
    /// Or how long, such as 24h or 5d
    #[arg(short, long)]
    duration: Option<String>,
}

/// Does it.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::Set(SetArgs { message, start, end, duration }) => {
            let set =
                SetClusterMessage { message: Some(message), start_time: start, end_time: end, duration };
            let done = session.call(async |client| client.set_cluster_message(&set).await).await;
            done.context("can't set the cluster message")?;
            output::note("The cluster message was set.");
            Ok(())
        }
        Verb::Get { json } => {
            let found = session.call(async |client| client.cluster_message().await).await;
            let found = found.context("can't read the cluster message")?;
            if json { output::json(&found) } else { output::yaml(&found) }
        }
        Verb::Clear => {
            let done = session.call(async |client| client.clear_cluster_message().await).await;
            done.context("can't clear the cluster message")?;
            output::note("There is no cluster message any more.");
            Ok(())
        }
    }
}

/// Says on standard error what administrators tell everybody.
pub(crate) fn tell(message: Option<&str>) {
    if let Some(message) = message {
        output::note(&format!("Message of the administrators: {message}"));
    }
}
