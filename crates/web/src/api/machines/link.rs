//! The agents' way in: a WebSocket that carries the channel of crate `link`, and what an agent may want of it. Nothing
//! is acted on before the agent has proved its key by its first frame (R28, R29).

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::api::agent::{Control, LogChunk, MAX_CHUNK, MAX_SAID, Opening, Remedy, ToAgent, ToMaster, Welcome};
use ::api::error::Code;
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use domain::id::{AgentId, AllocationId};
use domain::text::plain;
use futures_util::{SinkExt as _, StreamExt as _, future, stream};
use link::{CARRIED, Channel, Ends, Frame, Kind, LONGEST, LinkError, Receiver, SILENCE, Sender, Wire};
use master::Error;
use master::agent::Connection;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::access::Access;
use crate::api::agent::agent_name;
use crate::origin::Arrival;
use crate::peer::Peer;
use crate::respond::{Failure, message};
use crate::server::{Holder, Standing};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::get(::api::agent::CONNECT_PATH, Access::Agent, connect)]
}

/// How long an agent may take for each step until it is known.
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders that an agent may leave unread before it isn't listened to any more, …
const MOST_UNREAD: usize = 1024;

/// … and how long until it takes one of them.
const PATIENCE_FOR_ORDERS: Duration = Duration::from_secs(60);

/// Bytes between HTTP and the channel, in each direction.
const BUFFER: usize = 16 << 10;

/// What a carrier keeps in each direction, in bytes: most of them are a task's, and idle (F7).
const KEPT: usize = 8 << 10;

/// What of ours a carrier keeps that its peer doesn't take, in bytes: a message, and answers to WebSocket's own signs of
/// life, of which a peer may ask for any number (MB1).
const UNTAKEN: usize = 3 * CARRIED;

/// Lines about refused agents that are written each minute: whoever knows the master's key can be refused as often as they like.
const LINES: u32 = 60;

/// What an error says of an agent's own words, in characters.
const WORDS: usize = 300;

/// How many agents were refused in this minute.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<(Option<Instant>, u32)>);

impl Refusals {
    /// Notes one more. Whether it is written out, and how many of an earlier minute weren't.
    fn note(&self, now: Instant) -> (bool, u32) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if minute.0.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(60)) {
            left_out = minute.1.saturating_sub(LINES);
            *minute = (Some(now), 0);
        }
        minute.1 = minute.1.saturating_add(1);
        (minute.1 <= LINES, left_out)
    }
}

/// Opens an agent's channel.
pub(crate) async fn connect(
    State(app): State<App>,
    arrival: Arrival,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    // Agents are no browsers (R09).
    if headers.contains_key(header::ORIGIN) {
        return Err(Failure(Error::Forbidden("this is for agents, and no page may use it".to_owned())));
    }
    let upgrade = upgrade.max_message_size(CARRIED).max_frame_size(CARRIED);
    let upgrade = upgrade.read_buffer_size(KEPT).write_buffer_size(KEPT).max_write_buffer_size(UNTAKEN);
    Ok(upgrade.on_upgrade(async move |socket| {
        let from = arrival.address().map(|address| address.to_string()).unwrap_or_default();
        match open(&app, socket).await {
            Ok((opening, channel)) => serve(&app, opening, channel, arrival.address(), &standing).await,
            Err(error) => tracing::debug!(%error, %from, "no channel came about"),
        }
    }))
}

/// The handshake and the first frame, which proves it.
async fn open(app: &App, mut socket: WebSocket) -> Result<(Opening, Channel), LinkError> {
    let Ok(first) = timeout(PATIENCE, socket.recv()).await else {
        // Agents of protocol 1 wait for the master's word. It is the last one in the clear, and orders nothing.
        let reason = "this agent is older than the master: install the same version of Muster on both";
        let refused = ToAgent::Refused { reason: reason.to_owned(), remedy: Remedy::Read };
        let _ = socket.send(Message::text(serde_json::to_string(&refused).unwrap_or_default())).await;
        return Err(LinkError::Closed);
    };
    let (out, rest) = socket.split();
    let incoming = stream::iter(first).chain(rest).filter_map(|message| future::ready(carried(message)));
    let out =
        out.sink_map_err(io::Error::other).with(|bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    let opened = async {
        let mut channel = link::accept(Wire::new(out, incoming), app.master.agents.key()).await?;
        let opening = hear(&mut channel.receiver).await?;
        Ok((opening, channel))
    };
    timeout(PATIENCE, opened).await.map_err(|_| LinkError::Closed)?
}

/// What a WebSocket's message carries; signs of life of its own aren't for us, the end is no message.
fn carried(message: Result<Message, axum::Error>) -> Option<io::Result<Bytes>> {
    match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => None,
        Ok(Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
        Err(error) => Some(Err(io::Error::other(error))),
    }
}

/// The next message of the protocol, where only that may come.
async fn hear<T: DeserializeOwned>(receiver: &mut Receiver) -> Result<T, LinkError> {
    let frame = receiver.next().await?.ok_or(LinkError::Closed)?;
    if frame.kind != Kind::Message {
        return Err(LinkError::Protocol);
    }
    serde_json::from_slice(&frame.body).map_err(|_| LinkError::Protocol)
}

async fn say(sender: &mut Sender, message: &ToAgent) -> Result<(), LinkError> {
    let text = serde_json::to_vec(message).map_err(|_| LinkError::Protocol)?;
    sender.send(Kind::Message, &text).await
}

/// Does what the agent came for.
async fn serve(app: &App, opening: Opening, channel: Channel, address: Option<IpAddr>, standing: &Standing) {
    let Channel { peer, mut sender, mut receiver } = channel;
    let agents = &app.master.agents;
    match opening {
        Opening::Enrol { protocol, invitation, name } => {
            let enrolled =
                async { agents.enrol(peer, protocol, invitation, agent_name(&name)?, address).await };
            match enrolled.await {
                Ok(master_id) => drop(say(&mut sender, &ToAgent::Enrolled { master_id }).await),
                Err(error) => refuse(app, &mut sender, &error, Remedy::Read, address).await,
            }
        }
        Opening::Control(control) => match register(app, peer, control, &mut receiver, address).await {
            Ok(Some((connection, orders))) => {
                standing.is_known(Holder::Agent);
                work(app, connection, orders, &mut sender, &mut receiver).await;
            }
            Ok(None) => {}
            Err(error) => refuse(app, &mut sender, &error, Remedy::Leave, address).await,
        },
        Opening::Http { agent, allocation } => match held(app, peer, &agent, allocation).await {
            Ok((over, holder)) => {
                standing.is_known(holder);
                // A stream comes in pieces no longer than what a carrier takes (KB2).
                receiver.take_up_to(CARRIED);
                // Nothing may be asked for a run that is over, or by way of an agent that was revoked.
                over.run_until_cancelled(http(app, allocation, sender, receiver)).await;
                return;
            }
            Err(error) => refuse(app, &mut sender, &error, Remedy::Read, address).await,
        },
    }
    let _ = timeout(PATIENCE, sender.close()).await;
}

/// When a run of an agent's is over, and whose its connections are.
async fn held(
    app: &App,
    key: link::Public,
    agent: &AgentId,
    allocation: AllocationId,
) -> Result<(CancellationToken, Holder), Error> {
    let (over, owner) = app.master.agents.holds(key, agent, allocation).await?;
    Ok((over, Holder::Task { owner, task: allocation.task }))
}

/// Serves HTTP for a task, by way of its agent. Who asks is whoever shows credentials: the way proves nothing but the
/// task, and is never this machine's own.
async fn http(app: &App, allocation: AllocationId, mut sender: Sender, receiver: Receiver) {
    if say(&mut sender, &ToAgent::Welcome(Welcome::default())).await.is_err() {
        return;
    }
    let (near, far) = tokio::io::duplex(BUFFER);
    let (carried, ()) = tokio::join!(
        link::splice(far, sender, receiver, Ends::Here),
        app.attend(Box::new(near), Peer::Relay { allocation }),
    );
    if let Err(error) = carried {
        tracing::debug!(%error, %allocation, "a task's connection broke off");
    }
}

/// Says why not, and what the agent does about it; `taken` when somebody else has what it wants.
async fn refuse(app: &App, sender: &mut Sender, error: &Error, taken: Remedy, address: Option<IpAddr>) {
    let from = address.map(|address| address.to_string()).unwrap_or_default();
    let (told, left_out) = app.refusals.note(Instant::now());
    if left_out > 0 {
        tracing::warn!("{left_out} more agents were refused in one minute than stand here");
    }
    if told {
        tracing::warn!(error = plain(&error.to_string(), WORDS), %from, "an agent was refused");
    }
    let remedy = match error.code() {
        Code::Unauthenticated => Remedy::Enrol,
        Code::AlreadyExists => taken,
        Code::Internal | Code::Unavailable | Code::ResourceExhausted => Remedy::Wait,
        _ => Remedy::Read,
    };
    let refused = ToAgent::Refused { reason: message(error), remedy };
    let _ = timeout(PATIENCE, say(sender, &refused)).await;
}

/// The orders that an agent hasn't been told: each of its own messages may bring one about, so it isn't listened to while
/// there are many, whatever it is that it doesn't read (KB6, MB1).
struct Orders {
    waiting: Mutex<mpsc::UnboundedReceiver<ToAgent>>,
    fewer: Notify,
}

impl Orders {
    fn new(waiting: mpsc::UnboundedReceiver<ToAgent>) -> Self {
        Self { waiting: Mutex::new(waiting), fewer: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, mpsc::UnboundedReceiver<ToAgent>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next one; `None` when there will be none any more.
    async fn next(&self) -> Option<ToAgent> {
        let next = future::poll_fn(|context| self.waiting().poll_recv(context)).await;
        self.fewer.notify_one();
        next
    }

    async fn has_room(&self) {
        while self.waiting().len() >= MOST_UNREAD {
            self.fewer.notified().await;
        }
    }

    /// Tells the agent all of them, and answers its signs of life: it wants to know as well.
    async fn tell(&self, sender: &mut Sender, mut signs: mpsc::Receiver<()>) {
        loop {
            let said = tokio::select! {
                order = self.next() => match order {
                    Some(order) => say(sender, &order).await,
                    None => return,
                },
                Some(()) = signs.recv() => sender.alive().await,
            };
            if said.is_err() {
                return;
            }
        }
    }
}

/// `None` when the agent leaves in the middle.
async fn register(
    app: &App,
    key: link::Public,
    control: Control,
    receiver: &mut Receiver,
    address: Option<IpAddr>,
) -> Result<Option<(Connection, Orders)>, Error> {
    let caller = app.master.agents.admit(key, control).await?;
    // What an agent says of itself is long: one at a time of each agent is heard.
    let turn = app.master.agents.turn(&caller).await?;
    receiver.take_up_to(LONGEST);
    let Ok(Ok(Some(frame))) = timeout(PATIENCE, receiver.next()).await else { return Ok(None) };
    if frame.kind != Kind::Message {
        return Ok(None);
    }
    // It may be long, and others wait for the threads that answer.
    let said = tokio::task::spawn_blocking(move || serde_json::from_slice(&frame.body)).await;
    let about = match said {
        Ok(Ok(ToMaster::Register(about))) => about,
        Ok(Err(error)) => return Err(not_understood(&error)),
        _ => return Ok(None),
    };
    let (orders, received) = mpsc::unbounded_channel();
    let connection = app.master.agents.register(caller, turn, *about, orders, address).await?;
    // Never again so much at once.
    receiver.take_up_to(MAX_CHUNK + MAX_SAID);
    Ok(Some((connection, Orders::new(received))))
}

async fn work(
    app: &App,
    connection: Connection,
    orders: Orders,
    sender: &mut Sender,
    receiver: &mut Receiver,
) {
    let stopping = app.master.stopping();
    let (signs, answers) = mpsc::channel(1);
    let listen = async {
        loop {
            if timeout(PATIENCE_FOR_ORDERS, orders.has_room()).await.is_err() {
                return tracing::warn!(agent = %connection.agent(), "an agent doesn't read its orders: it may come again");
            }
            let frame = match timeout(SILENCE, receiver.next()).await {
                Ok(Ok(Some(frame))) => frame,
                Ok(Err(error)) => {
                    return tracing::warn!(%error, agent = %connection.agent(), "a channel broke");
                }
                _ => return,
            };
            if frame.kind == Kind::Alive {
                let _ = signs.try_send(());
                continue;
            }
            if let Err(error) = take(app, &connection, frame).await {
                tracing::warn!(%error, "an agent's message was not kept; it will say it again");
                return;
            }
        }
    };
    tokio::select! {
        () = orders.tell(sender, answers) => {}
        () = listen => {}
        () = stopping.cancelled() => {}
    }
    app.master.agents.disconnect(connection);
}

async fn take(app: &App, connection: &Connection, frame: Frame) -> Result<(), Error> {
    match frame.kind {
        Kind::Message if frame.body.len() > MAX_SAID => Err(Error::Invalid(format!(
            "the agent's message has {} bytes, and {MAX_SAID} is the limit",
            frame.body.len()
        ))),
        Kind::Message => {
            let message = serde_json::from_slice(&frame.body).map_err(|e| not_understood(&e))?;
            app.master.agents.hear(connection, message).await
        }
        Kind::Data => match LogChunk::decode(&frame.body) {
            Some(chunk) => app.master.agents.log(connection, chunk).await,
            None => Err(Error::Invalid("the agent sent a piece of log that can't be understood".to_owned())),
        },
        Kind::Alive | Kind::End => Ok(()),
    }
}

fn not_understood(error: &serde_json::Error) -> Error {
    Error::Invalid(format!("the agent's message can't be understood: {}", plain(&error.to_string(), WORDS)))
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, Sink, Stream, sink};

    use super::*;

    /// KB10: 600 wrong invitations a second were as many lines of the master's log.
    #[test]
    fn a05_refused_agents_have_so_many_lines_a_minute() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = (0..1000).filter(|_| refusals.note(now) == (true, 0)).count();
        assert_eq!(told, LINES as usize);
        let later = now + Duration::from_secs(60);
        assert_eq!(refusals.note(later), (true, 1000 - LINES));
        assert_eq!(refusals.note(later), (true, 0));
    }

    /// One direction of a carrier that keeps four messages.
    fn direction() -> (impl Sink<Bytes, Error = io::Error>, impl Stream<Item = io::Result<Bytes>>) {
        let (out, incoming) = mpsc::channel::<Bytes>(4);
        let out = sink::unfold(out, async |out, message| {
            out.send(message).await.map(|()| out).map_err(io::Error::other)
        });
        let incoming =
            stream::unfold(incoming, async |mut incoming| Some((Ok(incoming.recv().await?), incoming)));
        (out, incoming)
    }

    /// Master's and agent's ends.
    async fn channels() -> (Channel, Channel) {
        let [agent, master] = [1, 2].map(|seed| link::Secret::from_random([seed; 32]));
        let ((up, up_end), (down, down_end)) = (direction(), direction());
        let (near, far) = (Wire::new(up, down_end), Wire::new(down, up_end));
        let (near, far) =
            tokio::join!(link::initiate(near, &agent, master.public()), link::accept(far, &master));
        (far.expect("a channel"), near.expect("a channel"))
    }

    /// An agent says much that is answered, and reads none of the answers: neither orders nor signs of life (MB1).
    #[tokio::test]
    async fn a06_an_agent_that_reads_nothing_is_not_listened_to() {
        for with_signs in [false, true] {
            let (Channel { mut sender, .. }, mut agent) = channels().await;
            let (send, waiting) = mpsc::unbounded_channel();
            let orders = Orders::new(waiting);
            let (signs, answers) = mpsc::channel(1);
            let mut tell = std::pin::pin!(orders.tell(&mut sender, answers));
            for _ in 0..if with_signs { 32 } else { 0 } {
                let _ = signs.try_send(());
                assert!(tell.as_mut().now_or_never().is_none());
            }
            let has_room = || orders.has_room().now_or_never().is_some();
            let mut answered = 0;
            while has_room() && answered <= 2 * MOST_UNREAD {
                let _ = send.send(ToAgent::Ping { number: 1 });
                assert!(tell.as_mut().now_or_never().is_none());
                answered += 1;
            }
            assert!(answered <= MOST_UNREAD + 8, "with signs {with_signs}: {answered}");
            let reads = async {
                tokio::join!(orders.has_room(), async {
                    for _ in 0..16 {
                        agent.receiver.next().await.expect("a frame");
                    }
                })
            };
            tokio::select! {
                () = tell => panic!("it goes on"),
                _ = reads => {}
            }
        }
    }
}
