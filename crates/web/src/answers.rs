//! Answers that were made as a whole and wait for their reader (A5, A6). Such an answer may be as large as what others have
//! stored, and a reader who takes nothing keeps it in memory: so it is paid for like a body that is sent (`bodies`), and
//! gives way when there is no room for others'.

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, to_bytes};
use axum::response::Response;
use futures_util::{Stream, TryStreamExt as _};
use http_body::{Body as HttpBody, Frame, SizeHint};
use master::Error;
use master::session::Caller;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::App;
use crate::bodies::{Bodies, Came, Payer};
use crate::server::Holder;

/// What is smaller, in bytes, is counted by connections.
const SMALL: u64 = 64 << 10;

/// An answer goes out in pieces of so many bytes.
const PIECE: usize = 64 << 10;

/// The answer, once it is paid for.
///
/// # Errors
/// When there is no room for it, to be tried again.
pub(crate) async fn paid(app: &App, holder: Option<Holder>, response: Response) -> Result<Response, Error> {
    if response.body().size_hint().exact().is_none_or(|size| size <= SMALL) {
        return Ok(response);
    }
    // What strangers are given is the same for all of them, and made once.
    let Some(payer) = holder.and_then(Payer::of) else { return Ok(response) };
    let (parts, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.map_err(io::Error::other).map_err(Error::io("an answer"))?;
    Ok(Response::from_parts(parts, Body::new(Answer::paid(&app.bodies, payer, whole)?)))
}

/// Pieces of an answer that is made while it is read; one that is large is paid for until its reader has taken it (MC7).
pub(crate) fn piece_by_piece<S: Stream<Item = io::Result<Bytes>> + Send>(
    app: &App,
    caller: &Caller,
    pieces: S,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<S> {
    let (bodies, payer) = (app.bodies.clone(), Payer::caller(caller));
    let pieces = pieces.and_then(move |piece| {
        let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let piece = match payer {
            Some(payer) if size > SMALL => Answer::paid(&bodies, payer, piece).map(Body::new),
            _ => Ok(Body::from(piece)),
        };
        ready(piece.map(|piece| piece.into_data_stream().map_err(io::Error::other)).map_err(io::Error::other))
    });
    pieces.try_flatten()
}

/// What is left of an answer; `None` once it had to give way.
type Rest = Option<Bytes>;

fn locked(rest: &Mutex<Rest>) -> MutexGuard<'_, Rest> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

fn left(rest: &Rest) -> u64 {
    rest.as_ref().map_or(0, |rest| u64::try_from(rest.len()).unwrap_or(u64::MAX))
}

/// An answer that goes out piece by piece. Its room is given back when this is dropped.
struct Answer {
    rest: Arc<Mutex<Rest>>,
    _over: DropGuard,
}

impl Answer {
    fn paid(bodies: &Bodies, payer: Payer, whole: Bytes) -> Result<Self, Error> {
        let size = u64::try_from(whole.len()).unwrap_or(u64::MAX);
        let rest = Arc::new(Mutex::new(Some(whole)));
        let came: Came = {
            let rest = Arc::downgrade(&rest);
            Arc::new(move || rest.upgrade().map_or(size, |rest| size - left(&locked(&rest))))
        };
        let charge = bodies.keep(payer, size, &came)?;
        let over = CancellationToken::new();
        let answer = Self { rest: Arc::clone(&rest), _over: over.clone().drop_guard() };
        // Whoever takes nothing isn't asked: the connection looks at a body only when there is room for more of it.
        tokio::spawn(async move {
            tokio::select! {
                () = charge.gone() => *locked(&rest) = None,
                () = over.cancelled() => {}
            }
        });
        Ok(answer)
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut rest = locked(&self.rest);
        Poll::Ready(match rest.as_mut() {
            None => Some(Err(io::Error::other("others needed the room of an answer that nobody read"))),
            Some(rest) if rest.is_empty() => None,
            Some(rest) => {
                Some(Ok(Frame::data(Bytes::copy_from_slice(&rest.split_to(rest.len().min(PIECE))))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        locked(&self.rest).as_ref().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(left(&locked(&self.rest)))
    }
}
