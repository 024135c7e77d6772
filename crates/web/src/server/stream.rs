//! Streams and bodies that tell their connection's [`Life`] what happens on them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Buf as _, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::life::Life;
use super::limits::STALLED;
use super::registry::Place;
use crate::tls::Encrypted;

/// What HTTP is spoken on.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// What was written and nobody has read is forgotten when this is dropped: else the kernel keeps it for a while, for
    /// nobody.
    fn forget(&self) {}
}

impl Io for TcpStream {
    fn forget(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Io for Encrypted {
    fn forget(&self) {
        self.get_ref().0.get_ref().forget();
    }
}

impl Io for UnixStream {}

impl Io for DuplexStream {}

/// How long, and how much, is still taken from a peer that was answered before it had said all: were its bytes left
/// unread, the kernel would tear the connection down and the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;

/// How often it is looked whether a peer has taken the last of what was written, at first; then less and less often.
const LOOK: Duration = Duration::from_millis(10);

/// A connection's stream, and its place among all connections: a WebSocket takes both along.
pub(super) struct Watched {
    io: Box<dyn Io>,
    life: Arc<Life>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    linger: Option<Linger>,
    taking: Option<Taking>,
    pause: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

/// A peer that takes the last of what was written.
struct Taking {
    look: Pin<Box<Sleep>>,
    pause: Duration,
    until: Instant,
    /// It has all.
    done: bool,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Watched {
    pub(super) fn new(io: Box<dyn Io>, life: Arc<Life>, place: Place) -> Self {
        let end = Box::pin(life.end.clone().cancelled_owned());
        Self { io, life, end, linger: None, taking: None, pause: None, _place: place }
    }

    /// Waits until the peer has taken all, or has had time enough: a connection that is closed before that is no
    /// connection of ours any more, and what the kernel keeps of it in nobody's number (A5).
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((own, other)) = self.life.between() else { return Poll::Ready(()) };
        // The end itself counts as a byte.
        let taken = || neighbour::unread(own, other) <= 1;
        let taking = self.taking.get_or_insert_with(|| {
            let now = Instant::now();
            let look = Box::pin(sleep_until(now + LOOK));
            Taking { look, pause: LOOK, until: now + STALLED, done: taken() }
        });
        while !taking.done && Instant::now() < taking.until {
            ready!(taking.look.as_mut().poll(cx));
            taking.done = taken();
            taking.pause = (taking.pause * 2).min(LINGER);
            taking.look.as_mut().reset(Instant::now() + taking.pause);
        }
        Poll::Ready(())
    }

    /// Whether nothing is left of it in the kernel, or what is left has its own end.
    fn is_settled(&self) -> bool {
        let taken = self.taking.as_ref().is_some_and(|taking| taking.done);
        !self.life.end.is_cancelled() && (taken || self.life.is_upgraded())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_settled() {
            self.io.forget();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The server itself ends what still speaks HTTP.
        if self.life.is_upgraded() && self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let this = &mut *self;
        ready!(this.life.poll_turn(&mut this.pause, cx));
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.life.heard(bytes);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.life.spoke(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.life.spoke(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() && this.taking.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if this.life.is_unfinished() {
                let until = Box::pin(sleep_until(Instant::now() + LINGER));
                this.linger = Some(Linger { until, left: LINGER_BYTES });
            }
        }
        if let Some(linger) = &mut this.linger {
            ready!(linger.poll(&mut this.io, cx));
        }
        this.poll_taken(cx).map(Ok)
    }
}

impl Linger {
    /// Takes what still comes, for a while.
    fn poll(&mut self, io: &mut Box<dyn Io>, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 16 << 10];
        while self.left > 0 && self.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buf.filled().len());
                }
                _ => self.left = 0,
            }
        }
        self.left = 0;
        Poll::Ready(())
    }
}

/// A request's body.
pub(super) struct Asked {
    body: Incoming,
    life: Arc<Life>,
    over: bool,
}

impl Asked {
    pub(super) fn new(body: Incoming, life: Arc<Life>) -> Self {
        Self { body, life, over: false }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.life.body_over(self.over || self.body.is_end_stream());
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Pending => self.life.wants_body(),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::remaining);
                self.life.got_body(u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            Poll::Ready(_) => {
                self.over = true;
                self.life.body_over(true);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; when it goes, the answer is over.
pub(super) struct Answered {
    body: Body,
    life: Arc<Life>,
    upgrades: bool,
}

impl Answered {
    pub(super) fn new(body: Body, status: StatusCode, life: Arc<Life>) -> Self {
        Self { body, life, upgrades: status == StatusCode::SWITCHING_PROTOCOLS }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.life.answered(self.upgrades);
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
