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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::life::Life;
use super::registry::Place;

/// What HTTP is spoken on.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// How long, and how much, is still taken from a peer that was answered before it had said all: were its bytes left
/// unread, the kernel would tear the connection down and the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;

/// A connection's stream, and its place among all connections: a WebSocket takes both along.
pub(super) struct Watched {
    io: Box<dyn Io>,
    life: Arc<Life>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    linger: Option<Linger>,
    _place: Place,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Watched {
    pub(super) fn new(io: Box<dyn Io>, life: Arc<Life>, place: Place) -> Self {
        let end = Box::pin(life.end.clone().cancelled_owned());
        Self { io, life, end, linger: None, _place: place }
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
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.life.heard();
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
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if !this.life.is_unfinished() {
                return Poll::Ready(Ok(()));
            }
            let until = Box::pin(sleep_until(Instant::now() + LINGER));
            this.linger = Some(Linger { until, left: LINGER_BYTES });
        }
        let Some(linger) = &mut this.linger else { return Poll::Ready(Ok(())) };
        let mut space = [0; 16 << 10];
        while linger.left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(buf.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A request's body.
pub(super) struct Asked {
    body: Incoming,
    life: Arc<Life>,
}

impl Asked {
    pub(super) fn new(body: Incoming, life: Arc<Life>) -> Self {
        Self { body, life }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.life.body_over();
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
            Poll::Ready(_) => self.life.body_over(),
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
