//! `muster command logs` and `muster task logs`: a task's output, byte for byte or by line.

use anyhow::Result;
use api::client::Excerpt;
use api::log::LogEntry;
use clap::Args;
use domain::log::Source;

use super::command;
use crate::auth::session::Session;
use crate::follow::{self, Sink};

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
    /// Let a terminal obey the control sequences that the task printed (into a pipe or a file all goes as it is)
    #[arg(short, long)]
    raw: bool,
}

/// Prints it.
pub(crate) async fn logs(session: &mut Session, args: LogsArgs) -> Result<()> {
    let id = &command::find(session, &args.id).await?;
    let excerpt = args.head.map(Excerpt::Head).or(args.tail.map(Excerpt::Tail));
    let sink = &mut Sink::new(args.timestamps, args.raw);
    if let Some(excerpt) = excerpt {
        let entries = session.call(async |client| client.log_excerpt(id, excerpt).await).await?;
        entries.iter().try_for_each(|entry| print(sink, entry, args.timestamps))?;
        return sink.finish();
    }
    if args.follow {
        follow::follow(session, id, sink).await.map(drop)
    } else {
        follow::dump(session, id, sink).await
    }
}

fn print(sink: &mut Sink, entry: &LogEntry, timestamps: bool) -> Result<()> {
    let time = if timestamps { format!("{} ", entry.timestamp) } else { String::new() };
    let line = format!("{time}{}", entry.log.trim_end_matches('\n'));
    let source = match (entry.source.as_str(), entry.stdtype.as_str()) {
        ("agent" | "master", _) => Source::Master,
        (_, "stderr") => Source::Stderr,
        _ => Source::Stdout,
    };
    sink.line(source, &line)
}
