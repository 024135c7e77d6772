//! A task's output in the browser: followed live as server-sent events, or whole as plain text.
//!
//! Events carry HTML: `start` takes the place of all that is shown, `lines` comes below it, `open` is what stands in
//! lines that aren't over (a progress bar), `end` says that nothing more will come. Their id is the number of their last line, so a browser that comes back is given what it hasn't seen.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::authz::{Permit, ReadTask};
use domain::id::{TaskId, UserId};
use domain::log::{Line, Lines, Pieces, Source};
use domain::task::State as TaskState;
use futures_util::stream;
use master::Error;
use master::log::Follower;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::App;
use crate::access::Access;
use crate::api::log::{PART, while_readable};
use crate::open::open;
use crate::respond::PageFailure;
use crate::table::Endpoint;
use crate::ui::display::{plain, shown_line};
use crate::ui::page::Page;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/commands/{task}/log", Access::Page, follow).pieces().asks::<ReadTask>(),
        Endpoint::get("/commands/{task}/log.txt", Access::Page, text).pieces().asks::<ReadTask>(),
    ]
}

/// Most lines that a page shows; the whole text has all of it.
const KEPT: usize = 5000;

/// Bytes of HTML from which on no more goes into an event: the next one is made when this one was taken, so that whoever
/// reads nothing holds little (A5, MB5).
const EVENT: usize = 64 << 10;

/// What stands around a line's text, in bytes, about.
const AROUND: usize = 64;

/// Bytes of the whole text that go out at once.
const TEXT: usize = 64 << 10;

/// A batch of lines is sent when no more come for so long, …
const PAUSE: Duration = Duration::from_millis(40);

/// … or when it has been gathered for so long.
const BATCH: Duration = Duration::from_millis(200);

/// What prints more than a page shows, without a pause, is shown anew so often, as it then is.
const FLOOD: Duration = Duration::from_secs(2);

/// A line that isn't over is shown after so long, and as it then is (B13).
const UNFINISHED: Duration = Duration::from_millis(400);

/// The data of an event that leaves nothing on the page.
const NOTHING: &str = "<!-- -->";

/// Lines as HTML: the whole of what is shown, or what comes below it.
#[derive(Template)]
#[template(path = "log/lines.html")]
struct LinesPiece<'a> {
    task: TaskId,
    fresh: bool,
    earlier: u64,
    kept: usize,
    lines: &'a [ShownLine],
}

/// What stands in lines that aren't over.
#[derive(Template)]
#[template(path = "log/open.html")]
struct OpenPiece<'a> {
    lines: &'a [ShownLine],
}

#[derive(Debug, PartialEq, Eq)]
struct ShownLine {
    number: u64,
    source: &'static str,
    text: String,
}

impl From<Line> for ShownLine {
    fn from(line: Line) -> Self {
        let source = match line.source {
            Source::Stdout => "",
            Source::Stderr => "stderr",
            Source::Agent => "agent",
            Source::Master => "master",
        };
        Self { number: line.number, source, text: shown_line(&line.text) }
    }
}

pub(crate) async fn follow(
    State(app): State<App>,
    page: Page,
    Path(task): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PageFailure> {
    let permit = open::<ReadTask>(&app, &page.caller, &task).await?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    // Finding the last lines may mean to pass over all of them.
    let turn = app.searches.take(page.caller.actor.user).await.map_err(Error::io("reading a task's log"))?;
    let following = Following::begin(&app, permit, page.caller.actor.user, seen).await?;
    drop(turn);
    let events = stream::unfold(following, |mut following| async {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    let events = while_readable(&app, &page.caller, task, None, events);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Where one browser is in a log.
struct Following {
    app: App,
    task: TaskId,
    permit: Permit<ReadTask>,
    reader: UserId,
    follower: Follower,
    /// What was read and isn't among the lines yet.
    pieces: Pieces,
    lines: Lines,
    /// Lines that have gone out since all that there was had, and when the first of them did.
    behind: usize,
    since: Instant,
    /// Number of the last line that the browser has.
    seen: u64,
    /// What it shows is of another connection, or nothing.
    fresh: bool,
    /// What it shows of lines that aren't over.
    open: Vec<ShownLine>,
    /// When it is shown what has become of them.
    due: Option<Instant>,
    complete: bool,
    ended: bool,
}

/// Lines that go out together.
#[derive(Default)]
struct Batch {
    lines: Vec<ShownLine>,
    /// Of HTML, about.
    bytes: usize,
}

impl Batch {
    fn add(&mut self, line: Line) {
        let line = ShownLine::from(line);
        let escaped = line.text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count();
        self.bytes += line.text.len() + 4 * escaped + AROUND;
        self.lines.push(line);
    }

    fn is_due(&self, begun: Instant) -> bool {
        self.is_full() || !self.lines.is_empty() && begun.elapsed() > BATCH
    }

    fn is_full(&self) -> bool {
        self.bytes >= EVENT
    }
}

impl Following {
    /// What a page doesn't show isn't read either.
    async fn begin(
        app: &App,
        permit: Permit<ReadTask>,
        reader: UserId,
        seen: Option<u64>,
    ) -> Result<Self, Error> {
        let (follower, lines) = app.master.tasks.log_last(&permit, KEPT as u64, true).await?;
        Ok(Self {
            app: app.clone(),
            task: permit.target().0.id,
            permit,
            reader,
            follower,
            pieces: Pieces::default(),
            behind: 0,
            since: Instant::now(),
            // Where more is missing than a page shows, it begins anew.
            fresh: seen.is_none_or(|seen| seen < lines.count()),
            lines,
            seen: seen.unwrap_or(0),
            open: Vec::new(),
            due: None,
            complete: false,
            ended: false,
        })
    }

    /// Passes over what a page wouldn't show any more.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let (_, lines) = self.last().await?;
        if lines.count() > self.seen {
            sleep_until(self.since + FLOOD).await;
            let (follower, lines) = self.last().await?;
            (self.follower, self.pieces, self.lines, self.fresh) = (follower, Pieces::default(), lines, true);
        }
        self.behind = 0;
        Ok(())
    }

    async fn last(&self) -> Result<(Follower, Lines), Error> {
        let _turn = self.app.searches.take(self.reader).await.map_err(Error::io("reading a task's log"))?;
        self.app.master.tasks.log_last(&self.permit, KEPT as u64, true).await
    }

    /// The next event. `None` closes the connection; without `end` before it, the browser comes back.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        while !self.complete || !self.open.is_empty() {
            let caught_up = if self.behind >= KEPT { self.catch_up().await } else { Ok(()) };
            let gathered = match caught_up {
                Ok(()) => self.gather().await.map_err(Error::io("reading a task's log")),
                Err(error) => Err(error),
            };
            let batch = gathered.inspect_err(|error| {
                tracing::warn!(%error, task = %self.task, "a log can't be read");
            });
            let batch = batch.ok()?;
            if self.behind == 0 {
                self.since = Instant::now();
            }
            self.behind = if batch.is_full() { self.behind + batch.lines.len() } else { 0 };
            if self.fresh || !batch.lines.is_empty() {
                return self.event(batch);
            }
            if let Some(event) = self.open_event() {
                return Some(event);
            }
        }
        // A log may be complete for the moment only: the task is not on its agent yet.
        let task = self.app.master.tasks.again(&self.permit).await.ok()?;
        self.ended = true;
        (task.state() == TaskState::Terminated).then(|| Event::default().event("end").data("end"))
    }

    /// Lines that the browser hasn't seen, as soon as there are any; none when it has to be told what has become of
    /// those that aren't over.
    async fn gather(&mut self) -> std::io::Result<Batch> {
        let mut batch = Batch::default();
        let begun = Instant::now();
        while !self.complete && !batch.is_due(begun) {
            let seen = self.seen;
            let mut add = |line: Line| {
                if line.number > seen {
                    batch.add(line);
                }
            };
            if let Some(part) = self.pieces.next(PART) {
                self.lines.push(part, &mut add);
                continue;
            }
            let patience = match (batch.lines.is_empty(), self.due_at()) {
                (true, due) => due,
                (false, _) => Some(Instant::now() + PAUSE),
            };
            let piece = match patience {
                None => self.follower.next().await?,
                Some(until) => match timeout_at(until, self.follower.next()).await {
                    Ok(piece) => piece?,
                    Err(_) => break,
                },
            };
            match piece {
                Some(bytes) => {
                    self.pieces = Pieces::of(bytes);
                    continue;
                }
                None => {
                    self.lines.finish(|line| {
                        if line.number > seen {
                            batch.add(line);
                        }
                    });
                    self.complete = true;
                }
            }
            if batch.lines.is_empty() && self.due.is_some_and(|due| due <= Instant::now()) {
                break;
            }
        }
        Ok(batch)
    }

    /// When the browser is to be told of lines that aren't over.
    fn due_at(&mut self) -> Option<Instant> {
        if self.now_open() == self.open {
            self.due = None;
            return None;
        }
        // What is over was shown among the lines just now.
        let soon = if self.lines.has_unfinished() { UNFINISHED } else { Duration::ZERO };
        Some(*self.due.get_or_insert_with(|| Instant::now() + soon))
    }

    fn now_open(&self) -> Vec<ShownLine> {
        self.lines.unfinished().map(ShownLine::from).collect()
    }

    fn open_event(&mut self) -> Option<Event> {
        self.due = None;
        let open = self.now_open();
        if open == self.open {
            return None;
        }
        self.open = open;
        let html = OpenPiece { lines: &self.open }.render().ok()?;
        // Browsers pass on no event without data (HTML, section 9.2.6): what is over would stay on the page (B13).
        let html = if html.trim().is_empty() { NOTHING.to_owned() } else { html };
        Some(Event::default().event("open").data(html))
    }

    fn event(&mut self, batch: Batch) -> Option<Event> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh {
            // What is shown anew has no lines that aren't over.
            self.open.clear();
        }
        let earlier = batch.lines.first().map_or(0, |line| line.number - 1);
        self.seen = batch.lines.last().map_or(self.seen, |line| line.number);
        let piece = LinesPiece { task: self.task, fresh, earlier, kept: KEPT, lines: &batch.lines };
        let html = piece.render().ok()?;
        let name = if fresh { "start" } else { "lines" };
        Some(Event::default().event(name).id(self.seen.to_string()).data(html))
    }
}

/// All of it, as text and nothing else (R10).
pub(crate) async fn text(
    State(app): State<App>,
    page: Page,
    Path(task): Path<String>,
) -> Result<Response, PageFailure> {
    let permit = open::<ReadTask>(&app, &page.caller, &task).await?;
    let follower = app.master.tasks.log(&permit, 0, false).await?;
    let whole = Whole { follower, pieces: Pieces::default(), lines: Lines::default(), done: false };
    let pieces = stream::try_unfold(whole, Whole::next);
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONTENT_DISPOSITION, "inline")];
    Ok((headers, Body::from_stream(while_readable(&app, &page.caller, task, None, pieces))).into_response())
}

/// The whole text, piece by piece.
struct Whole {
    follower: Follower,
    pieces: Pieces,
    lines: Lines,
    done: bool,
}

impl Whole {
    /// Some of it, and where the rest is.
    async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        let mut out = String::new();
        while !self.done && out.is_empty() {
            while out.len() < TEXT
                && let Some(part) = self.pieces.next(PART)
            {
                self.lines.push(part, |line| print_line(&line, &mut out));
            }
            if !out.is_empty() {
                break;
            }
            match self.follower.next().await? {
                Some(bytes) => self.pieces = Pieces::of(bytes),
                None => {
                    self.lines.finish(|line| print_line(&line, &mut out));
                    self.done = true;
                }
            }
        }
        Ok((!out.is_empty()).then(|| (Bytes::from(out), self)))
    }
}

/// Lines that are not the task's own say so.
fn print_line(line: &Line, out: &mut String) {
    if matches!(line.source, Source::Agent | Source::Master) {
        out.push_str(&format!("[{}] ", line.source.origin()));
    }
    out.push_str(&plain(&line.text));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Timestamp;

    fn line(number: u64, source: Source, text: &str) -> Line {
        let of = domain::log::Output { run: 1, rank: None };
        Line { number, at: Timestamp(0), source, of, text: text.to_owned() }
    }

    #[test]
    fn r05_lines_are_text() {
        let lines: Vec<_> = [
            line(1, Source::Stdout, "<script>alert(1)</script>\u{1b}[31m"),
            line(2, Source::Stderr, "a & b"),
            line(3, Source::Master, "queued"),
        ]
        .into_iter()
        .map(ShownLine::from)
        .collect();
        let task = TaskId("00000000-0000-4000-8000-000000000007".parse().expect("an id"));
        let piece = LinesPiece { task, fresh: true, earlier: 0, kept: KEPT, lines: &lines };
        let html = piece.render().expect("html");
        assert!(!html.contains("<script") && !html.contains(['\u{1b}', '\r']), "{html}");
        assert!(html.contains("stderr") && html.contains("master"));
    }

    #[test]
    fn a05_a_batch_is_full_by_what_it_is_as_html() {
        let task = TaskId("00000000-0000-4000-8000-000000000007".parse().expect("an id"));
        for text in ["", "x", "<&>\"'", &"é<".repeat(2000)] {
            let mut batch = Batch::default();
            let mut number = 0;
            while !batch.is_full() {
                number += 1;
                batch.add(line(number, Source::Stdout, text));
            }
            let piece = LinesPiece { task, fresh: false, earlier: 0, kept: KEPT, lines: &batch.lines };
            let html = piece.render().expect("html").len();
            assert!((EVENT / 4..EVENT + EVENT / 2).contains(&html), "{html} for {text:?}");
        }
    }

    #[test]
    fn the_whole_text_says_whose_lines_are_not_the_tasks() {
        let mut out = String::new();
        print_line(&line(1, Source::Agent, "starting"), &mut out);
        print_line(&line(2, Source::Stdout, "<b>hi</b>"), &mut out);
        assert_eq!(out, "[agent] starting\n<b>hi</b>\n");
    }
}
