//! The server: takes connections from its doors, keeps them within their limits, and hands their requests to the
//! routes (A7). It knows nothing of accounts but that a request was let in.

mod door;
mod life;
mod limits;
mod registry;
mod sealed;
mod stream;
mod unread;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::replace;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::App;
use crate::peer::Peer;

pub use door::{Accepted, Accepting, Acceptor, Door, Plain};
pub use sealed::Sealed;
pub use stream::Io;

use door::Fresh;
use life::Life;
pub(crate) use life::{Holder, STEADY};
use limits::{HEAD_MAX, Limits};
use registry::{Place, Registry};
use sealed::Crowd;
use stream::{Answered, Asked, Watched};

/// What is kept of a connection's bytes in each direction, beside the piece that is being taken or given (A5, MB5).
const BUFFER: usize = 64 << 10;

/// How long requests that are under way may go on when the master stops.
const GRACE: Duration = Duration::from_millis(1500);

/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Pause after the kernel has refused a connection for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(20);

/// In every request: what is known of its connection.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    life: Arc<Life>,
    registry: Arc<Registry>,
}

impl Standing {
    /// Tells who is at the other end, by good credentials: the connection counts as theirs from now on, and isn't ended
    /// for strangers' ones.
    pub(crate) fn is_known(&self, holder: Holder) {
        if self.life.is_known(holder) {
            self.registry.settle(&self.life);
        }
    }

    /// How many bytes of its request's body have come.
    pub(crate) fn came(&self) -> u64 {
        self.life.came()
    }

    /// What `look` says of the other end, or what it said a moment ago.
    pub(crate) async fn near(&self, look: impl Future<Output = bool>) -> bool {
        self.life.near(look).await
    }

    /// What `look` says of whose the other end is, asked once: a socket stays its maker's.
    pub(crate) async fn whose(&self, look: impl Future<Output = Option<u32>>) -> Option<u32> {
        self.life.whose(look).await
    }
}

/// A server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    routes: TowerToHyperService<Router>,
    registry: Arc<Registry>,
    crowd: Arc<Crowd>,
    numbers: Arc<AtomicU64>,
    connections: TaskTracker,
    stopping: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn new(app: App) -> Self {
        let limits = Limits::new(&app.master.config.connections);
        tracing::debug!(?limits, "connections");
        let stopping = app.master.stopping();
        Self {
            routes: TowerToHyperService::new(app.router()),
            registry: Registry::new(limits),
            crowd: Arc::default(),
            numbers: Arc::default(),
            connections: TaskTracker::new(),
            stopping,
        }
    }

    /// Serves until the master stops.
    pub(crate) async fn run(&self, doors: Vec<Door>) {
        doors.iter().for_each(unread::bound);
        let server = self;
        let accept = futures_util::future::join_all(doors.iter().map(|door| server.accept(door)));
        let watch = async {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                server.registry.end_late();
            }
        };
        tokio::select! {
            _ = accept => {}
            () = watch => {}
            () = unread::watch_strangers(&self.registry, &self.crowd) => {}
            () = unread::watch(&self.registry, &doors) => {}
            () = self.stopping.cancelled() => {}
        }
        // Nobody is kept waiting in a queue that nobody looks at any more.
        drop(doors);
        self.connections.close();
        let _ = tokio::time::timeout(GRACE, self.connections.wait()).await;
    }

    async fn accept(&self, door: &Door) {
        loop {
            match door.next(&self.crowd).await {
                Ok(fresh) => self.begin(fresh),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.registry.shed();
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    fn begin(&self, fresh: Fresh) {
        let life = Life::new(fresh.peer.source(), Instant::now).with(&fresh.peer).over(fresh.sealed);
        let life = Arc::new(life);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        // Dropped without a word when there is no room: words would take a descriptor.
        let Some(place) = self.registry.admit(number, &life) else { return };
        let server = self.clone();
        self.connections.spawn(async move {
            let attend = async {
                let accepted = match fresh.accepting.await {
                    Ok(Some(accepted)) => accepted,
                    Ok(None) => return,
                    Err(error) => return tracing::debug!(%error, "a connection came to nothing"),
                };
                let peer = with_encryption(fresh.peer, accepted.encrypted);
                server.speak(accepted.io, peer, &life, place).await;
            };
            tokio::select! {
                () = attend => {}
                () = life.end.cancelled() => {}
            }
        });
    }

    /// Speaks HTTP on a stream inside another connection, which counts in its place; the time-outs are the same.
    pub(crate) async fn attend(&self, io: Box<dyn Io>, peer: Peer) {
        let sealed = Arc::new(Sealed::among(&self.crowd));
        let life = Arc::new(Life::new(peer.source(), Instant::now).over(sealed).inside());
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let Some(place) = self.registry.admit(number, &life) else { return };
        tokio::select! {
            () = self.speak(io, peer, &life, place) => {}
            () = life.end.cancelled() => {}
        }
    }

    async fn speak(&self, io: Box<dyn Io>, peer: Peer, life: &Arc<Life>, place: Place) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            life.asked();
            let body_of = Arc::clone(life);
            let mut request: Request = request.map(|body| Body::new(Asked::new(body, body_of)));
            request.extensions_mut().insert(peer.clone());
            let registry = Arc::clone(&self.registry);
            request.extensions_mut().insert(Standing { life: Arc::clone(life), registry });
            let (answer, life) = (self.routes.call(request), Arc::clone(life));
            async move {
                // Who sends many requests at once has one answered before everybody else's next one, not sixteen (MF5).
                others_first().await;
                let mut response = answer.await?;
                if life.is_unread() {
                    // Else its client would send the next one to where nobody reads it.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                let status = response.status();
                let response: Response<Answered> = response.map(|body| Answered::new(body, status, life));
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(Watched::new(io, Arc::clone(life), place));
        // hyper's own time-out is for heads alone; `life` has one for each step.
        let mut http = http1::Builder::new();
        http.header_read_timeout(None).max_header_size(HEAD_MAX).max_buf_size(BUFFER);
        let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

/// Goes to the end of the queue. Tokio's own `yield_now` waits until this thread has nothing left to do, which another's
/// request may keep it from for long; who wakes himself stands where idle threads take from.
async fn others_first() {
    let mut went = false;
    poll_fn(|context| {
        if replace(&mut went, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn with_encryption(peer: Peer, encrypted: bool) -> Peer {
    match peer {
        Peer::Tcp { address, local, .. } => Peer::Tcp { address, local, encrypted },
        other => other,
    }
}

/// Whether an error of `accept` is about that one connection, and the next may be good.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// MF5: who goes behind others does so, and doesn't wait for one that keeps the thread.
    #[test]
    fn a04_who_lets_others_go_first_waits_for_no_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (told, hears) = mpsc::channel();
        let (done, is_done) = mpsc::channel();
        runtime.spawn(async move {
            let tells = told.clone();
            tokio::spawn(async move {
                tells.send("other").unwrap();
                is_done.recv().unwrap();
            });
            others_first().await;
            told.send("first").unwrap();
            done.send(()).unwrap();
        });
        let next = || hears.recv_timeout(Duration::from_secs(60)).unwrap();
        let mut both = [next(), next()];
        both.sort_unstable();
        assert_eq!(both, ["first", "other"]);
        // On one thread the other is first.
        let (told, hears) = mpsc::channel();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let tells = told.clone();
            tokio::spawn(async move { tells.send("other").unwrap() });
            others_first().await;
            told.send("first").unwrap();
        });
        assert_eq!(hears.try_iter().collect::<Vec<_>>(), ["other", "first"]);
    }
}
