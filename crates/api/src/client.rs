//! The typed client of the v1 API: one method per endpoint, grouped by noun in the files below this one.
//!
//! It decides nothing: no retries, no caching of tokens, no choice of user. Those belong to the command line.

mod address;
mod audit;
mod cluster;
mod cluster_message;
mod command;
mod config_policy;
mod error;
mod group;
mod guard;
mod job;
mod output;
mod registration;
mod template;
mod token;
mod trust;
mod user;
mod workspace;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::auth::EXPECTED_USER;

pub use address::{Address, InvalidAddress};
pub use command::Excerpt;
pub use error::ClientError;
pub use output::OutputStream;
pub use trust::{BadCertificates, Refused, Shown, Trust};
pub use workspace::Place;

use guard::Guard;

/// What every method gives.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// What the client calls itself.
const AGENT: &str = concat!("muster/", env!("CARGO_PKG_VERSION"));
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an ordinary request may take. Streams and uploads have no limit of their own.
const REQUEST: Duration = Duration::from_secs(60);
/// A silent peer is asked for a sign of life after this time, so that a stream from a dead machine ends.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Pieces in which an upload reports its progress, in bytes.
const UPLOAD_PIECE: usize = 64 << 10;

/// A master, and maybe the token that is sent to it. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Address,
    token: Option<String>,
    /// Whom the token is believed to be.
    user: Option<String>,
    seen: trust::Seen,
    /// Nothing is encrypted on a Unix socket, whatever the address says.
    by_socket: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is nobody's business in a log.
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the master at `base`, such as `http://127.0.0.1:8080`. Connects on the first request.
    ///
    /// # Errors
    /// When `base` is no address of a master.
    pub fn new(base: &str, token: Option<String>) -> Result<Self> {
        Self::at(base.parse()?, token)
    }

    /// As [`Self::new`], from an address that was read already.
    ///
    /// # Errors
    /// When there is no way to connect to anything.
    pub fn at(address: Address, token: Option<String>) -> Result<Self> {
        Self::trusting(address, token, Trust::default())
    }

    /// As [`Self::at`], but believing whom `trust` says.
    ///
    /// # Errors
    /// When there is no way to connect to anything.
    pub fn trusting(address: Address, token: Option<String>, trust: Trust) -> Result<Self> {
        Self::made(address, token, trust, None)
    }

    /// A client without a token that asks `judge` about each connection, by its own end and the other one, before
    /// anything is said over it; what it says against one is [`ClientError::Stranger`].
    ///
    /// # Errors
    /// When there is no way to connect to anything.
    pub fn guarded(
        address: Address,
        judge: impl Fn(SocketAddr, SocketAddr) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::made(address, None, Trust::default(), Some(Guard::new(judge)))
    }

    fn made(address: Address, token: Option<String>, trust: Trust, guard: Option<Guard>) -> Result<Self> {
        let unusable = |e: rustls::Error| ClientError::unusable(&address, &e);
        let (tls, seen) = trust.config(address.is_https()).map_err(unusable)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(AGENT)
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(2)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls);
        if address.is_loopback() {
            // A proxy set for the outside world can't reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        if let Some(guard) = guard {
            builder = builder.connector_layer(guard);
        }
        let http = builder.build().map_err(|error| ClientError::unreachable(&address, &error))?;
        Ok(Self { http, address, token, user: None, seen, by_socket: false })
    }

    /// As [`Self::at`], by way of the master's Unix socket on this machine; the address is the name that it is known by.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn at_socket(address: Address, socket: &Path, token: Option<String>) -> Result<Self> {
        let (tls, seen) =
            Trust::default().config(false).map_err(|error| ClientError::unusable(&address, &error))?;
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(AGENT)
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .unix_socket(socket);
        let http = builder.build().map_err(|error| ClientError::unreachable(&address, &error))?;
        Ok(Self { http, address, token, user: None, seen, by_socket: true })
    }

    /// The same master with another token.
    #[must_use]
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, user: None, ..self.clone() }
    }

    /// The same, and the master is to refuse when the token is another account's ([`EXPECTED_USER`]).
    #[must_use]
    pub fn acting_as(&self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self.clone() }
    }

    /// Where the master is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The certificates that the master showed last, when the way to it is encrypted.
    #[must_use]
    pub fn shown(&self) -> Option<Shown> {
        self.seen.get()
    }

    /// The token that is sent.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// `GET path`, which begins with `/` and may hold a query.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.exchange(self.request(Method::GET, path).timeout(REQUEST)).await
    }

    /// `GET path`, with no limit to the time that the answer takes.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn get_slowly<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.exchange(self.request(Method::GET, path)).await
    }

    /// `GET path`, for an answer that is read as it comes.
    async fn open_stream(&self, path: &str) -> Result<Response> {
        self.respond(self.request(Method::GET, path)).await
    }

    /// `POST path` with `body` as JSON; `&()` sends no body.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.send_json(Method::POST, path, body).await
    }

    /// `PATCH path` with `body` as JSON.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn patch<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.send_json(Method::PATCH, path, body).await
    }

    /// `PUT path` with `body` as JSON.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn put<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.send_json(Method::PUT, path, body).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.exchange(self.request(Method::DELETE, path).timeout(REQUEST)).await
    }

    /// `POST path` with bytes that are JSON already, telling `sent` how many of them are on their way.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        json: Bytes,
        mut sent: impl FnMut(usize) + Send + 'static,
    ) -> Result<T> {
        let total = json.len();
        let pieces = (0..total).step_by(UPLOAD_PIECE).map(move |start| {
            let end = total.min(start + UPLOAD_PIECE);
            sent(end);
            Ok::<_, std::convert::Infallible>(json.slice(start..end))
        });
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, total)
            .body(Body::wrap_stream(futures_util::stream::iter(pieces)));
        self.exchange(request).await
    }

    async fn send_json<B, T>(&self, method: Method, path: &str, body: &B) -> Result<T>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let request = self.request(method, path).timeout(REQUEST);
        let json = serde_json::to_vec(body).map_err(|e| ClientError::unexpected(path, e))?;
        if json == b"null" {
            return self.exchange(request).await;
        }
        self.exchange(request.header(CONTENT_TYPE, "application/json").body(json)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = if self.by_socket { self.address.by_socket() } else { self.address.to_string() };
        let mut request = self.http.request(method, format!("{base}{path}"));
        if let Some(user) = &self.user {
            request = request.header(EXPECTED_USER, user);
        }
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn exchange<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.respond(request).await?;
        let path = response.url().path().to_owned();
        let body = response.bytes().await.map_err(|e| ClientError::unreachable(&self.address, &e))?;
        serde_json::from_slice(&body).map_err(|e| ClientError::unexpected(&path, e))
    }

    /// That there was no answer. A peer that wasn't believed is a thing of its own.
    fn failed(&self, error: &reqwest::Error) -> ClientError {
        match self.seen.get() {
            Some(shown) if shown.refused.is_some() => {
                ClientError::Untrusted { address: self.address.clone(), shown: Box::new(shown) }
            }
            _ => ClientError::unreachable(&self.address, error),
        }
    }

    /// Sends, and turns every status other than success into an error.
    async fn respond(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(ClientError::from_answer(status.as_u16(), status.canonical_reason(), &body))
    }
}

/// `text` as one segment of a path or one value of a query.
#[must_use]
pub fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `?a=b&c=d`, or nothing without parameters.
#[must_use]
pub fn query<K: AsRef<str>, V: AsRef<str>>(parameters: impl IntoIterator<Item = (K, V)>) -> String {
    let mut out = String::new();
    for (name, value) in parameters {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(&encoded(name.as_ref()));
        out.push('=');
        out.push_str(&encoded(value.as_ref()));
    }
    out
}

/// Whether `host`, as it stands in a URL, means this machine alone.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        assert_eq!(encoded("a$b c/ü"), "a%24b%20c%2F%C3%BC");
        assert_eq!(query([("users", "a&b"), ("active", "true")]), "?users=a%26b&active=true");
        assert_eq!(query::<&str, &str>([]), "");
    }

    #[test]
    fn a_client_shows_no_token() {
        let client = Client::new("localhost:1", Some("secret".to_owned())).expect("valid");
        assert!(!format!("{client:?}").contains("secret"));
    }
}
