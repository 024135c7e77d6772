//! A small HTTP client that costs next to nothing, so that what is measured is the server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// Longest silence of a server.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection that is kept for all requests.
pub(crate) struct Http {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    token: Option<String>,
}

/// What is left of an answer's body.
enum Rest {
    Bytes(u64),
    /// Bytes of this chunk; `None` after the last one.
    Chunked(Option<u64>),
}

/// An answer's body. It has to be read to its end before the next request.
pub(crate) struct Body<'a> {
    stream: &'a mut BufReader<TcpStream>,
    rest: Rest,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("no connection to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address, stream: BufReader::with_capacity(64 << 10, stream), token: None })
    }

    /// A connection with a session of an account whose password is blank.
    pub(crate) fn log_in(address: SocketAddr, username: &str) -> Result<Self> {
        let mut http = Self::connect(address)?;
        let answer = http.post("/api/v1/auth/login", &json!({"username": username, "password": ""}))?;
        http.token = Some(answer["token"].as_str().context("no token in the answer")?.to_owned());
        Ok(http)
    }

    /// A connection with a session that is there already.
    pub(crate) fn with_token(address: SocketAddr, token: &str) -> Result<Self> {
        Ok(Self { token: Some(token.to_owned()), ..Self::connect(address)? })
    }

    /// Another connection with the same session.
    pub(crate) fn again(&self) -> Result<Self> {
        Self::with_token(self.address, self.token())
    }

    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Value> {
        json_of(self.stream(path)?)
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        json_of(self.send("POST", path, body.to_string().as_bytes())?)
    }

    /// A body as it comes.
    pub(crate) fn stream(&mut self, path: &str) -> Result<Body<'_>> {
        self.send("GET", path, b"")
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Body<'_>> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if method == "POST" {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (status, rest) = self.head().with_context(|| format!("{method} {path}"))?;
        let body = Body { stream: &mut self.stream, rest };
        if status != 200 {
            bail!("{method} {path} answered {status}: {}", io::read_to_string(body)?);
        }
        Ok(body)
    }

    /// Status and kind of body.
    fn head(&mut self) -> Result<(u16, Rest)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no HTTP: '{}'", line.trim_end()))?;
        let mut rest = Rest::Bytes(0);
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                return Ok((status, rest));
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => rest = Rest::Bytes(value.parse()?),
                "transfer-encoding" => rest = Rest::Chunked(Some(0)),
                _ => {}
            }
        }
    }
}

fn json_of(body: Body<'_>) -> Result<Value> {
    let text = io::read_to_string(body)?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: '{text}'"))
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Rest::Chunked(Some(rest @ 0)) = &mut self.rest {
            *rest = next_chunk(self.stream)?;
            if *rest == 0 {
                self.rest = Rest::Chunked(None);
            }
        }
        let rest = match &mut self.rest {
            Rest::Bytes(rest) | Rest::Chunked(Some(rest)) => rest,
            Rest::Chunked(None) => return Ok(0),
        };
        let read = self.stream.by_ref().take(*rest).read(buffer)?;
        if read == 0 && *rest > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *rest -= read as u64;
        if *rest == 0 && matches!(self.rest, Rest::Chunked(_)) {
            self.stream.skip_until(b'\n')?;
        }
        Ok(read)
    }
}

/// The next chunk's length; the last one's is 0, with the empty line behind it read as well.
fn next_chunk(stream: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let length = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
    if length == 0 {
        stream.skip_until(b'\n')?;
    }
    Ok(length)
}
