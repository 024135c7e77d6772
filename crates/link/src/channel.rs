//! Frames on a channel. A frame may be longer than a message of the carrier: it goes in pieces, each with a
//! byte before it that says what the frame is and whether it goes on.
//!
//! Both ends count messages, and the count is part of what is encrypted: one that was changed, repeated, left out or
//! moved can't be decrypted, and the channel is over.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use snow::StatelessTransportState as Cipher;

use crate::LinkError;
use crate::fused::{In, Out};

/// What Noise adds to each message.
const TAG: usize = 16;

/// Longest message of the carrier, in bytes. Anybody may begin one, and it is kept until it is whole: so it is shorter than
/// Noise allows (A6).
pub const CARRIED: usize = 16 << 10;

/// Most bytes of a frame in one message.
pub(crate) const PIECE: usize = CARRIED - TAG - 1;

/// In a piece's first byte: there is more of this frame.
const MORE: u8 = 0x80;

/// Longest frame of whoever is known, when nothing else is said, in bytes.
pub const LONGEST: usize = 2 << 20;

/// Longest frame that is taken of anybody, in bytes: the first one says what a channel is for.
pub(crate) const OPENING: usize = 4 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message of the protocol, JSON.
    Message = 1,
    /// Bytes: a piece of a log, or of a stream.
    Data = 2,
    /// A stream ends in this direction.
    End = 3,
    /// A sign of life.
    Alive = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Message, Self::Data, Self::End, Self::Alive].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What was said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it holds.
    pub body: Bytes,
}

/// The way out.
pub struct Sender {
    out: Out,
    cipher: Arc<Cipher>,
    count: u64,
    /// One piece, with its first byte.
    plain: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(out: Out, cipher: Arc<Cipher>) -> Self {
        Self { out, cipher, count: 0, plain: Vec::new() }
    }

    /// Says something. When this is dropped half done, the channel is of no more use: the other end misses a message.
    ///
    /// # Errors
    /// When the carrier fails.
    pub async fn send(&mut self, kind: Kind, body: &[u8]) -> Result<(), LinkError> {
        let mut rest = body;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PIECE));
            let more = if after.is_empty() { 0 } else { MORE };
            self.plain.clear();
            self.plain.push(kind as u8 | more);
            self.plain.extend_from_slice(piece);
            let message = self.encrypted()?;
            self.out.feed(message).await?;
            if after.is_empty() {
                return Ok(self.out.flush().await?);
            }
            rest = after;
        }
    }

    fn encrypted(&mut self) -> Result<Bytes, LinkError> {
        let mut message = vec![0; self.plain.len() + TAG];
        let written = self.cipher.write_message(self.count, &self.plain, &mut message);
        let written = written.map_err(|_| LinkError::Protocol)?;
        self.count += 1;
        message.truncate(written);
        Ok(message.into())
    }

    /// A sign of life.
    ///
    /// # Errors
    /// When the carrier fails.
    pub async fn alive(&mut self) -> Result<(), LinkError> {
        self.send(Kind::Alive, &[]).await
    }

    /// Closes the carrier.
    ///
    /// # Errors
    /// When it fails.
    pub async fn close(&mut self) -> Result<(), LinkError> {
        Ok(self.out.close().await?)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The way in.
pub struct Receiver {
    incoming: In,
    cipher: Arc<Cipher>,
    count: u64,
    longest: usize,
    /// The frame that goes on, and what it is.
    begun: Option<(Kind, Vec<u8>)>,
}

impl Receiver {
    pub(crate) fn new(incoming: In, cipher: Arc<Cipher>) -> Self {
        Self { incoming, cipher, count: 0, longest: LONGEST, begun: None }
    }

    /// Takes frames of up to that many bytes from now on.
    pub fn take_up_to(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// The next frame; `None` when the carrier has ended. Can be dropped at any time without loss.
    ///
    /// # Errors
    /// When the carrier fails, or what arrives isn't what was sent: the channel is over.
    pub async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            let Some(message) = self.incoming.next().await.transpose()? else {
                // Half a frame is nobody's word.
                return if self.begun.is_some() { Err(LinkError::Closed) } else { Ok(None) };
            };
            if let Some(frame) = self.take(&message)? {
                return Ok(Some(frame));
            }
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<Option<Frame>, LinkError> {
        let plain = self.decrypted(message)?;
        let (first, piece) = plain.split_first().ok_or(LinkError::Protocol)?;
        let kind = Kind::of(first & !MORE).ok_or(LinkError::Protocol)?;
        let more = first & MORE != 0;
        let begun = self.begun.as_ref().map_or(0, |(_, bytes)| bytes.len());
        if begun + piece.len() > self.longest {
            return Err(LinkError::TooLong(self.longest));
        }
        match self.begun.take() {
            None if !more => {
                let body = Bytes::from(plain).slice(1..);
                return Ok(Some(Frame { kind, body }));
            }
            None => self.begun = Some((kind, piece.to_vec())),
            Some((known, _)) if known != kind => return Err(LinkError::Protocol),
            Some((_, mut bytes)) => {
                bytes.extend_from_slice(piece);
                if !more {
                    return Ok(Some(Frame { kind, body: bytes.into() }));
                }
                self.begun = Some((kind, bytes));
            }
        }
        Ok(None)
    }

    fn decrypted(&mut self, message: &[u8]) -> Result<Vec<u8>, LinkError> {
        let length = message.len().checked_sub(TAG).ok_or(LinkError::Tampered)?;
        let mut plain = vec![0; length];
        let read = self.cipher.read_message(self.count, message, &mut plain);
        let read = read.map_err(|_| LinkError::Tampered)?;
        self.count += 1;
        plain.truncate(read);
        Ok(plain)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("count", &self.count).finish_non_exhaustive()
    }
}
