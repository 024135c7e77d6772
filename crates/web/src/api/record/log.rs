//! Logs over the API: as lines for Determined's clients, byte for byte for our own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::api::error::Code;
use ::api::log::{CleanedUpLogs, LogQuery, OutputQuery};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::authz::{CleanUpLogs, ReadTask};
use domain::id::UserId;
use domain::log::{Line, Lines, Pieces};
use futures_util::stream;
use master::log::{Backward, Follower};
use master::open::may;
use master::retention::Tidied;
use master::session::Caller;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::log_lines::{Printer, Wanted};
use crate::App;
use crate::access::Access;
use crate::answers::piece_by_piece;
use crate::extract::User;
use crate::late::Query;
use crate::live::while_allowed;
use crate::open::open;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;
use crate::turns::Turns;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/tasks/{task}/logs", Access::User, lines)
            .says("A task's log, as lines of JSON")
            .pieces()
            .asks::<ReadTask>()
            .query::<LogQuery>()
            .streams("application/json"),
        Endpoint::get("/api/v1/tasks/{task}/output", Access::User, output)
            .says("A task's output, byte for byte")
            .pieces()
            .asks::<ReadTask>()
            .query::<OutputQuery>()
            .streams("application/octet-stream"),
        Endpoint::post("/api/v1/cleanup_logs", Access::User, clean_up)
            .says("Remove now the logs and tasks that are older than `retention` keeps them; for administrators")
            .asks::<CleanUpLogs>()
            .answers::<CleanedUpLogs>(),
    ]
}

/// Bytes of JSON that are sent at once, and held at most for one answer (A5), …
const BATCH: usize = 64 << 10;

/// … but for what so many bytes of a log become: each may be a line.
pub(crate) const PART: usize = 1 << 7;

/// What becomes of so many bytes is made at once; of more in a turn, as each may be a line (MF9).
const LITTLE: usize = 2 << 10;

/// A follower waits for the end of a line for so long; then it is told what is there of it (B13).
const UNFINISHED: Duration = Duration::from_millis(500);

/// Records as they are stored, from byte `offset` on; with `follow`, until the task is over. Muster's own.
pub(crate) async fn output(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
    query: Query<OutputQuery>,
) -> Result<Response, Failure> {
    let permit = open::<ReadTask>(&app, &caller, &task).await?;
    let OutputQuery { follow, offset } = query.after(&permit).await?;
    let follower = app.master.tasks.log(&permit, offset.unwrap_or(0), follow.unwrap_or(false)).await?;
    let pieces = stream::unfold(follower, async |mut follower| {
        let piece = follower.next().await.transpose()?;
        Some((piece.map(Bytes::from), follower))
    });
    Ok(streamed("application/octet-stream", while_readable(&app, &caller, task, None, pieces)))
}

/// Removes what is old enough now, which else happens within the hour.
pub(crate) async fn clean_up(State(app): State<App>, User(caller): User) -> Answer<CleanedUpLogs> {
    let permit = may::<CleanUpLogs>(&caller, ())?;
    let Tidied { logs, bytes, tasks } = app.master.retention.clean_up(&permit).await?;
    let [removed_count, removed_bytes, removed_tasks] = [logs, bytes, tasks].map(|count| count.to_string());
    Ok(Json(CleanedUpLogs { removed_count, removed_bytes, removed_tasks }))
}

/// The last line for who may not read on, in the form of an error in a stream (contract "identity", section 1.4): without
/// it clients take the log to be over.
fn farewell() -> Bytes {
    let code = Code::PermissionDenied;
    let message = "you may not read this log any more: log in again, or ask for access";
    let error = json!({"grpcCode": code.grpc(), "httpCode": code.http(), "message": message});
    Bytes::from(format!("{}\n", json!({"error": error})))
}

/// A task's log to who may read it, for as long as that is so (P6, R22); then `farewell`.
pub(crate) fn while_readable<S>(
    app: &App,
    caller: &Caller,
    task: String,
    farewell: Option<S::Item>,
    stream: S,
) -> impl stream::Stream<Item = S::Item> + Send + use<S>
where
    S: stream::Stream + Send,
    S::Item: Send,
{
    let asked = app.clone();
    let still = move |caller: Caller| {
        let (app, task) = (asked.clone(), task.clone());
        async move { open::<ReadTask>(&app, &caller, &task).await.map(drop) }
    };
    while_allowed(app, caller, still, farewell, stream)
}

fn streamed(
    content_type: &'static str,
    pieces: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response {
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}

/// Where a stream of lines is.
struct Reading {
    follower: Follower,
    follow: bool,
    /// When what stands in unfinished lines is given out.
    due: Option<Instant>,
    making: Making,
    /// Who searches: what may look at much and find little is done in turns.
    /// Whether much of what is read may be left out.
    search: bool,
    turns: (Turns, UserId),
}

/// Lines as newline-delimited JSON.
pub(crate) async fn lines(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
    query: Query<LogQuery>,
) -> Result<Response, Failure> {
    let permit = open::<ReadTask>(&app, &caller, &task).await?;
    let query = query.after(&permit).await?;
    let follow = query.follow.unwrap_or(false);
    let printer = Printer::new(&permit.target().0, &app.master.tasks.runs(&permit).await?);
    let wanted = Wanted::read(query, &printer)?;
    let turns = (app.searches.clone(), caller.actor.user);
    if wanted.from_end {
        let latest = Latest::of(app.master.tasks.log_back(&permit).await?, wanted, printer, turns);
        let pieces = piece_by_piece(&app, &caller, stream::try_unfold(latest, Latest::next));
        let pieces = while_readable(&app, &caller, task, Some(Ok(farewell())), pieces);
        return Ok(streamed("application/json", pieces));
    }
    let reading = Reading {
        follower: app.master.tasks.log(&permit, 0, follow).await?,
        follow,
        due: None,
        search: wanted.leaves_out(),
        turns,
        making: Making {
            pieces: Pieces::default(),
            lines: Lines::default(),
            wanted,
            printer,
            given: 0,
            done: false,
        },
    };
    let pieces = piece_by_piece(&app, &caller, stream::try_unfold(reading, Reading::next));
    let pieces = while_readable(&app, &caller, task, Some(Ok(farewell())), pieces);
    Ok(streamed("application/json", pieces))
}

impl Reading {
    /// Some lines, as soon as there are any, and where the rest is.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let mut out = Vec::new();
        while !self.making.done {
            let turns = (self.search || self.making.pieces.left() > LITTLE).then_some(&self.turns);
            (self.making, out) = self.making.printed(out, turns).await?;
            if !out.is_empty() {
                break;
            }
            let piece = match self.due_at() {
                None => self.follower.next().await?,
                Some(due) => match timeout_at(due, self.follower.next()).await {
                    Ok(piece) if Instant::now() < due => piece?,
                    late => {
                        self.due = None;
                        self.making.emit(&mut out, |lines, emit| lines.give_unfinished(emit));
                        match late {
                            Ok(piece) => piece?,
                            Err(_) => continue,
                        }
                    }
                },
            };
            match piece {
                Some(bytes) => self.making.pieces = Pieces::of(bytes),
                None => {
                    self.making.emit(&mut out, |lines, emit| lines.finish(emit));
                    self.making.done = true;
                }
            }
        }
        Ok((!out.is_empty()).then(|| (Bytes::from(out), self)))
    }

    /// A follower is told of a line without an end after a moment (B13).
    fn due_at(&mut self) -> Option<Instant> {
        if !self.follow || !self.making.lines.has_unfinished() {
            self.due = None;
            return None;
        }
        Some(*self.due.get_or_insert_with(|| Instant::now() + UNFINISHED))
    }
}

/// Makes lines of what was read, and prints those that are wanted.
struct Making {
    pieces: Pieces,
    lines: Lines,
    wanted: Wanted,
    printer: Printer,
    given: u64,
    done: bool,
}

impl Making {
    /// What is at hand, until it is enough for one piece of the answer; in a turn of its own where that takes long.
    async fn printed(
        mut self,
        mut out: Vec<u8>,
        turns: Option<&(Turns, UserId)>,
    ) -> io::Result<(Self, Vec<u8>)> {
        match turns {
            Some((turns, user)) => {
                let work = move || {
                    self.print(&mut out);
                    (self, out)
                };
                turns.work(*user, work).await
            }
            _ => {
                self.print(&mut out);
                Ok((self, out))
            }
        }
    }

    fn print(&mut self, out: &mut Vec<u8>) {
        let mut pieces = std::mem::take(&mut self.pieces);
        while !self.done
            && out.len() < BATCH
            && let Some(part) = pieces.next(PART)
        {
            self.emit(out, |lines, emit| lines.push(part, emit));
        }
        self.pieces = pieces;
    }

    fn emit(&mut self, out: &mut Vec<u8>, of: impl FnOnce(&mut Lines, &mut dyn FnMut(Line))) {
        let Self { lines, wanted, printer, given, done, .. } = self;
        of(lines, &mut |line| {
            if !*done && wanted.takes(&line) {
                printer.print(&line, out);
                *given += 1;
                *done = wanted.limit > 0 && *given >= wanted.limit;
            }
        });
    }
}

/// Lines, newest first.
struct Latest {
    back: Backward,
    /// What is at hand, oldest first.
    block: Vec<Line>,
    wanted: Arc<Wanted>,
    printer: Printer,
    /// So many may still be given.
    left: u64,
    /// Reading backwards passes over the whole log at first.
    turns: (Turns, UserId),
}

impl Latest {
    fn of(back: Backward, wanted: Wanted, printer: Printer, turns: (Turns, UserId)) -> Self {
        let left = if wanted.limit == 0 { u64::MAX } else { wanted.limit };
        Self { back, block: Vec::new(), wanted: Arc::new(wanted), printer, left, turns }
    }

    /// Some lines, and where the rest is.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let mut out = Vec::new();
        loop {
            while self.left > 0
                && out.len() < BATCH
                && let Some(line) = self.block.pop()
            {
                self.printer.print(&line, &mut out);
                self.left -= 1;
            }
            if !out.is_empty() {
                return Ok(Some((Bytes::from(out), self)));
            }
            if self.left == 0 {
                return Ok(None);
            }
            let wanted = Arc::clone(&self.wanted);
            let turn = self.turns.0.take(self.turns.1).await?;
            let wanted = move |line: &Line| {
                // Held for as long as it is read, also when nobody waits for it any more.
                let _ = &turn;
                wanted.takes(line)
            };
            let (back, block) = self.back.next(wanted).await?;
            let Some(block) = block else { return Ok(None) };
            (self.back, self.block) = (back, block);
        }
    }
}
