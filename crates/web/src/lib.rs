//! HTTP: one route table, the guard before every route, JSON endpoints, the agents' gateway, the web pages.
//!
//! A handler turns a request into a call of a service of `master`, and its result into an answer; it decides nothing.
//! There is deliberately no SQL and no `store` here.

mod access;
mod api;
mod extract;
mod openapi;
mod origin;
mod polyaxon;
mod respond;
mod routes;
mod table;
mod ui;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::master::Master;
use axum::Router;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use tokio::net::TcpListener;

pub use access::Access;
pub use openapi::{document, undescribed};
pub use routes::rows;
pub use table::Row;

/// How long requests that are under way may go on when the master stops.
const GRACE: Duration = Duration::from_millis(1500);

/// What every handler has.
#[derive(Debug, Clone)]
pub struct App {
    /// The services.
    pub master: Master,
    /// Names that the master answers to (R08).
    pub(crate) hosts: origin::Hosts,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// The description of the API, made when it is first asked for.
    pub(crate) description: Arc<OnceLock<Bytes>>,
}

impl App {
    /// Puts HTTP before a master that listens on `address`.
    #[must_use]
    pub fn new(master: Master, address: SocketAddr) -> Self {
        let hosts = origin::Hosts::new(&master.config.security.hosts, address);
        Self { master, hosts, listen: address, description: Arc::default() }
    }

    /// All routes, guarded.
    pub fn router(self) -> Router {
        routes::router(self)
    }
}

/// Serves until the master stops.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, app: App) -> std::io::Result<()> {
    let stopping = app.master.stopping();
    let service = app.router().into_make_service_with_connect_info::<SocketAddr>();
    // Small answers must not wait for a full packet.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let graceful = stopping.clone();
    let server =
        axum::serve(listener, service).with_graceful_shutdown(async move { graceful.cancelled().await });
    let late = async {
        stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => served,
        () = late => Ok(()),
    }
}
