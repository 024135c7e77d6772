//! Logs over the API: as lines for Determined's clients, byte for byte for our own.

use std::collections::VecDeque;
use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::id::AllocationId;
use domain::log::{Line, Lines, Records, Source, determined_message, level};
use domain::task::Task;
use domain::time::Timestamp;
use futures_util::stream;
use master::Error;
use master::log::Follower;
use master::session::Caller;
use serde::Serialize;

use crate::App;
use crate::api::command::readable;
use crate::extract::{Params, User};
use crate::respond::Failure;

/// Records as they are stored, from byte `offset` on; with `follow`, until the task is over. Muster's own.
pub(crate) async fn output(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    let permit = readable(&app, &caller, &task).await?;
    let follower =
        app.master.tasks.log(&permit, params.parse("offset")?.unwrap_or(0), params.flag("follow")?);
    let pieces = stream::unfold(follower, async |mut follower| {
        let piece = follower.next().await.transpose()?;
        Some((piece.map(Bytes::from), follower))
    });
    Ok(streamed("application/octet-stream", until_revoked(&app, &caller, pieces)))
}

/// Ends an open answer when the caller's session ends (P6, R22) or the master stops.
pub(crate) fn until_revoked<S: stream::Stream + Send>(
    app: &App,
    caller: &Caller,
    stream: S,
) -> impl stream::Stream<Item = S::Item> + Send + use<S> {
    use futures_util::StreamExt as _;
    let revoked = app.master.sessions.revocation(caller);
    let stopping = app.master.stopping().cancelled_owned();
    stream.take_until(async move {
        tokio::select! {
            () = revoked => {}
            () = stopping => {}
        }
    })
}

fn streamed(
    content_type: &'static str,
    pieces: impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Response {
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}

/// What a request for lines asks for (contract "runtime", section 1.5).
struct Wanted {
    limit: u64,
    from_end: bool,
    before: Option<Timestamp>,
    after: Option<Timestamp>,
    sources: Vec<String>,
    stdtypes: Vec<String>,
    levels: Vec<String>,
    text: Option<String>,
}

impl Wanted {
    fn read(params: &Params, follow: bool) -> Result<Self, Failure> {
        let limit: u64 = params.parse("limit")?.unwrap_or(0);
        if follow && limit > 0 {
            return Err(Failure(Error::Invalid("limit and follow can't be used together".to_owned())));
        }
        if params.flag("enableRegex")? {
            return Err(Failure(Error::Invalid("enableRegex: search by plain text".to_owned())));
        }
        let all = |key: &str| params.all(key).map(str::to_owned).collect::<Vec<_>>();
        let time = |key: &str| match params.get(key) {
            None => Ok(None),
            Some(text) => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| {
                Failure(Error::Invalid(format!("{key}: give a time such as 2026-01-31T10:00:00Z")))
            }),
        };
        Ok(Self {
            limit,
            from_end: params.descending(),
            before: time("timestampBefore")?,
            after: time("timestampAfter")?,
            sources: all("sources"),
            stdtypes: all("stdtypes"),
            levels: all("levels"),
            text: params.get("searchText").map(str::to_owned),
        })
    }

    fn takes(&self, line: &Line) -> bool {
        let among = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        self.before.is_none_or(|before| line.at <= before)
            && self.after.is_none_or(|after| line.at > after)
            && among(&self.sources, line.source.origin())
            && among(&self.stdtypes, stdtype(line))
            && (self.levels.is_empty() || among(&self.levels, &format!("LOG_LEVEL_{}", level(line))))
            && self.text.as_ref().is_none_or(|text| line.text.contains(text.as_str()))
    }
}

fn stdtype(line: &Line) -> &'static str {
    if line.source == Source::Stderr { "stderr" } else { "stdout" }
}

/// A line on the wire: `api::log::LogEntry`, borrowed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    id: &'a str,
    task_id: &'a str,
    allocation_id: &'a str,
    agent_id: &'a str,
    container_id: &'a str,
    timestamp: &'a str,
    level: &'a str,
    stdtype: &'a str,
    source: &'a str,
    log: &'a str,
    message: &'a str,
}

/// Turns lines into the NDJSON of a streamed answer.
struct Printer {
    task: String,
    allocation: String,
    agent: String,
    /// Lines of one record share their time.
    time: (Timestamp, String),
}

impl Printer {
    fn new(task: &Task) -> Self {
        let agent = task.agent.as_ref().map(ToString::to_string).unwrap_or_default();
        let AllocationId { task: id, .. } = task.allocation;
        let time = (Timestamp(0), Timestamp(0).rfc3339());
        Self { task: id.to_string(), allocation: task.allocation.to_string(), agent, time }
    }

    fn print(&mut self, line: &Line, out: &mut Vec<u8>) {
        if self.time.0 != line.at {
            self.time = (line.at, line.at.rfc3339());
        }
        let level = level(line);
        let entry = Entry {
            id: &line.number.to_string(),
            task_id: &self.task,
            allocation_id: &self.allocation,
            agent_id: &self.agent,
            container_id: &self.allocation,
            timestamp: &self.time.1,
            level: &format!("LOG_LEVEL_{level}"),
            stdtype: stdtype(line),
            source: line.source.origin(),
            log: &line.text,
            message: &determined_message(line, &self.allocation),
        };
        out.extend_from_slice(b"{\"result\":");
        // Writing to memory can't fail.
        let _ = serde_json::to_writer(&mut *out, &entry);
        let _ = out.write_all(b"}\n");
    }
}

/// Where a stream of lines is.
struct Reading {
    follower: Follower,
    lines: Lines,
    wanted: Wanted,
    printer: Printer,
    given: u64,
    done: bool,
}

/// Lines as newline-delimited JSON.
pub(crate) async fn lines(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    let permit = readable(&app, &caller, &task).await?;
    let follow = params.flag("follow")?;
    let reading = Reading {
        follower: app.master.tasks.log(&permit, 0, follow),
        lines: Lines::default(),
        wanted: Wanted::read(&params, follow)?,
        printer: Printer::new(&permit.target().0),
        given: 0,
        done: false,
    };
    if reading.wanted.from_end {
        let last = last_lines(reading).await;
        return Ok(streamed("application/json", stream::iter([last])));
    }
    let pieces = stream::unfold(reading, async |mut reading| {
        let piece = reading.next().await.transpose()?;
        Some((piece, reading))
    });
    Ok(streamed("application/json", until_revoked(&app, &caller, pieces)))
}

impl Reading {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        while !self.done {
            let mut out = Vec::new();
            let Self { lines, wanted, printer, given, done, .. } = self;
            let mut emit = |line: Line| {
                if !*done && wanted.takes(&line) {
                    printer.print(&line, &mut out);
                    *given += 1;
                    *done = wanted.limit > 0 && *given >= wanted.limit;
                }
            };
            match self.follower.next().await? {
                Some(bytes) => Records::new(&bytes).for_each(|record| lines.push(record, &mut emit)),
                None => {
                    lines.finish(&mut emit);
                    self.done = true;
                }
            }
            if !out.is_empty() {
                return Ok(Some(Bytes::from(out)));
            }
        }
        Ok(None)
    }
}

/// The last lines, newest first.
async fn last_lines(mut reading: Reading) -> std::io::Result<Bytes> {
    let keep = usize::try_from(reading.wanted.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut last: VecDeque<Line> = VecDeque::new();
    let Reading { lines, wanted, printer, follower, .. } = &mut reading;
    let mut take = |line: Line| {
        if wanted.takes(&line) {
            if last.len() == keep {
                last.pop_front();
            }
            last.push_back(line);
        }
    };
    while let Some(bytes) = follower.next().await? {
        Records::new(&bytes).for_each(|record| lines.push(record, &mut take));
    }
    lines.finish(&mut take);
    let mut out = Vec::new();
    last.iter().rev().for_each(|line| printer.print(line, &mut out));
    Ok(Bytes::from(out))
}
