//! What the server listens on, and what happens to a fresh connection before HTTP is spoken.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::sealed::{Crowd, Sealed};
use super::stream::Io;
use super::unread::WRITTEN;
use crate::peer::Peer;

/// A silent peer is asked for a sign of life after this time: connections from dead machines end (A7).
const KEEPALIVE: Duration = Duration::from_secs(60);

/// One thing that the server listens on.
pub enum Door {
    /// A TCP port.
    Tcp {
        /// Where connections come from.
        listener: TcpListener,
        /// What is done first on each.
        acceptor: Arc<dyn Acceptor>,
    },
    /// A Unix socket.
    Unix(UnixListener),
}

impl Door {
    /// A TCP port on which HTTP is spoken in the clear.
    #[must_use]
    pub fn plain(listener: TcpListener) -> Self {
        Self::Tcp { listener, acceptor: Arc::new(Plain) }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp { .. } => "Tcp",
            Self::Unix(_) => "Unix",
        })
    }
}

/// A stream on which HTTP is spoken.
pub struct Accepted {
    /// The stream.
    pub io: Box<dyn Io>,
    /// What is said on it is encrypted.
    pub encrypted: bool,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("encrypted", &self.encrypted).finish_non_exhaustive()
    }
}

/// What an [`Acceptor`] comes to; `None` when it has answered the peer for itself and nothing is left to do.
pub type Accepting = Pin<Box<dyn Future<Output = io::Result<Option<Accepted>>> + Send>>;

/// What is done on a fresh TCP connection before HTTP is spoken: nothing, or a TLS handshake. The time-out for the
/// first request's head runs meanwhile.
pub trait Acceptor: Send + Sync {
    /// Makes the stream on which HTTP is spoken, and tells `sealed` of what can't be read yet.
    fn accept(&self, stream: TcpStream, sealed: Arc<Sealed>) -> Accepting;
}

/// HTTP in the clear.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Acceptor for Plain {
    fn accept(&self, stream: TcpStream, _: Arc<Sealed>) -> Accepting {
        Box::pin(async move { Ok(Some(Accepted { io: Box::new(stream), encrypted: false })) })
    }
}

/// A connection on which nothing has been done yet.
pub(super) struct Fresh {
    pub(super) peer: Peer,
    pub(super) sealed: Arc<Sealed>,
    pub(super) accepting: Accepting,
}

impl Door {
    /// The next connection, one more in the crowd.
    pub(super) async fn next(&self, crowd: &Arc<Crowd>) -> io::Result<Fresh> {
        match self {
            Self::Tcp { listener, acceptor } => {
                let (stream, address) = listener.accept().await?;
                let local = stream.local_addr()?;
                tune(&stream);
                let sealed = Arc::new(Sealed::among(crowd));
                let accepting = acceptor.accept(stream, Arc::clone(&sealed));
                Ok(Fresh { peer: tcp(address, local), sealed, accepting })
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                let peer = Peer::Unix { socket: fstat(&stream)?.st_ino, uid };
                let accepted = Accepted { io: Box::new(stream), encrypted: false };
                let accepting = Box::pin(async move { Ok(Some(accepted)) });
                Ok(Fresh { peer, sealed: Arc::new(Sealed::among(crowd)), accepting })
            }
        }
    }
}

fn tcp(address: SocketAddr, local: SocketAddr) -> Peer {
    Peer::Tcp { address, local, encrypted: false }
}

/// None of this is worth refusing a connection for.
fn tune(stream: &TcpStream) {
    // Small answers must not wait for a full packet.
    let _ = stream.set_nodelay(true);
    // The listener's own, but for who came before that was set.
    let _ = sockopt::set_socket_send_buffer_size(stream, WRITTEN);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE / 4);
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
}
