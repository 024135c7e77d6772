//! Reaching the master: a WebSocket to its address, and on it a channel to the holder of its key (A2). What is said
//! there is `connection`'s, `enrolment`'s and `context`'s.

use std::io;
use std::time::Duration;

use api::agent::{CONNECT_PATH, Opening, Remedy, ToAgent};
use api::error::ErrorBody;
use domain::id::AllocationId;
use domain::text;
use futures_util::{SinkExt, StreamExt, future};
use link::{CARRIED, Channel, Kind, LinkError, Public, Receiver, Secret, Sender, Wire};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::AgentError;
use crate::encrypted;
use crate::machine::Machine;

/// Longest wait for each step until the master has answered.
const STEP: Duration = Duration::from_secs(10);

/// What a carrier keeps in each direction, in bytes: a task has many of them, and they are mostly idle.
const BUFFER: usize = 8 << 10;

/// Most of what is repeated of an answer or an error, in characters.
const WORDS: usize = 500;

/// What a WebSocket runs on.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Lost {
    /// There won't be one next time either.
    Fatal(AgentError),
    /// The master doesn't know this key, or doesn't want it any more.
    Stranger(String),
    /// Another process is this agent (B5).
    Taken(String),
    /// Who answers at the address doesn't hold the master's key (A2).
    Unproved(String),
    /// Worth another try.
    Passing(String),
}

impl Lost {
    /// In words, for a run that it is told to.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Fatal(error) => error.to_string(),
            Self::Stranger(why) | Self::Taken(why) | Self::Unproved(why) | Self::Passing(why) => why,
        }
    }

    pub(crate) fn because(error: &(impl std::error::Error + 'static)) -> Self {
        if broke_off(error) { closed() } else { Self::Passing(plain(error)) }
    }
}

/// Opens a channel to the holder of `master` and says what it is for.
pub(crate) async fn open(
    machine: &Machine,
    key: &Secret,
    master: Public,
    opening: &Opening,
) -> Result<Channel, Lost> {
    let wire = carrier(machine).await?;
    let mut channel = step(link::initiate(wire, key, master)).await?.map_err(|e| match e {
        LinkError::Carrier(e) if e.kind() != io::ErrorKind::InvalidData => Lost::because(&e),
        // A stranger can do it too, so it says nothing; a master that stops does it as well.
        LinkError::Closed => Lost::Passing(format!(
            "what answers there closed the connection before it proved that it is the master with the key {}",
            master.fingerprint()
        )),
        _ => Lost::Unproved(format!(
            "what answers there isn't the master that this agent belongs to: it doesn't prove the key {}",
            master.fingerprint()
        )),
    })?;
    channel.receiver.take_up_to(api::agent::MAX_ORDER);
    say(&mut channel.sender, opening).await?;
    Ok(channel)
}

/// Opens a byte stream on which the master serves HTTP for a run that this agent holds.
pub(crate) async fn http(machine: &Machine, allocation: AllocationId) -> Result<Channel, Lost> {
    let enrolment =
        machine.enrolment().ok_or_else(|| Lost::Passing("the agent isn't enrolled yet".to_owned()))?;
    let opening = Opening::Http { agent: machine.name.clone(), allocation };
    let mut channel = open(machine, &enrolment.key, enrolment.master, &opening).await?;
    match answer(&mut channel.receiver).await? {
        ToAgent::Welcome(_) => Ok(channel),
        _ => Err(unexpected()),
    }
}

/// Says a message, within [`STEP`].
pub(crate) async fn say(sender: &mut Sender, message: &impl Serialize) -> Result<(), Lost> {
    let text = serde_json::to_vec(message).map_err(|e| Lost::because(&e))?;
    step(sender.send(Kind::Message, &text)).await?.map_err(|e| Lost::because(&e))
}

/// The master's answer to what was said first. A refusal is an error.
pub(crate) async fn answer(receiver: &mut Receiver) -> Result<ToAgent, Lost> {
    loop {
        let frame = step(receiver.next()).await?.map_err(|e| Lost::because(&e))?.ok_or_else(closed)?;
        match frame.kind {
            Kind::Message => {
                let message = serde_json::from_slice(&frame.body).map_err(|e| Lost::because(&e))?;
                return match message {
                    ToAgent::Refused { reason, remedy } => Err(refused(reason, remedy)),
                    ToAgent::Unknown => continue,
                    message => Ok(message),
                };
            }
            Kind::Alive => {}
            Kind::Data | Kind::End => return Err(unexpected()),
        }
    }
}

pub(crate) fn refused(reason: String, remedy: Remedy) -> Lost {
    match remedy {
        Remedy::Read => Lost::Fatal(AgentError::Refused(reason)),
        Remedy::Wait => Lost::Passing(reason),
        Remedy::Enrol => Lost::Stranger(reason),
        Remedy::Leave => Lost::Taken(reason),
    }
}

pub(crate) fn closed() -> Lost {
    Lost::Passing("the master closed the connection".to_owned())
}

pub(crate) fn unexpected() -> Lost {
    Lost::Passing("the master doesn't keep to the protocol".to_owned())
}

async fn step<T>(work: impl Future<Output = T>) -> Result<T, Lost> {
    let silent = |_| Lost::Passing("the master doesn't answer".to_owned());
    timeout(STEP, work).await.map_err(silent)
}

/// A WebSocket to the master, over https if its address says so and else without, and where that fails the other one: what
/// goes over it is encrypted and proved by itself, so a master that has got a certificate, or has none any more, keeps its
/// agents.
async fn carrier(machine: &Machine) -> Result<Wire, Lost> {
    let url = url::Url::parse(&machine.master).map_err(|e| Lost::because(&e))?;
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let (https, path) = (url.scheme() == "https", url.path().trim_end_matches('/'));
    let target = format!("{address}{path}{CONNECT_PATH}");
    let connect = || async { step(TcpStream::connect(&address)).await?.map_err(|e| Lost::because(&e)) };
    match websocket(connect().await?, host, &target, https).await {
        Ok(wire) => Ok(wire),
        Err(why) => websocket(connect().await?, host, &target, !https).await.map_err(|_| why),
    }
}

async fn websocket(stream: TcpStream, host: &str, target: &str, https: bool) -> Result<Wire, Lost> {
    // Lines are small and somebody waits for them.
    stream.set_nodelay(true).map_err(|e| Lost::because(&e))?;
    let stream: Box<dyn Stream> = if https {
        Box::new(step(encrypted::over(stream, host)).await?.map_err(|e| Lost::because(&e))?)
    } else {
        Box::new(stream)
    };
    let target = format!("{}://{target}", if https { "wss" } else { "ws" });
    let config = WebSocketConfig::default().max_message_size(Some(CARRIED)).max_frame_size(Some(CARRIED));
    let config = config.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    let opened = tokio_tungstenite::client_async_with_config(target, stream, Some(config));
    match step(opened).await? {
        Ok((socket, _)) => Ok(wire(socket)),
        Err(tungstenite::Error::Http(answer)) => {
            let body =
                answer.body().as_deref().and_then(|body| serde_json::from_slice::<ErrorBody>(body).ok());
            // It may be anybody's who is on the way (A14).
            let why =
                body.map(|body| format!(": {}", text::plain(&body.error.error, WORDS))).unwrap_or_default();
            Err(Lost::Passing(format!("the master answered {}{why}", answer.status())))
        }
        Err(e) => Err(Lost::because(&e)),
    }
}

fn wire(socket: WebSocketStream<Box<dyn Stream>>) -> Wire {
    let (out, incoming) = socket.split();
    let out =
        out.sink_map_err(io::Error::other).with(|bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    let incoming = incoming.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            // Masters of protocol 1 begin in the clear.
            Ok(Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Ok(_) => None,
            Err(e) => Some(Err(io::Error::other(e))),
        })
    });
    Wire::new(out, incoming)
}

/// An error with its causes: a library's own text often leaves out the one that helps.
pub(crate) fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text::plain(&text, WORDS)
}

/// Whether the other side just went, as one that is restarted does: what libraries make of that is for programmers.
fn broke_off(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            let inner = io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
            if io.kind() == io::ErrorKind::UnexpectedEof || inner.is_some_and(broke_off) {
                return true;
            }
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b01_a_master_that_restarts_is_told_of_in_plain_words() {
        let end = io::Error::new(io::ErrorKind::UnexpectedEof, "close_notify: https://docs.rs/rustls");
        let carried = LinkError::Carrier(io::Error::other(tungstenite::Error::Io(end)));
        assert_eq!(Lost::because(&carried).why(), "the master closed the connection");
        let other = LinkError::Carrier(io::Error::other("no route"));
        assert!(Lost::because(&other).why().contains("no route"));
    }
}
