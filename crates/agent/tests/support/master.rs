//! A master that keeps logs in memory, keeps each byte once, and can lose, be late or be away when a test wants it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use api::agent::{
    CONNECT_PATH, Control, LogChunk, Opening, PROTOCOL, Register, Remedy, Start, ToAgent, ToMaster, Welcome,
};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::id::AllocationId;
use domain::log::Records;
use domain::task::Exit;
use futures_util::{SinkExt, StreamExt, future};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use link::{Channel, Ends, Invitation, Kind, LinkError, Public, Receiver, Secret, Sender, Wire};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::soon;

/// What the master knows and what it was told.
#[derive(Default)]
pub(crate) struct Seen {
    /// Its key.
    pub(crate) key: Option<Secret>,
    /// The agents' keys by name.
    pub(crate) keys: BTreeMap<String, Public>,
    /// Channels that came about.
    pub(crate) openings: usize,
    /// Connections that asked for the holder of another key.
    pub(crate) unproved: usize,
    /// What processes called themselves.
    pub(crate) instances: Vec<String>,
    pub(crate) registrations: Vec<Register>,
    pub(crate) started: Vec<AllocationId>,
    pub(crate) exits: Vec<(AllocationId, Exit, u64)>,
    pub(crate) logs: BTreeMap<AllocationId, Vec<u8>>,
    /// Parts of logs that the agent doesn't have any more.
    pub(crate) missing: Vec<(AllocationId, u64, u64)>,
    /// Offset and length of each piece, as it came.
    pub(crate) pieces: Vec<(AllocationId, u64, usize)>,
    /// Pieces aren't answered.
    pub(crate) mute: bool,
    /// Has no space for logs.
    pub(crate) full: bool,
    /// Ends aren't answered.
    pub(crate) keep: bool,
    /// The next answers for a context directory; then it is given.
    pub(crate) context_refusals: VecDeque<StatusCode>,
    /// A context directory never comes.
    pub(crate) context_hangs: bool,
    pub(crate) context_asked: usize,
    pub(crate) context: Vec<u8>,
    to_agent: Option<mpsc::UnboundedSender<ToAgent>>,
}

impl Seen {
    pub(crate) fn exit_of(&self, id: AllocationId) -> Option<&Exit> {
        let mut exits = self.exits.iter().rev();
        exits.find(|(of, _, _)| *of == id).map(|(_, exit, _)| exit)
    }

    pub(crate) fn exits_of(&self, id: AllocationId) -> usize {
        self.exits.iter().filter(|(of, _, _)| *of == id).count()
    }

    pub(crate) fn log_of(&self, id: AllocationId) -> &[u8] {
        self.logs.get(&id).map_or(&[], Vec::as_slice)
    }
}

type Shared = Arc<Master>;

struct Master {
    seen: Mutex<Seen>,
    changed: watch::Sender<()>,
}

impl Master {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panics with it")
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let done = change(&mut self.seen());
        self.changed.send_replace(());
        done
    }
}

/// The master of a test.
pub(crate) struct FakeMaster {
    master: Shared,
    address: SocketAddr,
    /// Ends all connections when it is gone.
    server: Option<(AbortOnDropHandle<()>, watch::Sender<()>)>,
}

impl FakeMaster {
    const SECRET: &str = "an invitation";

    pub(crate) async fn start() -> Self {
        let seen = Seen { key: Some(Secret::from_random(rand::random())), ..Seen::default() };
        let master = Arc::new(Master { seen: Mutex::new(seen), changed: watch::Sender::new(()) });
        let mut fake = Self { master, address: ([127, 0, 0, 1], 0).into(), server: None };
        fake.come_back().await;
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An invitation by this master.
    pub(crate) fn invitation(&self) -> Invitation {
        let key = self.look(|seen| seen.key.clone()).expect("it has one");
        Invitation { secret: Self::SECRET.to_owned(), master: key.public() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All connections break and nobody listens.
    pub(crate) async fn go_away(&mut self) {
        if let Some((server, connections)) = self.server.take() {
            drop(connections);
            server.abort();
            let _ = server.await;
        }
        self.master.change(|seen| seen.to_agent = None);
    }

    /// Listens again, at the same address.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("a free port");
        self.address = listener.local_addr().expect("bound");
        let (alive, ended) = watch::channel(());
        let state = (Arc::clone(&self.master), ended);
        let router = Router::new().route(CONNECT_PATH, get(connect)).with_state(state);
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serves");
        });
        self.server = Some((AbortOnDropHandle::new(server), alive));
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        self.master.change(change)
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.master.seen())
    }

    pub(crate) fn send(&self, message: ToAgent) {
        let to_agent = self.look(|seen| seen.to_agent.clone());
        to_agent.expect("an agent is connected").send(message).expect("still");
    }

    pub(crate) fn send_start(&self, start: &Start) -> AllocationId {
        self.send(ToAgent::Start(Box::new(start.clone())));
        start.allocation
    }

    /// Waits until the master was told something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut changed = self.master.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = self.look(&mut look) {
                    return found;
                }
                changed.changed().await.expect("the master lives");
            }
        };
        soon(what, wait).await
    }

    pub(crate) async fn exit(&self, id: AllocationId) -> Exit {
        self.until("the run's end", |seen| seen.exit_of(id).cloned()).await
    }
}

type App = (Shared, watch::Receiver<()>);

async fn context(State((master, _)): State<App>, Path(_task): Path<String>, headers: HeaderMap) -> Response {
    let header = |name| headers.get(name).map(|value| value.as_bytes().to_vec());
    assert_eq!(header("accept").as_deref(), Some(b"application/gzip".as_slice()));
    let token = header("grpc-metadata-x-allocation-token");
    let (refusal, hangs, body) = master.change(|seen| {
        seen.context_asked += 1;
        (seen.context_refusals.pop_front(), seen.context_hangs, seen.context.clone())
    });
    if token.as_deref() != Some(b"Bearer token-of-the-run") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if hangs {
        std::future::pending::<()>().await;
    }
    match refusal {
        Some(status) => status.into_response(),
        None => Body::from(body).into_response(),
    }
}

async fn connect(State((master, mut ended)): State<App>, upgrade: WebSocketUpgrade) -> Response {
    let app = (Arc::clone(&master), ended.clone());
    upgrade.max_message_size(65_535).on_upgrade(async move |socket| {
        tokio::select! {
            _ = serve(master, app, socket) => {}
            _ = ended.changed() => {}
        }
    })
}

async fn say(sender: &mut Sender, message: &ToAgent) -> Option<()> {
    let text = serde_json::to_vec(message).expect("JSON");
    sender.send(Kind::Message, &text).await.ok()
}

async fn hear<T: DeserializeOwned>(receiver: &mut Receiver) -> Option<T> {
    let frame = receiver.next().await.ok()??;
    assert_eq!(frame.kind, Kind::Message);
    Some(serde_json::from_slice(&frame.body).expect("the protocol"))
}

fn wire(socket: WebSocket) -> Wire {
    let (out, incoming) = socket.split();
    let failed = |_| io::ErrorKind::BrokenPipe.into();
    let out = out.sink_map_err(failed).with(|bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    let incoming = incoming.filter_map(move |message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(e) => Some(Err(failed(e))),
        })
    });
    Wire::new(out, incoming)
}

/// One connection, to its end.
async fn serve(master: Shared, app: App, socket: WebSocket) -> Option<()> {
    let key = master.seen().key.clone().expect("it has one");
    let accepted = link::accept(wire(socket), &key).await;
    if matches!(accepted, Err(LinkError::Unproved(_))) {
        master.change(|seen| seen.unproved += 1);
    }
    let mut channel = accepted.ok()?;
    let opening = hear(&mut channel.receiver).await?;
    master.change(|seen| seen.openings += 1);
    match opening {
        Opening::Enrol { invitation, name, .. } => enrol(&master, channel, &invitation, name).await,
        Opening::Control(control) => work(master, channel, control).await,
        Opening::Http { .. } => http(app, channel).await,
    }
}

async fn http(app: App, mut channel: Channel) -> Option<()> {
    say(&mut channel.sender, &ToAgent::Welcome(Welcome::default())).await?;
    let router = Router::new().route("/api/v1/tasks/{task}/context_directory", get(context)).with_state(app);
    let (near, far) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(router);
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(near), service);
    let carried = link::splice(far, channel.sender, channel.receiver, Ends::Here);
    tokio::join!(carried, served).0.ok()
}

async fn enrol(master: &Master, mut channel: Channel, invitation: &str, name: String) -> Option<()> {
    let answer = if invitation == FakeMaster::SECRET {
        master.change(|seen| seen.keys.insert(name, channel.peer));
        ToAgent::Enrolled { master_id: "master-1".to_owned() }
    } else {
        let reason = "the invitation was used or has expired".to_owned();
        ToAgent::Refused { reason, remedy: Remedy::Enrol }
    };
    say(&mut channel.sender, &answer).await
}

async fn work(master: Shared, channel: Channel, control: Control) -> Option<()> {
    let Channel { peer, mut sender, mut receiver } = channel;
    assert_eq!(control.protocol, PROTOCOL);
    let known = master.change(|seen| {
        seen.instances.push(control.instance.into());
        seen.keys.get(control.agent.as_str()).copied()
    });
    if known != Some(peer) {
        let reason = format!("agent {} has another key", control.agent);
        return say(&mut sender, &ToAgent::Refused { reason, remedy: Remedy::Enrol }).await;
    }
    receiver.take_up_to(link::LONGEST);
    let ToMaster::Register(register) = hear(&mut receiver).await? else {
        panic!("the second message is Register");
    };
    receiver.take_up_to(link::LONGEST);
    let (to_agent, mut outgoing) = mpsc::unbounded_channel();
    let held = register.held.clone();
    say(&mut sender, &ToAgent::Welcome(Welcome::default())).await?;
    for allocation in held {
        let offset = offset(master.seen().log_of(allocation));
        say(&mut sender, &ToAgent::LogsReceived { allocation, offset, kept: 0, full: false }).await?;
    }
    master.change(|seen| {
        seen.registrations.push(*register);
        seen.to_agent = Some(to_agent);
    });
    loop {
        tokio::select! {
            message = outgoing.recv() => say(&mut sender, &message?).await?,
            frame = receiver.next() => {
                let frame = frame.ok()??;
                let answer = match frame.kind {
                    Kind::Message => told(&master, serde_json::from_slice(&frame.body).expect("the protocol")),
                    Kind::Data => piece(&master, &LogChunk::decode(&frame.body).expect("a piece")),
                    Kind::Alive => {
                        sender.alive().await.ok()?;
                        None
                    }
                    Kind::End => None,
                };
                if let Some(answer) = answer {
                    say(&mut sender, &answer).await?;
                }
            }
        }
    }
}

fn told(master: &Master, message: ToMaster) -> Option<ToAgent> {
    master.change(|seen| match message {
        ToMaster::Started { allocation } => {
            seen.started.push(allocation);
            None
        }
        ToMaster::Exited { allocation, exit, log_bytes } => {
            seen.exits.push((allocation, exit, log_bytes));
            let complete = offset(seen.log_of(allocation)) >= log_bytes;
            (complete && !seen.keep).then_some(ToAgent::Forget { allocation })
        }
        ToMaster::LogMissing { allocation, from, to } => {
            let log = seen.logs.entry(allocation).or_default();
            assert_eq!(offset(log), from, "where the log ends");
            log.resize(usize::try_from(to).expect("small"), 0);
            seen.missing.push((allocation, from, to));
            Some(ToAgent::LogsReceived { allocation, offset: to, kept: 0, full: false })
        }
        other => panic!("{other:?} after the registration"),
    })
}

/// Keeps each byte once; what comes again must be what came before.
fn piece(master: &Master, piece: &LogChunk) -> Option<ToAgent> {
    let mut records = Records::new(&piece.records);
    records.by_ref().for_each(drop);
    assert_eq!(records.consumed(), piece.records.len(), "whole records");
    master.change(|seen| {
        let allocation = piece.allocation;
        seen.pieces.push((allocation, piece.offset, piece.records.len()));
        if seen.full {
            let offset = offset(seen.log_of(allocation));
            return Some(ToAgent::LogsReceived { allocation, offset, kept: offset, full: true });
        }
        let log = seen.logs.entry(allocation).or_default();
        let from = usize::try_from(piece.offset).expect("small");
        assert!(from <= log.len(), "a gap: {from} after {}", log.len());
        let known = (log.len() - from).min(piece.records.len());
        assert_eq!(log[from..from + known], piece.records[..known], "the same bytes again");
        log.extend_from_slice(&piece.records[known..]);
        let offset = offset(log);
        (!seen.mute).then_some(ToAgent::LogsReceived { allocation, offset, kept: 0, full: false })
    })
}

fn offset(log: &[u8]) -> u64 {
    log.len().try_into().expect("small")
}
