//! HTTP: one route table, the guard before every route, JSON endpoints, the agents' gateway, the web pages.
//!
//! A handler turns a request into a call of a service of `master`, and its result into an answer; it decides nothing.
//! There is deliberately no SQL and no `store` here.

mod about;
mod answers;
mod api;
mod guard;
mod missing;
mod openapi;
mod polyaxon;
mod respond;
mod room;
mod routes;
mod server;
mod slash;
mod table;
pub mod tls;
mod ui;

pub use guard::peer;
use guard::{access, asked, body, changes, cookie, extract, late, live, open, origin, query};
use room::{bodies, kept, lists, turns, whole};

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};

use ::master::Master;
use axum::Router;
use bytes::Bytes;
use domain::identity::TASK_IDS;
use neighbour::Neighbours;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use access::Access;
pub use lists::Cost;
pub use peer::Peer;
pub use routes::{document, rows, undescribed};
pub use server::{Accepted, Accepting, Acceptor, Door, Io, Plain, Sealed};
pub use table::Row;
pub use tls::{Tls, TlsError};

/// How many looks at the machine's processes there may be at once.
const LOOKS: usize = 2;

/// How many small pages are read at once, and for each account: others find a connection to the database.
const PAGES: usize = 4;
const PAGES_EACH: usize = 2;

/// What every handler has. A request's way through the routes clones it many times: that is to cost one step of a counter, not
/// one for each thing in it, which all threads would wait for.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

/// What is in it.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The services.
    pub master: Master,
    /// Names that the master answers to (R08).
    pub(crate) hosts: origin::Hosts,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// What its TCP ports are encrypted with.
    pub(crate) tls: Option<Tls>,
    /// The table of routes, once there is a router.
    pub(crate) rows: Arc<OnceLock<Arc<[Row]>>>,
    /// The description of the API, made when it is first asked for.
    pub(crate) description: Arc<OnceLock<Bytes>>,
    /// Tells people's own programs on this machine from others (A3).
    pub(crate) neighbours: Neighbours,
    /// Turns of Unix users at looking at the machine's processes.
    pub(crate) looks: turns::Turns<Option<u32>>,
    /// How many questions of whose a connection is there may be at once.
    pub(crate) owners: Arc<Semaphore>,
    /// It was said that a proxy isn't believed.
    pub(crate) warned: Arc<AtomicBool>,
    /// Turns at what keeps a processor busy: searching logs, making lists.
    pub(crate) searches: turns::Turns,
    /// Turns at what comes of long texts that people send: reading them is work, too (MF10).
    pub(crate) texts: turns::Turns,
    /// Turns at pages of few rows, which wait for the database above all.
    pub(crate) pages: turns::Turns,
    /// How large lists were.
    pub(crate) sizes: lists::Sizes,
    /// How many open answers may look up their readers at once.
    pub(crate) renewals: Arc<Semaphore>,
    /// Room for requests' bodies.
    pub(crate) bodies: bodies::Bodies,
    /// Agents that were refused.
    pub(crate) refusals: Arc<api::link::Refusals>,
    /// Turns at changing something.
    pub(crate) changes: changes::Changes,
    /// The server that this is behind, once it serves. Its routes hold this, so it can't hold them.
    server: Arc<OnceLock<Weak<server::Server>>>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts HTTP before a master that listens on `address`.
    #[must_use]
    pub fn new(master: Master, address: SocketAddr) -> Self {
        let hosts = origin::Hosts::new(&master.config.security.hosts, address);
        let first = master.config.agent.root_range_base;
        let bodies = bodies::Bodies::new(master.config.limits.bodies_bytes);
        Self(Arc::new(Parts {
            master,
            hosts,
            listen: address,
            tls: None,
            rows: Arc::default(),
            description: Arc::default(),
            neighbours: Neighbours::new(first..first.saturating_add(TASK_IDS)),
            looks: turns::Turns::of(LOOKS),
            owners: Arc::new(Semaphore::new(LOOKS)),
            warned: Arc::default(),
            searches: turns::Turns::new(),
            texts: turns::Turns::new(),
            pages: turns::Turns::with(PAGES, PAGES_EACH),
            sizes: lists::Sizes::default(),
            renewals: Arc::new(Semaphore::new(LOOKS)),
            bodies,
            refusals: Arc::default(),
            changes: changes::Changes::new(),
            server: Arc::default(),
        }))
    }

    /// The same with encrypted TCP ports (D9).
    #[must_use]
    pub fn encrypted(mut self, tls: Option<Tls>) -> Self {
        Arc::make_mut(&mut self.0).tls = tls;
        self
    }

    /// A TCP port of this master's.
    #[must_use]
    pub fn door(&self, listener: TcpListener) -> Door {
        match &self.tls {
            Some(tls) => {
                let acceptor = tls::Encrypting::new(tls.clone(), self.hosts.clone());
                Door::Tcp { listener, acceptor: Arc::new(acceptor) }
            }
            None => Door::plain(listener),
        }
    }

    /// The same for a process that sends requests to itself, as tests do.
    #[must_use]
    pub fn among_its_own_callers(mut self) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        parts.neighbours = parts.neighbours.clone().and_this_process();
        self
    }

    /// All routes, guarded.
    pub fn router(self) -> Router {
        routes::router(self)
    }

    /// Speaks HTTP on a stream that didn't come through a door (a task's, by way of its agent), until it ends.
    pub async fn attend(&self, io: Box<dyn Io>, peer: Peer) {
        if let Some(server) = self.server.get().and_then(Weak::upgrade) {
            server.attend(io, peer).await;
        }
    }
}

/// Serves until the master stops.
pub async fn serve(doors: Vec<Door>, app: App) {
    let place = Arc::clone(&app.server);
    if let Some(tls) = app.tls.clone() {
        // It ends by itself when the master stops.
        tokio::spawn(tls.keep(Arc::clone(&app.master.clock), app.master.stopping()));
    }
    let server = Arc::new(server::Server::new(app));
    // Only a second server of one app would find it set.
    let _ = place.set(Arc::downgrade(&server));
    server.run(doors).await;
}
