//! The way out of one connection: short messages first, pieces of logs in turns. Writing them to the channel is
//! `connection`'s.

use api::agent::{LogChunk, ToMaster};
use link::Kind;
use tokio::sync::mpsc;

/// Pieces of logs that wait for the channel, of all runs together. Waiting senders are served in order, so a run that
/// prints without end gets one piece in each round, and short messages pass all of them.
const QUEUED_PIECES: usize = 2;

/// One frame to be sent.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

/// Makes both ends.
pub(crate) fn outbox() -> (Outbox, Outgoing) {
    let (short, short_out) = mpsc::unbounded_channel();
    let (long, long_out) = mpsc::channel(QUEUED_PIECES);
    let outgoing = Outgoing { short: short_out, long: long_out };
    (Outbox { short, long }, outgoing)
}

/// Where to put messages. When the connection is gone they are dropped: everything is repeated on the next one.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    short: mpsc::UnboundedSender<Letter>,
    long: mpsc::Sender<Letter>,
}

impl Outbox {
    /// Sends a short message ahead of everything that waits.
    pub(crate) fn send(&self, message: &ToMaster) {
        // No receiver: the connection is gone.
        let _ = self.short.send(text(message));
    }

    /// Waits for this run's turn; `None` when the connection is gone.
    pub(crate) async fn turn(self) -> Option<Turn> {
        self.long.reserve_owned().await.ok().map(Turn)
    }
}

/// A run's turn to send one long message.
#[derive(Debug)]
pub(crate) struct Turn(mpsc::OwnedPermit<Letter>);

impl Turn {
    pub(crate) fn send_chunk(self, chunk: &LogChunk) {
        self.0.send(Letter { kind: Kind::Data, body: chunk.encode() });
    }

    /// In order with the pieces of the log.
    pub(crate) fn send(self, message: &ToMaster) {
        self.0.send(text(message));
    }
}

fn text(message: &ToMaster) -> Letter {
    // These types always have a JSON form.
    Letter { kind: Kind::Message, body: serde_json::to_vec(message).unwrap_or_default() }
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    short: mpsc::UnboundedReceiver<Letter>,
    long: mpsc::Receiver<Letter>,
}

impl Outgoing {
    /// The next message; `None` when nobody can send any more.
    pub(crate) async fn next(&mut self) -> Option<Letter> {
        tokio::select! {
            biased;
            Some(message) = self.short.recv() => Some(message),
            Some(message) = self.long.recv() => Some(message),
            else => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn short_messages_pass_long_ones_and_runs_take_turns() {
        let (outbox, mut outgoing) = outbox();
        let allocation = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("valid");
        let piece = |offset| LogChunk { allocation, offset, records: vec![0; 8] };
        for offset in 0..2 {
            outbox.clone().turn().await.expect("open").send_chunk(&piece(offset));
        }
        outbox.send(&ToMaster::Started { allocation });
        assert!(outgoing.next().await.is_some_and(|letter| letter.kind == Kind::Message));
        assert!(outgoing.next().await.is_some_and(|letter| letter.kind == Kind::Data));
        drop(outgoing);
        assert!(outbox.turn().await.is_none());
    }
}
