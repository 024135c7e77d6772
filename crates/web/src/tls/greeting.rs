//! What a connection to an encrypted listener begins with: a handshake, or plain HTTP, which is told where to go.

use std::io;
use std::time::Duration;

use ::api::error::{Code, ErrorBody};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HOST, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use super::bounded::Bounded;
use crate::origin::Hosts;

/// How long a handshake may take, and a plain request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of every TLS handshake; no method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;
/// Most of a plain request that is looked at, in bytes.
const HEAD: usize = 8 << 10;
/// How long a peer may take to read the answer to a plain request, and go.
const LINGER: Duration = Duration::from_secs(1);

/// A connection that is encrypted.
pub(crate) type Encrypted = TlsStream<Bounded<TcpStream>>;

impl Tls {
    /// Makes the connection an encrypted one. Plain HTTP is answered here and never gets further: `None`.
    ///
    /// # Errors
    /// When the peer doesn't keep to the protocol, takes too long, or goes away.
    pub(crate) async fn accept(
        &self,
        mut stream: Bounded<TcpStream>,
        hosts: &Hosts,
    ) -> io::Result<Option<Encrypted>> {
        let greeted = timeout(PATIENCE, async {
            let mut first = [0];
            if stream.get_ref().peek(&mut first).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if first == [HANDSHAKE] {
                let acceptor = TlsAcceptor::from(std::sync::Arc::clone(&self.config));
                let mut encrypted = acceptor.accept(stream).await?;
                encrypted.get_mut().0.take_all();
                return Ok(Some(encrypted));
            }
            stream.take_all();
            Plain::read(stream).await?.refuse(hosts).await.map(|()| None)
        });
        greeted.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// A request in the clear, as far as it has to be read to say where to go.
pub(crate) struct Plain<S> {
    stream: S,
    method: String,
    target: String,
    headers: HeaderMap,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Plain<S> {
    async fn read(mut stream: S) -> io::Result<Self> {
        let mut head = Vec::with_capacity(1024);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
            if (&mut stream).take((HEAD - head.len()) as u64).read_buf(&mut head).await? == 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.lines();
        let mut start = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
        let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let headers = headers.filter(|(name, _)| *name == HOST || *name == ACCEPT).collect();
        Ok(Self { stream, method, target, headers })
    }

    /// Answers, and waits a moment until the peer has it.
    async fn refuse(mut self, hosts: &Hosts) -> io::Result<()> {
        let answer = self.answer(hosts);
        self.stream.write_all(answer.as_bytes()).await?;
        self.stream.shutdown().await?;
        // Closing on unread bytes would take the answer away from the peer.
        let mut rest = self.stream.take(1 << 20);
        let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        Ok(())
    }

    /// A browser that asks for a page is sent on; everybody else is told in words. Nothing of the request is acted on,
    /// and its credentials go nowhere.
    fn answer(&self, hosts: &Hosts) -> String {
        let text = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        // A name that isn't ours would make this a way to send people anywhere.
        let host = text(HOST).filter(|host| hosts.accepts(&self.headers) && is_plain(host));
        let path = Some(self.target.as_str())
            .filter(|path| is_plain(path) && path.starts_with('/') && !path.starts_with("//"));
        let there = host.map(|host| format!("https://{host}{}", path.unwrap_or("/")));
        let browses = self.method == "GET" && text(ACCEPT).is_some_and(|accept| accept.contains("text/html"));
        let (status, location) = match &there {
            Some(there) if browses => ("307 Temporary Redirect", format!("Location: {there}\r\n")),
            _ => ("400 Bad Request", String::new()),
        };
        let named = there.map(|there| format!(": {there}")).unwrap_or_default();
        let body = ErrorBody::new(Code::InvalidArgument, format!("this port speaks https{named}"));
        let body = serde_json::to_string(&body).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\n{location}Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
             Cache-Control: no-store\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Can stand in a header without meaning more than it says.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::bounded::HANDSHAKE;
    use super::*;

    /// U5: a handshake's message may be 64 KiB long, and is kept until it is whole.
    #[tokio::test]
    async fn a06_a_handshake_is_read_so_far_and_no_further() {
        let (mut ours, theirs) = tokio::io::duplex(1 << 17);
        ours.write_all(&[0x16; 1 << 16]).await.unwrap();
        let mut bounded = Bounded::new(theirs, Default::default());
        let mut read = 0;
        let refused = loop {
            match bounded.read(&mut [0; 4096]).await {
                Ok(length) => read += length,
                Err(error) => break error,
            }
        };
        assert_eq!((read, refused.kind()), (HANDSHAKE, io::ErrorKind::InvalidData));
        bounded.take_all();
        assert_eq!(bounded.read(&mut [0; 4096]).await.unwrap(), 4096, "and then all that comes");
    }

    async fn answer(request: &str) -> String {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        ours.write_all(request.as_bytes()).await.unwrap();
        ours.shutdown().await.unwrap();
        let hosts = Hosts::new(&["lab.example".to_owned()], SocketAddr::from(([127, 0, 0, 1], 1)));
        Plain::read(theirs).await.unwrap().refuse(&hosts).await.unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn d09_plain_http_is_told_where_to_go() {
        let told = answer(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: lab.example:8080\r\nCookie: auth=mst_x\r\n\r\n{}",
        )
        .await;
        assert!(told.starts_with("HTTP/1.1 400 ") && !told.contains("Location"), "{told}");
        assert!(
            told.contains("this port speaks https: https://lab.example:8080/api/v1/auth/login"),
            "{told}"
        );
        assert!(!told.contains("mst_x"));
        let browser =
            answer("GET /commands?mine=0 HTTP/1.1\r\nhost: 127.0.0.1:1\r\naccept: text/html,*/*\r\n\r\n")
                .await;
        assert!(browser.starts_with("HTTP/1.1 307 "), "{browser}");
        assert!(browser.contains("\r\nLocation: https://127.0.0.1:1/commands?mine=0\r\n"), "{browser}");
        assert!(!browser.to_ascii_lowercase().contains("set-cookie"));
    }

    #[tokio::test]
    async fn d09_it_sends_nobody_elsewhere() {
        for (target, host) in [
            ("/", "evil.example"),
            ("//evil.example", "lab.example"),
            ("/", "lab.example@evil.example"),
            ("http://evil.example/", "lab.example"),
        ] {
            let told =
                answer(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n")).await;
            assert!(
                !told.contains("https://evil") && !told.contains("//evil") && !told.contains('@'),
                "{told}"
            );
        }
        let garbage = answer("\u{1}\u{2}nonsense").await;
        assert!(
            garbage.starts_with("HTTP/1.1 400 ") && garbage.contains("this port speaks https"),
            "{garbage}"
        );
    }
}
