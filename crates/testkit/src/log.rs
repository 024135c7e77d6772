//! Answers that come piece by piece: followed logs and output.

use std::time::Duration;

use serde_json::Value;

use crate::soon;

/// An open answer.
#[derive(Debug)]
pub struct Stream {
    response: reqwest::Response,
    unread: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self { response, unread: Vec::new(), ended: false }
    }

    /// Reads on; `false` at the end. A connection that breaks off is an end too.
    async fn more(&mut self) -> bool {
        match self.response.chunk().await {
            Ok(Some(bytes)) => self.unread.extend_from_slice(&bytes),
            Ok(None) | Err(_) => self.ended = true,
        }
        !self.ended
    }

    /// The next line of newline-delimited JSON, `result` unwrapped; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let mut line: Value = serde_json::from_slice(&line).expect("a line of JSON");
                return Some(line["result"].take());
            }
            if self.ended || !soon("more of a stream", self.more()).await {
                return None;
            }
        }
    }

    /// Reads lines until one contains `text`, and gives that one.
    pub async fn until(&mut self, text: &str) -> Value {
        while let Some(line) = self.next().await {
            if line["log"].as_str().is_some_and(|log| log.contains(text)) {
                return line;
            }
        }
        panic!("the log ended without {text:?}");
    }

    /// What is left, to the end, as the lines' texts.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await {
            lines.push(line["log"].as_str().expect("a text").to_owned());
        }
        lines
    }

    /// Reads on until `text` was there, and gives what was read, whatever it is.
    pub async fn read_until(&mut self, text: &str) -> String {
        loop {
            let read = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some(at) = read.find(text) {
                let end = read.get(at..).and_then(|rest| rest.find("\n\n")).map_or(read.len(), |e| at + e);
                self.unread.drain(..end.min(self.unread.len()));
                return read.get(..end).unwrap_or_default().to_owned();
            }
            assert!(!self.ended, "the answer ended without {text:?}: {read}");
            soon(text, self.more()).await;
        }
    }

    /// What is left, to the end, as it is.
    pub async fn bytes(mut self) -> Vec<u8> {
        while !self.ended {
            soon("the end of a stream", self.more()).await;
        }
        self.unread
    }

    /// Whether the other side ends the answer within `patience`.
    pub async fn closes_within(mut self, patience: Duration) -> bool {
        let end = async { while self.more().await {} };
        tokio::time::timeout(patience, end).await.is_ok()
    }
}
