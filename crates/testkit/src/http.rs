//! Requests as a test writes them: `alice.post("/api/v1/users").json(body).await.ok()`.
//!
//! Who sends them is `role`'s business. No header is set that the test or the role didn't ask for: a JSON body goes
//! without a content type, as Determined's clients send it.

use std::pin::Pin;
use std::time::Duration;

pub use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::log::Stream;
use crate::soon;

/// What every role can do.
pub trait Requests {
    /// Where requests go, and with which credentials.
    fn http(&self) -> &Http;

    /// Any request.
    fn request(&self, method: Method, path: &str) -> Request {
        let http = self.http();
        Request {
            client: http.client.clone(),
            method,
            url: format!("{}{path}", http.base),
            headers: http.headers.clone(),
            body: Vec::new(),
        }
    }

    /// A GET request.
    fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// A POST request, without a body yet.
    fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    /// A DELETE request, without a body yet.
    fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// A PUT request, without a body yet.
    fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    /// A PATCH request, without a body yet.
    fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }
}

/// Where requests go, and with which headers.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    base: String,
    headers: HeaderMap,
}

impl Http {
    /// Requests to `base`, without credentials.
    #[must_use]
    pub fn new(base: &str) -> Self {
        // The binary's client brings TLS in, and that wants to know by whose cryptography.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Tests speak plain HTTP with it, and there are thousands: none reads the system's certificates.
        let client =
            Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().tls_certs_only([]);
        Self { client: client.build().expect("a client"), base: base.to_owned(), headers: HeaderMap::new() }
    }

    /// The same with one more header in every request.
    #[must_use]
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut http = self.clone();
        http.headers.insert(HeaderName::from_static(name), header(value));
        http
    }

    /// `http://host:port`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl Requests for Http {
    fn http(&self) -> &Http {
        self
    }
}

fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("a header's value")
}

/// A request that is sent when it is awaited.
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    client: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    /// Sets a header, in place of what the role sends under that name.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), header(value));
        self
    }

    /// Leaves out a header of the role's.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// A JSON body.
    pub fn json(self, body: impl Into<Value>) -> Self {
        self.body(body.into().to_string())
    }

    /// Any body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request to another address.
    pub fn to(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// Sends it, and closes the connection so long afterwards, whether or not there is an answer.
    pub async fn cut_after(self, patience: Duration) {
        let url = reqwest::Url::parse(&self.url).expect("a URL");
        let address = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", url.path());
        let mut head = format!("{} {target} HTTP/1.1\r\nhost: {address}\r\n", self.method);
        for (name, value) in &self.headers {
            let value = value.to_str().expect("text");
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.headers.contains_key("content-length") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body);
        let connected = soon("a connection", tokio::net::TcpStream::connect(address)).await;
        let mut stream = connected.expect("connected");
        stream.write_all(&bytes).await.expect("sent");
        tokio::time::sleep(patience).await;
    }

    async fn send(self) -> reqwest::Response {
        let mut request = self.client.request(self.method, &self.url).headers(self.headers);
        if !self.body.is_empty() {
            request = request.body(self.body);
        }
        let answered = soon(&self.url, request.send()).await;
        answered.unwrap_or_else(|error| panic!("{}: {error:?}", self.url))
    }

    /// Sends it and reads the answer as it comes.
    pub async fn stream(self) -> Stream {
        let url = self.url.clone();
        let response = self.send().await;
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        Stream::new(response)
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let what = format!("{} {}", self.method, self.url);
            let response = self.send().await;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            // The body of an answered upgrade never ends, nor does a stream of events.
            let endless = status == 101
                || headers
                    .get("content-type")
                    .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            let body = if endless {
                Vec::new()
            } else {
                let read = soon(&what, response.bytes()).await;
                read.unwrap_or_else(|error| panic!("{what}: {error:?}")).to_vec()
            };
            Response { what, status, headers, body }
        })
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    what: String,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error} in {text:?}", self.what))
    }

    /// Insists on a status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, String::from_utf8_lossy(&self.body));
        self
    }

    /// Insists on 200 and gives the JSON.
    #[track_caller]
    pub fn ok(self) -> Value {
        self.expect(200).json()
    }

    /// Insists on a refusal in the API's own form, and gives its text.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        let body = self.expect(status).json();
        let text = body["error"]["error"].as_str();
        text.unwrap_or_else(|| panic!("not an error of the API: {body}")).to_owned()
    }

    /// A header's value, empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}
