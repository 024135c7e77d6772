//! The channel between an agent and its master: both prove the keys that they exchanged at enrolment, and everything
//! that they say is encrypted, bound to those keys, and in order (R28, R29, D9, A2). It is
//! `Noise_IK_25519_ChaChaPoly_BLAKE2s` by the crate `snow`, over any carrier of whole messages; ours is a WebSocket.
//!
//! ```text
//! agent                                     master
//! e, es, s, ss            (96 bytes)  ->            who I am, for the holder of that key alone
//!                                     <-  e, ee, se (48 bytes)    I hold it, and it is now
//! first frame                         ->            only from here on is anything acted on
//! ```
//!
//! The first message has nothing in it that could be acted on: somebody could send a recorded one again. Who does
//! that can't say the first frame.
//!
//! What is said inside is `api::agent`'s; who has which key is the master's and the agent's to know. There are no
//! files, sockets or timers of connecting here.

mod channel;
mod fused;
mod handshake;
mod invitation;
mod key;
mod splice;

pub use channel::{CARRIED, Frame, Kind, LONGEST, Receiver, Sender};
pub use handshake::{Channel, Wire, accept, initiate};
pub use invitation::{BadInvitation, Invitation};
pub use key::{BadKey, Public, Secret};
pub use splice::{Ends, KEEP_ALIVE, SILENCE, splice};

/// Why there is no channel any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The carrier failed.
    #[error("{0}")]
    Carrier(#[from] std::io::Error),
    /// The carrier ended.
    #[error("the connection was closed")]
    Closed,
    /// The other end doesn't hold the key that was asked for, or somebody changed what it said.
    #[error("the other end doesn't prove that it holds the key {0}")]
    Unproved(String),
    /// Something arrived that the other end didn't send so: changed, repeated, left out or out of order.
    #[error("what arrived was changed on its way")]
    Tampered,
    /// A frame is longer than what this end takes.
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
    /// What arrived is no frame of this version.
    #[error("the other end doesn't keep to the protocol")]
    Protocol,
}
