//! A task's output as it was stored: records, byte for byte.

use domain::log::{HEADER_BYTES, MAX_PAYLOAD, Record, Records};
use reqwest::{Method, Response};

use super::{Client, ClientError, Result, encoded, query};
use crate::log::CleanedUpLogs;

/// An answer of `GET tasks/{id}/output` that is being read.
#[derive(Debug)]
pub struct OutputStream {
    client: Client,
    response: Response,
    /// Bytes received; the first `given` of them were given out.
    buffer: Vec<u8>,
    given: usize,
    /// Where in the stored log the next record begins.
    offset: u64,
}

impl Client {
    /// Opens a task's output at byte `offset` of its stored log, which must be the beginning of a record. With
    /// `follow` it ends when the task is over and its log complete, without it at what there is.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn output_stream(&self, task: &str, offset: u64, follow: bool) -> Result<OutputStream> {
        let parameters = [("follow", follow.to_string()), ("offset", offset.to_string())];
        let path = format!("/api/v1/tasks/{}/output{}", encoded(task), query(parameters));
        let response = self.respond(self.request(Method::GET, &path)).await?;
        Ok(OutputStream { client: self.clone(), response, buffer: Vec::new(), given: 0, offset })
    }
}

impl Client {
    /// Removes logs and tasks that are older than the master's rules keep them, which takes as long as it takes.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn clean_up_logs(&self) -> Result<CleanedUpLogs> {
        self.exchange(self.request(Method::POST, "/api/v1/cleanup_logs")).await
    }
}

impl OutputStream {
    /// Where in the stored log to go on after the records given out so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next records, at least one, as they arrive; `None` at the end of the answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the answer broke off: [`Self::offset`] is where to go on.
    pub async fn next(&mut self) -> Result<Option<Records<'_>>> {
        self.buffer.drain(..self.given);
        self.given = 0;
        loop {
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|e| ClientError::unreachable(self.client.address(), &e))?;
            let Some(chunk) = chunk else {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let address = self.client.address().clone();
                let reason = "the answer ended inside a log record".to_owned();
                return Err(ClientError::Unreachable { address, reason });
            };
            self.buffer.extend_from_slice(&chunk);
            let whole = self.whole_records()?;
            if whole > 0 {
                self.given = whole;
                self.offset += whole as u64;
                return Ok(Some(Records::new(self.buffer.get(..whole).unwrap_or_default())));
            }
        }
    }

    /// Length of the whole records at the beginning of the buffer.
    fn whole_records(&self) -> Result<usize> {
        let mut records = Records::new(&self.buffer);
        records.by_ref().for_each(drop);
        let whole = records.consumed();
        let rest = self.buffer.get(whole..).unwrap_or_default();
        if Record::decode(rest).is_err() || rest.len() >= HEADER_BYTES + MAX_PAYLOAD {
            let path = self.response.url().path();
            return Err(ClientError::unexpected(path, "it holds something else than log records"));
        }
        Ok(whole)
    }
}
