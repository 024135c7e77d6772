//! The handshake, and the carrier that it runs over. What is said afterwards is in `channel`.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use snow::{Builder, HandshakeState};

use crate::channel::OPENING;
use crate::fused::{In, Out};
use crate::{LinkError, Public, Receiver, Secret, Sender};

/// What both ends must agree on.
const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// Hashed into the handshake: a channel of another purpose or version can't be taken for this one.
const PROLOGUE: &[u8] = b"muster link 1";

/// Longer than either message of the handshake.
const LONGEST: usize = 256;

/// A carrier of whole messages of up to [`crate::CARRIED`] bytes. Nothing is trusted to it, and after its first failure nothing is
/// asked of it any more.
pub struct Wire {
    out: Out,
    incoming: In,
}

impl Wire {
    /// Both directions of a carrier.
    pub fn new(
        out: impl Sink<Bytes, Error = io::Error> + Send + 'static,
        incoming: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self { out: Out::new(out), incoming: In::new(incoming) }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// A channel to somebody who has proved a key.
#[derive(Debug)]
pub struct Channel {
    /// The other end's key. On the accepting side it is proved by the first frame that arrives, not before.
    pub peer: Public,
    /// To the other end.
    pub sender: Sender,
    /// From it.
    pub receiver: Receiver,
}

/// Opens a channel to the holder of `peer`. When this is done, the other end has proved that it is the one.
///
/// # Errors
/// [`LinkError::Unproved`] when it is somebody else. Waits without end for one who says nothing.
pub async fn initiate(mut wire: Wire, own: &Secret, peer: Public) -> Result<Channel, LinkError> {
    let builder = builder(own)?.remote_public_key(peer.as_bytes()).map_err(|_| LinkError::Protocol)?;
    let mut state = builder.build_initiator().map_err(|_| LinkError::Protocol)?;
    write(&mut state, &mut wire).await?;
    let answer = read(&mut wire).await?;
    let proved = state.read_message(&answer, &mut [0; LONGEST]);
    proved.map_err(|_| LinkError::Unproved(peer.to_string()))?;
    channel(state, wire, peer)
}

/// Answers one who opens a channel. Who it is, is proved by the first frame that arrives on it, which is a short one; who
/// is known may say more ([`Receiver::take_up_to`]).
///
/// # Errors
/// [`LinkError::Unproved`] when it asked for somebody else. Waits without end for one who says nothing.
pub async fn accept(mut wire: Wire, own: &Secret) -> Result<Channel, LinkError> {
    let mut state = builder(own)?.build_responder().map_err(|_| LinkError::Protocol)?;
    let asked = read(&mut wire).await?;
    if state.read_message(&asked, &mut [0; LONGEST]).is_err() {
        // An answer that proves nothing: whoever asked in earnest learns that it isn't me.
        let _ = wire.out.send(Bytes::new()).await;
        return Err(LinkError::Unproved(own.public().to_string()));
    }
    let peer = state.get_remote_static().ok_or(LinkError::Protocol)?;
    let peer = Public::from_bytes(peer).map_err(|_| LinkError::Protocol)?;
    write(&mut state, &mut wire).await?;
    let mut channel = channel(state, wire, peer)?;
    channel.receiver.take_up_to(OPENING);
    Ok(channel)
}

fn builder(own: &Secret) -> Result<Builder<'_>, LinkError> {
    let params = PATTERN.parse().map_err(|_| LinkError::Protocol)?;
    let builder = Builder::new(params).local_private_key(own.private()).map_err(|_| LinkError::Protocol)?;
    builder.prologue(PROLOGUE).map_err(|_| LinkError::Protocol)
}

async fn write(state: &mut HandshakeState, wire: &mut Wire) -> Result<(), LinkError> {
    let mut message = [0; LONGEST];
    let length = state.write_message(&[], &mut message).map_err(|_| LinkError::Protocol)?;
    Ok(wire.out.send(Bytes::copy_from_slice(&message[..length])).await?)
}

async fn read(wire: &mut Wire) -> Result<Bytes, LinkError> {
    let message = wire.incoming.next().await.ok_or(LinkError::Closed)??;
    // Longer ones are no handshake's; nothing of that size is decrypted for strangers.
    if message.len() > LONGEST { Err(LinkError::Protocol) } else { Ok(message) }
}

fn channel(state: HandshakeState, wire: Wire, peer: Public) -> Result<Channel, LinkError> {
    let cipher = Arc::new(state.into_stateless_transport_mode().map_err(|_| LinkError::Protocol)?);
    let sender = Sender::new(wire.out, Arc::clone(&cipher));
    let receiver = Receiver::new(wire.incoming, cipher);
    Ok(Channel { peer, sender, receiver })
}
