//! A byte stream over a channel: what HTTP over the link runs on, at both ends.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout};

use crate::{Frame, Kind, LinkError, Receiver, Sender};

/// Between signs of life.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Without a sign of life a channel is dead.
pub const SILENCE: Duration = Duration::from_secs(40);

/// Most bytes that are read from a stream at once.
const AT_ONCE: usize = 16 << 10;

/// Which end of the stream is the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It is over when the local stream has ended: this side answers.
    Here,
    /// It is over when the other side's has ended: this side asks.
    There,
}

/// Carries bytes between a stream and a channel until that is over. The channel is as slow as the slower of both:
/// nothing is kept beyond one piece in each direction.
///
/// # Errors
/// When the channel or the stream breaks off.
pub async fn splice(
    stream: impl AsyncRead + AsyncWrite,
    mut sender: Sender,
    mut receiver: Receiver,
    ends: Ends,
) -> Result<(), LinkError> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let done = {
        let up = async {
            carry_out(&mut reader, &mut sender).await?;
            match ends {
                Ends::Here => Ok(()),
                // The answer may take its time.
                Ends::There => keep_alive(&mut sender).await,
            }
        };
        let down = async {
            carry_in(&mut receiver, &mut writer).await?;
            match ends {
                Ends::There => Ok(()),
                // Nothing more may come; who watches for it also sees the other side vanish.
                Ends::Here => watch(&mut receiver).await,
            }
        };
        tokio::select! {
            done = up => done,
            done = down => done,
        }
    };
    let _ = writer.shutdown().await;
    let _ = timeout(Duration::from_secs(1), sender.close()).await;
    done
}

async fn carry_out(reader: &mut ReadHalf<impl AsyncRead>, sender: &mut Sender) -> Result<(), LinkError> {
    let mut bytes = vec![0; AT_ONCE];
    let mut next_sign = Instant::now() + KEEP_ALIVE;
    loop {
        let read = tokio::select! {
            read = reader.read(&mut bytes) => read?,
            () = tokio::time::sleep_until(next_sign) => {
                next_sign = Instant::now() + KEEP_ALIVE;
                sender.alive().await?;
                continue;
            }
        };
        if read == 0 {
            return sender.send(Kind::End, &[]).await;
        }
        sender.send(Kind::Data, &bytes[..read]).await?;
    }
}

async fn keep_alive(sender: &mut Sender) -> Result<(), LinkError> {
    loop {
        tokio::time::sleep(KEEP_ALIVE).await;
        sender.alive().await?;
    }
}

async fn next(receiver: &mut Receiver) -> Result<Frame, LinkError> {
    let frame = timeout(SILENCE, receiver.next()).await.map_err(|_| LinkError::Closed)?;
    frame?.ok_or(LinkError::Closed)
}

async fn carry_in(receiver: &mut Receiver, writer: &mut WriteHalf<impl AsyncWrite>) -> Result<(), LinkError> {
    loop {
        let frame = next(receiver).await?;
        match frame.kind {
            Kind::Data => {
                writer.write_all(&frame.body).await?;
                writer.flush().await?;
            }
            Kind::End => {
                writer.shutdown().await?;
                return Ok(());
            }
            Kind::Alive => {}
            Kind::Message => return Err(LinkError::Protocol),
        }
    }
}

async fn watch(receiver: &mut Receiver) -> Result<(), LinkError> {
    loop {
        if next(receiver).await?.kind != Kind::Alive {
            return Err(LinkError::Protocol);
        }
    }
}
