//! What a connection is doing, and whether it takes too long over it (A7). The server's streams and bodies report
//! here; `registry` looks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use crate::peer::Source;

/// Bytes of a body that count as progress: a body that trickles slower than this per time-out is over.
const PROGRESS: u64 = 1024;

/// How long it is believed who is at the other end.
const FRESH: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not a byte has come yet.
    Silent,
    /// The head of a request has begun.
    Heading,
    /// A request is being answered.
    Answering,
    /// Between two requests.
    Idle,
    /// No HTTP any more: a WebSocket, which has time-outs of its own.
    Upgraded,
}

/// A stretch of time in which something has to happen.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    bytes: u64,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// A request on it showed good credentials.
    known: bool,
    /// The handler waits for the request's body.
    body: Option<Window>,
    /// The peer takes nothing of what we write.
    stalled: Option<Instant>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) source: Source,
    /// The time.
    now: fn() -> Instant,
    state: Mutex<State>,
    /// Whether a person's own program was at the other end, and when that was seen.
    near: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// Fires when the connection has to go.
    pub(super) end: CancellationToken,
}

/// How dear a connection is: the first ones go first when there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// A stranger's, and not a byte has come.
    Silent,
    /// A stranger's whose request isn't whole.
    Unfinished,
    /// A stranger's between two requests.
    Idle,
    /// A stranger's whose request is being answered.
    Answering,
    /// Somebody's who is logged in, between two requests.
    KnownIdle,
    /// Somebody's who is logged in and waits for an answer: never ended for others.
    KnownBusy,
}

impl Life {
    pub(super) fn new(source: Source, now: fn() -> Instant) -> Self {
        let since = now();
        let state = State { phase: Phase::Silent, since, known: false, body: None, stalled: None };
        let near = tokio::sync::Mutex::default();
        Self { source, now, state: Mutex::new(state), near, end: CancellationToken::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` says of the other end, or what it said less than a second ago: a program that begins to serve others
    /// doesn't stay a neighbour for what it opened before.
    pub(super) async fn near(&self, look: impl Future<Output = bool>) -> bool {
        let mut near = self.near.lock().await;
        let now = (self.now)();
        match *near {
            Some((seen, verdict)) if now.saturating_duration_since(seen) < FRESH => verdict,
            _ => {
                let verdict = look.await;
                // Counted from before the look.
                *near = Some((now, verdict));
                verdict
            }
        }
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != phase {
            (state.phase, state.since) = (phase, (self.now)());
        }
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Silent | Phase::Idle) {
            (state.phase, state.since) = (Phase::Heading, (self.now)());
        }
    }

    /// Bytes went out, or (`false`) didn't find room.
    pub(super) fn spoke(&self, moved: bool) {
        let mut state = self.state();
        state.stalled = if moved { None } else { Some(state.stalled.unwrap_or_else(self.now)) };
    }

    /// The head of a request is whole.
    pub(super) fn asked(&self) {
        self.enter(Phase::Answering);
    }

    /// The handler waits for more of the body.
    pub(super) fn wants_body(&self) {
        self.state().body.get_or_insert_with(|| Window { since: (self.now)(), bytes: 0 });
    }

    /// A piece of the body came.
    pub(super) fn got_body(&self, bytes: u64) {
        let mut state = self.state();
        if let Some(window) = &mut state.body {
            window.bytes += bytes;
            if window.bytes >= PROGRESS {
                state.body = None;
            }
        }
    }

    /// The body is whole, or nobody wants it any more.
    pub(super) fn body_over(&self) {
        self.state().body = None;
    }

    /// The answer is written.
    pub(super) fn answered(&self, upgraded: bool) {
        self.enter(if upgraded { Phase::Upgraded } else { Phase::Idle });
    }

    /// A request on it showed good credentials, or an agent proved itself.
    pub(super) fn is_known(&self) {
        self.state().known = true;
    }

    pub(super) fn known(&self) -> bool {
        self.state().known
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.state().phase == Phase::Upgraded
    }

    /// What was sent has not been read to its end: a request's head, or a body that nobody wanted.
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self.state().phase, Phase::Heading | Phase::Answering)
    }

    /// Whether a time-out has passed.
    pub(super) fn is_late(&self, limits: &Limits) -> bool {
        let now = (self.now)();
        let state = self.state();
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let phase = match state.phase {
            Phase::Silent | Phase::Heading => over(state.since, limits.head),
            Phase::Idle => over(state.since, limits.idle),
            Phase::Answering | Phase::Upgraded => false,
        };
        let body = state.body.is_some_and(|window| over(window.since, limits.body));
        let stalled = state.stalled.is_some_and(|since| over(since, limits.stalled));
        phase || body || stalled
    }

    /// How dear it is, and since when: among equals the oldest goes first.
    pub(super) fn worth(&self) -> (Worth, Instant) {
        let state = self.state();
        let worth = match (state.known, state.phase) {
            (false, Phase::Silent) => Worth::Silent,
            (false, Phase::Heading) => Worth::Unfinished,
            (false, Phase::Answering) if state.body.is_some() => Worth::Unfinished,
            (false, Phase::Idle) => Worth::Idle,
            (false, Phase::Answering | Phase::Upgraded) => Worth::Answering,
            (true, Phase::Silent | Phase::Idle) => Worth::KnownIdle,
            (true, _) => Worth::KnownBusy,
        };
        (worth, state.since)
    }
}
