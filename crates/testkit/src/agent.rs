//! An agent without processes: it enrols, proves its key and speaks the protocol, and the test says what happened to
//! its tasks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ::master::system::Clock as _;
use api::agent::{CONNECT_PATH, Control, LogChunk, Opening, PROTOCOL, Register, Start, ToAgent, ToMaster};
use domain::agent::{Device, DeviceKind, Power};
use domain::capability::Capabilities;
use domain::id::{AgentId, AllocationId, TaskId};
use domain::log::{Record, Source};
use domain::task::Exit;
use domain::time::Timestamp;
use futures_util::{SinkExt as _, StreamExt as _, future};
use link::{Channel, Ends, Invitation, Kind, LinkError, Public, Secret};
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{FakeClock, TestMaster, soon};

/// An agent's key.
#[derive(Debug, Clone)]
pub struct Key(Secret);

impl Key {
    /// A fresh one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::from_random(rand::random()))
    }

    /// The key itself.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Enrols at `master` under an invitation; the master's id, or why not.
    ///
    /// # Errors
    /// The refusal's reason.
    pub async fn enrol(&self, master: SocketAddr, invitation: &str, name: &str) -> Result<String, String> {
        let invitation: Invitation = invitation.parse().expect("an invitation");
        let opening =
            Opening::Enrol { protocol: PROTOCOL, invitation: invitation.secret, name: name.to_owned() };
        let mut wire = Wire::open(master, self, invitation.master, &opening).await.expect("the master");
        match wire.receive().await {
            Some(ToAgent::Enrolled { master_id }) => Ok(master_id),
            Some(ToAgent::Refused { reason, .. }) => Err(reason),
            other => panic!("in place of an enrolment: {other:?}"),
        }
    }
}

/// A WebSocket to `address`, as a carrier of channels.
pub async fn carrier(address: SocketAddr) -> link::Wire {
    let stream = soon("a connection", TcpStream::connect(address)).await.expect("connected");
    let target = format!("ws://{address}{CONNECT_PATH}");
    let opened = soon("the handshake", tokio_tungstenite::client_async(target, stream)).await;
    let (out, incoming) = opened.expect("a WebSocket").0.split();
    let out =
        out.sink_map_err(io::Error::other).with(|bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    let incoming = incoming.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    link::Wire::new(out, incoming)
}

/// An agent's channel, frame by frame.
#[derive(Debug)]
pub struct Wire(pub Channel);

impl Wire {
    /// Opens a channel to the holder of `master` and says what it is for.
    ///
    /// # Errors
    /// When it is somebody else.
    pub async fn open(
        address: SocketAddr,
        key: &Key,
        master: Public,
        opening: &Opening,
    ) -> Result<Self, LinkError> {
        let wire = carrier(address).await;
        let mut wire = Self(soon("the handshake", link::initiate(wire, &key.0, master)).await?);
        let text = serde_json::to_vec(opening).expect("JSON");
        wire.0.sender.send(Kind::Message, &text).await?;
        Ok(wire)
    }

    /// Says something; a closed connection is no error.
    pub async fn send(&mut self, message: &ToMaster) {
        self.say(&serde_json::to_value(message).expect("JSON")).await;
    }

    /// As [`Self::send`], also what isn't the protocol's.
    pub async fn say(&mut self, message: &serde_json::Value) {
        let text = serde_json::to_vec(message).expect("JSON");
        let _ = self.0.sender.send(Kind::Message, &text).await;
    }

    /// The next message; `None` when the connection is over.
    pub async fn receive(&mut self) -> Option<ToAgent> {
        loop {
            let frame = soon("a message of the master's", self.0.receiver.next()).await.ok()??;
            if frame.kind == Kind::Message {
                return Some(serde_json::from_slice(&frame.body).expect("the protocol"));
            }
        }
    }
}

/// What an agent introduces itself with.
#[must_use]
pub fn control(name: &str, instance: &str, now: Timestamp) -> Opening {
    Opening::Control(Control {
        agent: name.parse().expect("a name"),
        instance: instance.into(),
        protocol: PROTOCOL,
        version: "0.0.0".into(),
        now,
    })
}

/// An enrolled agent.
#[derive(Debug)]
pub struct FakeAgent {
    /// Its name.
    pub name: AgentId,
    /// What it tells of itself.
    pub about: Register,
    /// What tells its process from others with the same key.
    pub instance: String,
    /// How far its clock is ahead of the master's, in microseconds.
    pub ahead: i64,
    clock: Arc<FakeClock>,
    master: SocketAddr,
    master_key: Public,
    key: Key,
    wire: Option<Wire>,
    inbox: VecDeque<ToAgent>,
    logs: BTreeMap<AllocationId, Vec<u8>>,
}

impl FakeAgent {
    /// Connects for the first time.
    pub async fn connect(master: &TestMaster, name: &str, key: Key) -> Self {
        let mut agent = Self::prepare(master, name, key);
        agent.reconnect().await;
        agent
    }

    /// Not connected yet.
    #[must_use]
    pub fn prepare(master: &TestMaster, name: &str, key: Key) -> Self {
        let address = master.address();
        let device = |id| Device { id, kind: DeviceKind::Cpu, brand: "Fake CPU".into(), uuid: "".into() };
        Self {
            name: name.parse().expect("a name"),
            about: Register {
                devices: vec![device(0), device(1)],
                trouble: None,
                power: Power::Root,
                can: Capabilities::ALL,
                hostname: "fake.example.org".into(),
                master_url: format!("http://{address}").into(),
                held: Vec::new(),
                given: BTreeMap::new(),
            },
            instance: format!("{:032x}", rand::random::<u128>()),
            ahead: 0,
            clock: Arc::clone(&master.clock),
            master: address,
            master_key: master.services().agents.key().public(),
            key,
            wire: None,
            inbox: VecDeque::new(),
            logs: BTreeMap::new(),
        }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Connects again, with the runs that it holds.
    pub async fn reconnect(&mut self) {
        self.try_reconnect().await.expect("a welcome");
    }

    /// As [`Self::reconnect`], where it may be refused.
    ///
    /// # Errors
    /// The refusal's reason.
    pub async fn try_reconnect(&mut self) -> Result<(), String> {
        let now = Timestamp(self.clock.now().0 + self.ahead);
        let opening = control(self.name.as_str(), &self.instance, now);
        let opened = Wire::open(self.master, &self.key, self.master_key, &opening).await;
        let mut wire = opened.expect("the master");
        self.about.held = self.logs.keys().copied().collect();
        wire.send(&ToMaster::Register(Box::new(self.about.clone()))).await;
        match wire.receive().await {
            Some(ToAgent::Welcome(_)) => {}
            Some(ToAgent::Refused { reason, .. }) => return Err(reason),
            other => panic!("in place of a welcome: {other:?}"),
        }
        self.inbox.clear();
        self.wire = Some(wire);
        Ok(())
    }

    /// Answers the master's question whether anybody is there.
    pub async fn answer_ping(&mut self) {
        let ping = |m: &ToAgent| match m {
            ToAgent::Ping { number } => Some(*number),
            _ => None,
        };
        let number = self.until("a ping", ping).await;
        self.wire().send(&ToMaster::Pong { number }).await;
    }

    /// A connection to the master's HTTP for a run; or why not.
    ///
    /// # Errors
    /// The refusal's reason.
    pub async fn http(&self, allocation: AllocationId) -> Result<DuplexStream, String> {
        let opening = Opening::Http { agent: self.name.clone(), allocation };
        let opened = Wire::open(self.master, &self.key, self.master_key, &opening).await;
        let mut wire = opened.expect("the master");
        match wire.receive().await {
            Some(ToAgent::Welcome(_)) => {}
            Some(ToAgent::Refused { reason, .. }) => return Err(reason),
            other => panic!("in place of a welcome: {other:?}"),
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let Channel { sender, receiver, .. } = wire.0;
        tokio::spawn(link::splice(far, sender, receiver, Ends::There));
        Ok(near)
    }

    /// The connection breaks.
    pub fn disconnect(&mut self) {
        self.wire = None;
    }

    /// Names runs from now on that no master ever heard of.
    pub fn invent(&mut self, runs: usize) {
        let run = || AllocationId::first(TaskId(uuid::Uuid::from_u128(rand::random())));
        self.logs.extend((0..runs).map(|_| (run(), Vec::new())));
    }

    /// Registers on a connection of its own, as the same process; says whether it was welcome.
    pub fn register_beside(&self) -> impl Future<Output = bool> + use<> {
        let opening = control(self.name.as_str(), &self.instance, self.clock.now());
        let (at, key, master_key) = (self.master, self.key.clone(), self.master_key);
        let about = Register { held: self.logs.keys().copied().collect(), ..self.about.clone() };
        async move {
            let mut wire = Wire::open(at, &key, master_key, &opening).await.expect("the master");
            wire.send(&ToMaster::Register(Box::new(about))).await;
            matches!(wire.receive().await, Some(ToAgent::Welcome(_)))
        }
    }

    /// Length of the run's log, in bytes.
    #[must_use]
    pub fn written(&self, allocation: AllocationId) -> u64 {
        self.logs.get(&allocation).map_or(0, Vec::len) as u64
    }

    /// Says that a part of a run's log is gone; waits until the master goes on behind it.
    pub async fn lose_log(&mut self, allocation: AllocationId, from: u64, to: u64) {
        self.wire().send(&ToMaster::LogMissing { allocation, from, to }).await;
        let passed = |m: &ToAgent| matches!(m, ToAgent::LogsReceived { allocation: a, offset, .. } if *a == allocation && *offset == to);
        self.until("that it goes on there", |m| passed(m).then_some(())).await;
    }

    /// The runs are gone, as after the loss of its disk.
    pub fn lose_everything(&mut self) {
        self.logs.clear();
    }

    fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("connected")
    }

    /// Waits for a message; others are kept for later.
    pub async fn until<T>(&mut self, what: &str, wanted: impl Fn(&ToAgent) -> Option<T>) -> T {
        if let Some((at, found)) = (self.inbox.iter().enumerate()).find_map(|(at, m)| Some((at, wanted(m)?)))
        {
            self.inbox.remove(at);
            return found;
        }
        loop {
            let message = self.wire().receive().await;
            let message = message.unwrap_or_else(|| panic!("the connection ended before {what}"));
            match wanted(&message) {
                Some(found) => return found,
                None => self.inbox.push_back(message),
            }
        }
    }

    /// Whether the master closed the connection.
    pub async fn is_closed(&mut self) -> bool {
        while self.wire().receive().await.is_some() {}
        true
    }

    /// The next order to start something, not yet obeyed.
    pub async fn next_start(&mut self) -> Start {
        let start = |m: &ToAgent| match m {
            ToAgent::Start(start) => Some((**start).clone()),
            _ => None,
        };
        let start = self.until("a start", start).await;
        self.logs.entry(start.allocation).or_default();
        self.about.given.insert(start.allocation, start.given.clone().into());
        start
    }

    /// Takes the next order to start something and says that it runs.
    pub async fn accept_start(&mut self) -> Start {
        let start = self.next_start().await;
        self.started(start.allocation).await;
        start
    }

    /// Says that a run's process is there.
    pub async fn started(&mut self, allocation: AllocationId) {
        self.wire().send(&ToMaster::Started { allocation }).await;
    }

    /// The run writes; waits until the master has it.
    pub async fn send_log(&mut self, allocation: AllocationId, source: Source, at: Timestamp, text: &[u8]) {
        let offset = self.logs.get(&allocation).map_or(0, Vec::len);
        self.write_unsent(allocation, source, at, text);
        self.resend_log(allocation, offset).await;
    }

    /// The run writes, and the master doesn't hear of it yet.
    pub fn write_unsent(&mut self, allocation: AllocationId, source: Source, at: Timestamp, payload: &[u8]) {
        Record { at, source, rank: None, payload }.encode(self.logs.entry(allocation).or_default());
    }

    /// Sends the run's log from byte `offset` on; waits until the master has it all.
    pub async fn resend_log(&mut self, allocation: AllocationId, offset: usize) {
        let log = self.logs.get(&allocation).cloned().unwrap_or_default();
        let chunk = LogChunk {
            allocation,
            offset: offset.try_into().expect("small"),
            records: log[offset..].to_vec(),
        };
        let sent = self.wire().0.sender.send(Kind::Data, &chunk.encode()).await;
        sent.expect("sent");
        let end = log.len() as u64;
        let confirmed = |m: &ToAgent| matches!(m, ToAgent::LogsReceived { allocation: a, offset, .. } if *a == allocation && *offset == end);
        self.until("the log's confirmation", |m| confirmed(m).then_some(())).await;
    }

    /// Sends all of the run's log again, and waits for nothing.
    pub async fn push_log(&mut self, allocation: AllocationId) {
        let records = self.logs.get(&allocation).cloned().unwrap_or_default();
        let chunk = LogChunk { allocation, offset: 0, records };
        let sent = self.wire().0.sender.send(Kind::Data, &chunk.encode()).await;
        sent.expect("sent");
    }

    /// The offset from which the master wants a held run's log.
    pub async fn wanted_from(&mut self, allocation: AllocationId) -> u64 {
        let offset = |m: &ToAgent| match m {
            ToAgent::LogsReceived { allocation: a, offset, .. } if *a == allocation => Some(*offset),
            _ => None,
        };
        self.until("where to go on", offset).await
    }

    /// Says how the run ended, without waiting.
    pub async fn say_exit(&mut self, allocation: AllocationId, exit: Exit) {
        let log_bytes = self.logs.get(&allocation).map_or(0, Vec::len) as u64;
        let exited = ToMaster::Exited { allocation, exit, log_bytes };
        self.wire().send(&exited).await;
    }

    /// Says how the run ended; waits until the master has it.
    pub async fn exit(&mut self, allocation: AllocationId, code: i32) {
        let exit = Exit { code, killed: false, ..Exit::default() };
        self.exit_as(allocation, exit).await;
    }

    /// As [`Self::exit`], in every detail.
    pub async fn exit_as(&mut self, allocation: AllocationId, exit: Exit) {
        self.say_exit(allocation, exit).await;
        let forget = |m: &ToAgent| matches!(m, ToAgent::Forget { allocation: a } if *a == allocation);
        self.until("that the end is recorded", |m| forget(m).then_some(())).await;
        self.logs.remove(&allocation);
    }

    /// Waits for the order to end a run.
    pub async fn expect_kill(&mut self, allocation: AllocationId) {
        let kill = |m: &ToAgent| matches!(m, ToAgent::Kill { allocation: a, .. } if *a == allocation);
        self.until("an order to kill", |m| kill(m).then_some(())).await;
    }
}
