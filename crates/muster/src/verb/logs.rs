//! `muster command logs` and `muster task logs`: a task's output, byte for byte or by line.

use anyhow::Result;
use api::client::Excerpt;
use api::log::LogEntry;
use clap::Args;

use super::command;
use crate::auth::session::Session;
use crate::follow::{self, Sink};
use crate::output::{self, printable};

/// Which part of a log, and how.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Id, or its beginning
    id: String,
    /// Go on until the task is over
    #[arg(short, long)]
    follow: bool,
    /// Print the first N lines
    #[arg(long, value_name = "N", conflicts_with_all = ["follow", "tail"])]
    head: Option<u64>,
    /// Print the last N lines
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    tail: Option<u64>,
    /// Put the time before each line
    #[arg(long)]
    timestamps: bool,
}

/// Prints it.
pub(crate) async fn logs(session: &mut Session, args: LogsArgs) -> Result<()> {
    let id = &command::find(session, &args.id).await?;
    let excerpt = args.head.map(Excerpt::Head).or(args.tail.map(Excerpt::Tail));
    if let Some(excerpt) = excerpt {
        let entries = session.call(async |client| client.log_excerpt(id, excerpt).await).await?;
        return entries.iter().try_for_each(|entry| print(entry, args.timestamps));
    }
    let sink = &mut Sink::new(args.timestamps);
    if args.follow {
        follow::follow(session, id, sink).await.map(drop)
    } else {
        follow::dump(session, id, sink).await
    }
}

fn print(entry: &LogEntry, timestamps: bool) -> Result<()> {
    let time = if timestamps { format!("{} ", entry.timestamp) } else { String::new() };
    let line = format!("{time}{}", entry.log.trim_end_matches('\n'));
    match (entry.source.as_str(), entry.stdtype.as_str()) {
        ("agent" | "master", _) => follow::about(&printable(&line)),
        (_, "stderr") => output::error_bytes(format!("{line}\n").as_bytes())?,
        _ => output::line(&line)?,
    }
    Ok(())
}
