//! A task's output, byte for byte, to the end, across restarts of the master.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use api::client::{Client, ClientError, OutputStream};
use api::command::Command;
use domain::log::{Lines, Records, Source};

use crate::auth::session::Session;
use crate::failure::Failure;
use crate::output::{self, printable};

/// How long a master may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Waiting time between two tries: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The state after which nothing comes, as tables show it.
pub(crate) const OVER: &str = "TERMINATED";

/// The state of a command, as tables show it.
pub(crate) fn state(command: &Command) -> &str {
    command.state.strip_prefix("STATE_").unwrap_or(&command.state)
}

/// Where records go.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// Lines with their times, in place of the bytes as they are.
    timestamps: Option<Lines>,
    /// What agent or master said so far of a line, one after the other.
    open: [Vec<u8>; 2],
}

impl Sink {
    /// The task's output as it is, or as lines with their times.
    pub(crate) fn new(timestamps: bool) -> Self {
        Self { timestamps: timestamps.then(Lines::default), ..Self::default() }
    }

    fn write(&mut self, records: Records<'_>) -> Result<()> {
        if let Some(lines) = &mut self.timestamps {
            let mut done = Vec::new();
            records.for_each(|record| lines.push(record, |line| done.push(line)));
            return done.iter().try_for_each(timed_line);
        }
        // One write for each run of records to the same stream keeps a fast task fast.
        let mut pending: (Source, Vec<u8>) = (Source::Stdout, Vec::new());
        for record in records {
            if record.source != pending.0 {
                self.flush(&pending)?;
                pending = (record.source, Vec::new());
            }
            pending.1.extend_from_slice(record.payload);
        }
        self.flush(&pending)
    }

    fn flush(&mut self, (source, bytes): &(Source, Vec<u8>)) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let [agent, master] = &mut self.open;
        let open = match source {
            Source::Stdout => return output::bytes(bytes),
            Source::Stderr => return output::error_bytes(bytes),
            Source::Agent => agent,
            Source::Master => master,
        };
        open.extend_from_slice(bytes);
        while let Some(end) = open.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = open.drain(..=end).collect();
            about(&String::from_utf8_lossy(&line));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(lines) = &mut self.timestamps {
            let mut done = Vec::new();
            lines.finish(|line| done.push(line));
            done.iter().try_for_each(timed_line)?;
        }
        for open in &mut self.open {
            if !open.is_empty() {
                about(&String::from_utf8_lossy(open));
                open.clear();
            }
        }
        Ok(())
    }
}

/// A line that agent or master wrote about the task.
pub(crate) fn about(line: &str) {
    output::note(&format!("muster: {}", line.trim_end_matches(['\r', '\n'])));
}

fn timed_line(line: &domain::log::Line) -> Result<()> {
    let text = format!("{} {}\n", line.at.rfc3339(), line.text);
    match line.source {
        Source::Stdout => output::text_block(&text),
        Source::Stderr => output::error_bytes(text.as_bytes()),
        Source::Agent | Source::Master => {
            about(&format!("{} {}", line.at.rfc3339(), printable(&line.text)));
            Ok(())
        }
    }
}

/// Writes what there is of a task's output.
pub(crate) async fn dump(session: &mut Session, id: &str, sink: &mut Sink) -> Result<()> {
    let mut stream = session.call(async |client| client.output_stream(id, 0, false).await).await?;
    while let Some(records) = stream.next().await? {
        sink.write(records)?;
    }
    sink.finish()
}

/// Writes a command's output until it is over, and gives its end.
pub(crate) async fn follow(session: &mut Session, id: &str, sink: &mut Sink) -> Result<Command> {
    // The first request may still renew a session that was kept; from then on its end is the end.
    session.call(async |client| client.command(id).await).await?;
    let client = session.client().clone();
    let mut follower = Follower { client, id, offset: 0, contact: Instant::now(), pause: BACKOFF.0 };
    let mut over = None;
    loop {
        match follower.read(sink).await {
            Ok(()) => {
                // A stream that was opened after the end was known held everything.
                if let Some(command) = over.take() {
                    sink.finish()?;
                    return Ok(command);
                }
                // Else it may have ended early: because the master stopped, or the session.
                match follower.client.command(id).await {
                    Ok(answer) if state(&answer.command) == OVER => over = Some(answer.command),
                    Ok(_) => follower.rest().await,
                    Err(error) => follower.wait_after(error.into()).await?,
                }
            }
            Err(error) => follower.wait_after(error).await?,
        }
    }
}

struct Follower<'a> {
    client: Client,
    id: &'a str,
    /// Where in the stored log to go on.
    offset: u64,
    /// When the master was last there.
    contact: Instant,
    /// How long the next wait is.
    pause: Duration,
}

impl Follower<'_> {
    /// Reads one answer to its end.
    async fn read(&mut self, sink: &mut Sink) -> Result<()> {
        let mut stream = self.client.output_stream(self.id, self.offset, true).await?;
        let ended = self.pass_on(&mut stream, sink).await;
        self.contact = Instant::now();
        ended
    }

    async fn pass_on(&mut self, stream: &mut OutputStream, sink: &mut Sink) -> Result<()> {
        while let Some(records) = stream.next().await? {
            sink.write(records)?;
            self.offset = stream.offset();
            self.pause = BACKOFF.0;
        }
        Ok(())
    }

    /// Waits for the master to come back, if that is what `error` calls for.
    async fn wait_after(&mut self, error: anyhow::Error) -> Result<()> {
        let id = self.id;
        match error.downcast_ref::<ClientError>() {
            Some(error) if error.is_passing() => {}
            Some(ClientError::Api { status: 401, .. }) => bail!(Failure::NotLoggedIn(format!(
                "your session has ended; the command goes on. Log in with `muster user login`, then see it with \
                 `muster command logs -f {id}`"
            ))),
            Some(ClientError::Api { status: 403, message }) => {
                bail!(Failure::Forbidden(format!("your session has ended: {message}")))
            }
            _ => return Err(error),
        }
        if self.contact.elapsed() + self.pause > PATIENCE {
            bail!(Failure::Lost(format!(
                "{error}. The command goes on if its agent is well; see it with `muster command logs -f {id}`"
            )));
        }
        self.rest().await;
        Ok(())
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(BACKOFF.1);
    }
}
