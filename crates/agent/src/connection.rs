//! One connection to the master: the proof of who calls (R28, R29), then messages both ways until it is lost. When
//! to connect again is `supervise`'s; what the messages do is the runs'.

use std::time::Duration;

use api::agent::{CONNECT_PATH, PROTOCOL, Register, ToAgent, ToMaster, challenge_text};
use api::error::ErrorBody;
use domain::id::AllocationId;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::enrolment::{Enrolment, plain};
use crate::key::Key;
use crate::machine::Machine;
use crate::outbox::{Outgoing, outbox};
use crate::run::Command;
use crate::runs::Runs;

/// Longest wait for each step until the agent is registered.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Between signs of life.
const PING: Duration = Duration::from_secs(10);

/// Without a sign of life the connection is dead.
const DEAD: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Lost {
    /// There won't be one next time either.
    Fatal(AgentError),
    /// Worth another try.
    Passing(String),
}

impl Lost {
    fn because(error: &(impl std::error::Error + 'static)) -> Self {
        Self::Passing(plain(error))
    }
}

type Socket = WebSocketStream<TcpStream>;

/// Connects and registers with the runs in `held`.
pub(crate) async fn connect(
    machine: &Machine,
    key: &Key,
    enrolment: &Enrolment,
    held: impl FnOnce() -> Vec<AllocationId>,
) -> Result<Socket, Lost> {
    let mut socket = dial(machine).await?;
    let (nonce, master_id) = match receive(&mut socket).await? {
        ToAgent::Challenge { nonce, master_id } => (nonce, master_id),
        other => return Err(unexpected(other)),
    };
    // Before anything is signed: a stranger gets no signature that it could show to the real master.
    if master_id != enrolment.master_id {
        return Err(Lost::Fatal(AgentError::ForeignMaster {
            address: machine.master.clone(),
            found: master_id,
            enrolled: enrolment.master_id.clone(),
            file: machine.data_dir.enrolment_file(),
        }));
    }
    let hello = ToMaster::Hello {
        agent: machine.name.clone(),
        protocol: PROTOCOL,
        version: machine.version.clone(),
        signature: key.sign(&challenge_text(&master_id, &machine.name, &nonce)),
    };
    let register = ToMaster::Register(Box::new(Register {
        devices: machine.found.devices.clone(),
        trouble: machine.found.trouble.clone(),
        power: machine.power,
        hostname: machine.hostname.clone(),
        master_url: machine.master.clone(),
        held: held(),
    }));
    for message in [hello, register] {
        let text = serde_json::to_string(&message).map_err(|e| Lost::because(&e))?;
        step(socket.send(Message::text(text))).await?.map_err(|e| Lost::because(&e))?;
    }
    match receive(&mut socket).await? {
        ToAgent::Welcome {} => Ok(socket),
        other => Err(unexpected(other)),
    }
}

async fn dial(machine: &Machine) -> Result<Socket, Lost> {
    let url = reqwest::Url::parse(&machine.master).map_err(|e| Lost::because(&e))?;
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let stream = step(TcpStream::connect(address)).await?.map_err(|e| Lost::because(&e))?;
    // Lines are small and somebody waits for them.
    stream.set_nodelay(true).map_err(|e| Lost::because(&e))?;
    let target = format!("ws{}{CONNECT_PATH}", machine.master.trim_start_matches("http"));
    match step(tokio_tungstenite::client_async(target, stream)).await? {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let body =
                answer.body().as_deref().and_then(|body| serde_json::from_slice::<ErrorBody>(body).ok());
            let why = body.map(|body| format!(": {}", body.error.error)).unwrap_or_default();
            Err(Lost::Passing(format!("the master answered {}{why}", answer.status())))
        }
        Err(e) => Err(Lost::because(&e)),
    }
}

async fn step<T>(work: impl Future<Output = T>) -> Result<T, Lost> {
    let silent = |_| Lost::Passing("the master doesn't answer".to_owned());
    timeout(HANDSHAKE, work).await.map_err(silent)
}

/// The next message of the handshake.
async fn receive(socket: &mut Socket) -> Result<ToAgent, Lost> {
    loop {
        let Some(message) = step(socket.next()).await? else {
            return Err(closed());
        };
        match message.map_err(|e| Lost::because(&e))? {
            Message::Text(text) => return serde_json::from_str(&text).map_err(|e| Lost::because(&e)),
            Message::Close(_) => return Err(closed()),
            _ => {}
        }
    }
}

fn closed() -> Lost {
    Lost::Passing("the master closed the connection".to_owned())
}

fn unexpected(message: ToAgent) -> Lost {
    match message {
        ToAgent::Refused { reason } => Lost::Fatal(AgentError::Refused(reason)),
        _ => Lost::Passing("the master doesn't keep to the protocol".to_owned()),
    }
}

/// Serves a registered connection until it is lost, or `shutdown` closes it (`Ok`).
pub(crate) async fn serve(
    socket: Socket,
    runs: &std::sync::Arc<Runs>,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let (sink, stream) = socket.split();
    let (outbox, outgoing) = outbox();
    runs.connected(&outbox);
    let mut sink = std::pin::pin!(sink);
    let end = tokio::select! {
        lost = read(stream, |message| handle(message, runs, &outbox)) => Err(lost),
        lost = write(sink.as_mut(), outgoing) => Err(lost),
        () = shutdown.cancelled() => Ok(()),
    };
    runs.disconnected();
    if end.is_ok() {
        // Politeness: the master sees at once that the agent left and didn't crash.
        let _ = timeout(Duration::from_millis(500), sink.close()).await;
    }
    end
}

async fn read(
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    mut handle: impl FnMut(ToAgent) -> Result<(), Lost>,
) -> Lost {
    loop {
        let text = match timeout(DEAD, stream.next()).await {
            Err(_) => return Lost::Passing("the master fell silent".to_owned()),
            Ok(None | Some(Ok(Message::Close(_)))) => return closed(),
            Ok(Some(Err(e))) => return Lost::because(&e),
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(_))) => continue,
        };
        match serde_json::from_str(&text) {
            Ok(message) => {
                if let Err(lost) = handle(message) {
                    return lost;
                }
            }
            // A newer master may say more than this agent understands.
            Err(e) => tracing::warn!("a message of the master isn't understood: {e}"),
        }
    }
}

async fn write(
    mut sink: impl Sink<Message, Error = tungstenite::Error> + Unpin,
    mut outgoing: Outgoing,
) -> Lost {
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
            message = outgoing.next() => match message {
                Some(message) => message,
                None => return closed(),
            },
        };
        if let Err(e) = sink.send(message).await {
            return Lost::because(&e);
        }
    }
}

fn handle(message: ToAgent, runs: &std::sync::Arc<Runs>, outbox: &crate::outbox::Outbox) -> Result<(), Lost> {
    match message {
        ToAgent::Start(start) => runs.start(start, outbox),
        ToAgent::Kill { allocation } => runs.tell(allocation, Command::Kill),
        ToAgent::LogsReceived { allocation, offset } => runs.tell(allocation, Command::Received(offset)),
        ToAgent::Forget { allocation } => runs.tell(allocation, Command::Forget),
        ToAgent::Welcome {} => {}
        refused @ ToAgent::Refused { .. } => return Err(unexpected(refused)),
        challenge @ ToAgent::Challenge { .. } => return Err(unexpected(challenge)),
    }
    Ok(())
}
