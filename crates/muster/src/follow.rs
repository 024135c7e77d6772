//! A task's output, byte for byte, to the end, across restarts of the master.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use api::client::{Client, ClientError, OutputStream};
use api::command::Command;
use domain::log::{Lines, Records, Source};

use crate::auth::session::Session;
use crate::failure::Failure;
use crate::output::{self, printable};
use crate::terminal::Escaper;

/// How long a master may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Waiting time between two tries: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// With times, a line that isn't over is shown after so long.
const UNFINISHED: Duration = Duration::from_millis(500);
/// The state after which nothing comes, as tables show it.
pub(crate) const OVER: &str = "TERMINATED";

/// Why most commands are over, which is worth no line.
const SUCCESS: &str = "allocation exited successfully";

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
    /// For standard output and standard error where they are terminals that must not be steered.
    escapers: [Option<Escaper>; 2],
    /// The terminal stands in the middle of a line.
    in_line: bool,
    /// What was last said that isn't the task's own.
    said: String,
    /// When what there is of unfinished lines is shown.
    due: Option<Instant>,
}

impl Sink {
    /// The task's output as it is, or as lines with their times. Unless it is to be `raw`, terminals get it without what
    /// would steer them (A14).
    pub(crate) fn new(timestamps: bool, raw: bool) -> Self {
        let escaper = |terminal: bool| (terminal && !raw).then(Escaper::default);
        let escapers = [escaper(io::stdout().is_terminal()), escaper(io::stderr().is_terminal())];
        Self { timestamps: timestamps.then(Lines::default), escapers, ..Self::default() }
    }

    /// How long a line that isn't over may still wait to be shown, where lines are (B13).
    fn due_in(&mut self) -> Option<Duration> {
        let waits = self.timestamps.as_ref().is_some_and(Lines::has_unfinished);
        if !waits {
            self.due = None;
            return None;
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + UNFINISHED);
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Shows what there is of lines that aren't over.
    fn give_unfinished(&mut self) -> Result<()> {
        self.due = None;
        let mut done = Vec::new();
        if let Some(lines) = &mut self.timestamps {
            lines.give_unfinished(|line| done.push(line));
        }
        done.iter().try_for_each(|line| self.timed_line(line))
    }

    /// Writes what the task printed.
    fn print(&mut self, source: Source, bytes: &[u8]) -> Result<()> {
        let [stdout, stderr] = &mut self.escapers;
        let escaper = if source == Source::Stderr { stderr } else { stdout };
        let bytes = match escaper {
            Some(escaper) => Cow::Owned(escaper.escape(bytes)),
            None => Cow::Borrowed(bytes),
        };
        self.in_line = bytes.last().map_or(self.in_line, |byte| *byte != b'\n');
        if source == Source::Stderr { output::error_bytes(&bytes) } else { output::bytes(&bytes) }
    }

    /// Prints a line that isn't the task's own, on a line of its own.
    fn say(&mut self, line: &str) -> Result<()> {
        if std::mem::take(&mut self.in_line) && io::stdout().is_terminal() && io::stderr().is_terminal() {
            output::error_bytes(b"\n")?;
        }
        about(line);
        line.clone_into(&mut self.said);
        Ok(())
    }

    /// Says why a command is over, unless its log has said so: a full disk may have had no room for that line (A4).
    fn say_end(&mut self, command: &Command) -> Result<()> {
        let why = printable(&command.exit_status);
        if is_unsaid(state(command), &why, &self.said) { self.say(&why) } else { Ok(()) }
    }

    fn write(&mut self, records: Records<'_>) -> Result<()> {
        if let Some(lines) = &mut self.timestamps {
            let mut done = Vec::new();
            records.for_each(|record| lines.push(record, |line| done.push(line)));
            return done.iter().try_for_each(|line| self.timed_line(line));
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

    fn timed_line(&mut self, line: &domain::log::Line) -> Result<()> {
        let text = format!("{} {}", line.at.rfc3339(), line.text);
        self.line(line.source, &text)
    }

    /// A line of anybody's.
    pub(crate) fn line(&mut self, source: Source, text: &str) -> Result<()> {
        match source {
            Source::Stdout | Source::Stderr => self.print(source, format!("{text}\n").as_bytes()),
            Source::Agent | Source::Master => self.say(&printable(text)),
        }
    }

    fn flush(&mut self, (source, bytes): &(Source, Vec<u8>)) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let [agent, master] = &mut self.open;
        let open = match source {
            Source::Stdout | Source::Stderr => return self.print(*source, bytes),
            Source::Agent => agent,
            Source::Master => master,
        };
        open.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = open.iter().position(|&byte| byte == b'\n') {
            lines.push(open.drain(..=end).collect::<Vec<u8>>());
        }
        lines.iter().try_for_each(|line| self.say(&String::from_utf8_lossy(line)))
    }

    pub(crate) fn finish(&mut self) -> Result<()> {
        if let Some(lines) = &mut self.timestamps {
            let mut done = Vec::new();
            lines.finish(|line| done.push(line));
            done.iter().try_for_each(|line| self.timed_line(line))?;
        }
        for open in std::mem::take(&mut self.open).iter().filter(|open| !open.is_empty()) {
            self.say(&String::from_utf8_lossy(open))?;
        }
        let [stdout, stderr] = &mut self.escapers;
        let last = [stdout, stderr].map(|escaper| escaper.as_mut().map(Escaper::finish).unwrap_or_default());
        let [stdout, stderr] = last;
        // An empty write would be one to a pipe that has gone.
        if !stdout.is_empty() {
            output::bytes(&stdout)?;
        }
        if stderr.is_empty() { Ok(()) } else { output::error_bytes(&stderr) }
    }
}

/// Whether `why` a command is over is worth saying and isn't in what was said last.
fn is_unsaid(state: &str, why: &str, said: &str) -> bool {
    state == OVER && why != SUCCESS && !said.contains(why)
}

/// A line that agent or master wrote about the task.
fn about(line: &str) {
    output::note(&format!("muster: {}", line.trim_end_matches(['\r', '\n'])));
}

/// Writes what there is of a task's output.
pub(crate) async fn dump(session: &mut Session, id: &str, sink: &mut Sink) -> Result<()> {
    let mut stream = session.call(async |client| client.output_stream(id, 0, false).await).await?;
    while let Some(records) = stream.next().await? {
        sink.write(records)?;
    }
    sink.finish()?;
    match session.call(async |client| client.command(id).await).await {
        Ok(answer) => sink.say_end(&answer.command),
        // The log is what was asked for.
        Err(_) => Ok(()),
    }
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
                    sink.say_end(&command)?;
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
        loop {
            let records = match sink.due_in() {
                None => stream.next().await?,
                Some(due) => match tokio::time::timeout(due, stream.next()).await {
                    Ok(records) => records?,
                    Err(_) => {
                        sink.give_unfinished()?;
                        continue;
                    }
                },
            };
            let Some(records) = records else { return Ok(()) };
            sink.write(records)?;
            self.offset = stream.offset();
            self.pause = BACKOFF.0;
        }
    }

    /// Waits for the master to come back, if that is what `error` calls for.
    async fn wait_after(&mut self, error: anyhow::Error) -> Result<()> {
        let id = self.id;
        match error.downcast_ref::<ClientError>() {
            Some(error) if error.is_passing() => {}
            Some(ClientError::Api { status: 401, .. }) => bail!(Failure::NotLoggedIn(format!(
                "your session has ended; what the command does now isn't known here. Log in with `muster user login`, \
                 then see it with `muster command logs -f {id}`; who can't log in any more asks an administrator"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_why_a_command_is_over_is_said_where_its_log_has_no_room_for_it() {
        let why = "resources failed: no space";
        assert!(is_unsaid(OVER, why, ""));
        assert!(!is_unsaid(OVER, why, "crashed: resources failed: no space"));
        assert!(!is_unsaid("RUNNING", "", ""));
        assert!(!is_unsaid(OVER, SUCCESS, ""));
    }
}
