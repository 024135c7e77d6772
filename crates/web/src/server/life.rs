//! What a connection is doing, and whether it takes too long over it (A7). The server's streams and bodies report
//! here; `registry` looks.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use domain::id::{TaskId, UserId};
use tokio::sync::OnceCell;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::sealed::Sealed;
use crate::peer::{Peer, Source};

/// Bytes of a body that have to come within each time-out.
const PROGRESS: u64 = 1 << 10;

/// Slowest body on the whole, in bytes a second, after a first time-out …
const SLOWEST: u64 = 1 << 10;

/// … for so much of it, …
const SHORT: u64 = 256 << 10;

/// … and of all that is longer, so that nothing is held open for hours (W1).
pub(crate) const STEADY: u64 = 64 << 10;

/// How long a newcomer has for what an honest one does at once, before being worth less than who has asked for something
/// and does nothing; and how long an answer that isn't taken is worth anything (KX2).
const GRACE: Duration = Duration::from_secs(2);

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

/// A body that is being read.
#[derive(Debug, Clone, Copy)]
struct Coming {
    begun: Instant,
    bytes: u64,
    /// The stretch of time in which something has to come, and what came in it.
    since: Instant,
    lately: u64,
}

impl Coming {
    fn is_late(&self, now: Instant, limit: Duration) -> bool {
        let stalled = now.saturating_duration_since(self.since) >= limit;
        let steady = self.bytes.saturating_sub(SHORT) / STEADY;
        let allowed = limit + Duration::from_secs(self.bytes.min(SHORT) / SLOWEST + steady);
        stalled || now.saturating_duration_since(self.begun) >= allowed
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whose it is, by the last request that showed good credentials.
    holder: Option<Holder>,
    /// A request's head was whole once.
    asked: bool,
    /// The request's body.
    body: Option<Coming>,
    /// There is more of it than was read.
    unread: bool,
    /// The peer takes nothing of what we write.
    stalled: Option<Instant>,
    /// Bytes that came since the last answer.
    heard: usize,
}

/// Whose a connection is, as far as limits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Somebody who is logged in.
    Account {
        /// The account.
        user: UserId,
        /// An administrator's.
        admin: bool,
    },
    /// A task with its own token, or by its agent's relay: its owner's, but nobody who is logged in (F7).
    Task {
        /// Its owner.
        owner: UserId,
        /// The task.
        task: TaskId,
    },
    /// An agent's own channel.
    Agent,
}

impl Holder {
    /// The account that it counts for.
    pub(crate) fn account(self) -> Option<UserId> {
        match self {
            Self::Account { user, .. } | Self::Task { owner: user, .. } => Some(user),
            Self::Agent => None,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) source: Source,
    /// Our address and the peer's, of a TCP connection.
    between: Option<(SocketAddr, SocketAddr)>,
    /// It is inside another one, which counts.
    pub(super) inner: bool,
    begun: Instant,
    /// The time.
    now: fn() -> Instant,
    state: Mutex<State>,
    /// Whether a person's own program was at the other end, and when that was seen.
    near: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// The Unix user whose the other end is, once that was asked.
    whose: OnceCell<Option<u32>>,
    /// What of TLS has come on it and can't be read yet.
    sealed: Arc<Sealed>,
    /// Fires when the connection has to go.
    pub(super) end: CancellationToken,
}

/// What a connection takes on which nothing is said, in bytes; with TLS, or as a WebSocket (measured with thousands).
const LIGHT: usize = 8 << 10;
const HEAVY: usize = 32 << 10;

/// How many times what was said is in memory: as it came, as it was read, and what the allocator keeps besides (measured
/// with heads and bodies without their end: 150 MB for 20 MB).
const HELD: usize = 7;

/// What a connection is doing, in the order in which connections go when there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Not a byte has come.
    Silent,
    /// A request isn't whole.
    Unfinished,
    /// Between two requests.
    Idle,
    /// It has just come, and its first request isn't whole.
    New,
    /// A request is being answered.
    Answering,
}

impl Life {
    pub(super) fn new(source: Source, now: fn() -> Instant) -> Self {
        let since = now();
        let state = State {
            phase: Phase::Silent,
            since,
            holder: None,
            asked: false,
            body: None,
            unread: false,
            stalled: None,
            heard: 0,
        };
        let near = tokio::sync::Mutex::default();
        let (whose, end) = (OnceCell::new(), CancellationToken::new());
        let (between, sealed, state) = (None, Arc::default(), Mutex::new(state));
        Self { source, between, inner: false, begun: since, now, state, near, whose, sealed, end }
    }

    /// The same with that peer.
    pub(super) fn with(self, peer: &Peer) -> Self {
        let plain = |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let between = match peer {
            Peer::Tcp { address, local, .. } => Some((plain(local), plain(address))),
            Peer::Unix { .. } | Peer::Relay { .. } => None,
        };
        Self { between, ..self }
    }

    /// The same on a stream that tells `sealed` what can't be read yet.
    pub(super) fn over(self, sealed: Arc<Sealed>) -> Self {
        Self { sealed, ..self }
    }

    /// Our address and the peer's, of a TCP connection.
    pub(super) fn between(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.between
    }

    /// The same, inside another connection, which counts in its place.
    pub(super) fn inside(self) -> Self {
        Self { inner: true, ..self }
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

    /// What `look` says of whose the other end is, asked once.
    pub(super) async fn whose(&self, look: impl Future<Output = Option<u32>>) -> Option<u32> {
        *self.whose.get_or_init(|| look).await
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != phase {
            (state.phase, state.since) = (phase, (self.now)());
        }
    }

    /// Bytes came.
    pub(super) fn heard(&self, bytes: usize) {
        self.sealed.opened(bytes);
        self.sealed.costs_more(bytes.saturating_mul(HELD));
        let mut state = self.state();
        state.heard = state.heard.saturating_add(bytes);
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
        let mut state = self.state();
        (state.asked, state.unread) = (true, false);
    }

    /// The handler waits for more of the body.
    pub(super) fn wants_body(&self) {
        self.got_body(0);
    }

    /// A piece of the body came.
    pub(super) fn got_body(&self, bytes: u64) {
        let now = (self.now)();
        let fresh = || Coming { begun: now, bytes: 0, since: now, lately: 0 };
        let mut state = self.state();
        let body = state.body.get_or_insert_with(fresh);
        body.bytes = body.bytes.saturating_add(bytes);
        body.lately = body.lately.saturating_add(bytes);
        if body.lately >= PROGRESS {
            (body.since, body.lately) = (now, 0);
        }
    }

    /// How many bytes of a body that is being read have come.
    pub(super) fn came(&self) -> u64 {
        self.state().body.map_or(0, |body| body.bytes)
    }

    /// The body is whole, or nobody wants the rest of it.
    pub(super) fn body_over(&self, whole: bool) {
        let mut state = self.state();
        state.body = None;
        state.unread |= !whole;
    }

    /// Whether the request was answered without all of its body. What is left of it can't be told from the next request, so
    /// there is none.
    pub(super) fn is_unread(&self) -> bool {
        self.state().unread
    }

    /// The answer is written.
    pub(super) fn answered(&self, upgraded: bool) {
        self.enter(if upgraded { Phase::Upgraded } else { Phase::Idle });
        self.state().heard = 0;
    }

    /// What a stranger's connection costs this process, in bytes: by itself, for what came of TLS and can't be read yet, and
    /// for what was said on it and isn't answered, which is in memory several times.
    pub(super) fn costs(&self) -> usize {
        let state = self.state();
        if state.holder.is_some() {
            return 0;
        }
        let is_heavy = state.phase == Phase::Upgraded || self.sealed.has_begun();
        let by_itself = if is_heavy { HEAVY } else { LIGHT };
        state.heard.saturating_mul(HELD).saturating_add(self.sealed.costs()).saturating_add(by_itself)
    }

    /// A request on it showed good credentials, or an agent proved itself. Tells whether that is news.
    pub(super) fn is_known(&self, holder: Holder) -> bool {
        self.sealed.is_known();
        self.state().holder.replace(holder) != Some(holder)
    }

    /// Waits for its turn to be heard.
    pub(super) fn poll_turn(&self, pause: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
        self.sealed.poll_turn(pause, cx)
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
        let body = state.body.is_some_and(|body| body.is_late(now, limits.body));
        let stalled = state.stalled.is_some_and(|since| over(since, limits.stalled));
        phase || body || stalled
    }

    /// Whose it is, what it is doing, and since when.
    pub(super) fn seen(&self) -> (Option<Holder>, Worth, Instant) {
        let now = (self.now)();
        let state = self.state();
        let lately = |since: Instant| now.saturating_duration_since(since) < GRACE;
        let worth = match (state.holder, state.phase) {
            (None, Phase::Silent | Phase::Heading) if !state.asked && lately(self.begun) => Worth::New,
            (None, Phase::Silent) => Worth::Silent,
            (None, Phase::Heading) => Worth::Unfinished,
            (None, Phase::Answering) if state.body.is_some() => Worth::Unfinished,
            (None, Phase::Answering) if state.stalled.is_some_and(|since| !lately(since)) => {
                Worth::Unfinished
            }
            (Some(_), Phase::Silent | Phase::Heading) | (_, Phase::Idle) => Worth::Idle,
            (_, Phase::Answering | Phase::Upgraded) => Worth::Answering,
        };
        (state.holder, worth, state.since)
    }
}
