//! An agent without processes: it enrols, proves its key and speaks the protocol, and the test says what happened to
//! its tasks.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use api::agent::{
    CONNECT_PATH, ENROL_PATH, LogChunk, PROTOCOL, Register, Start, ToAgent, ToMaster, challenge_text,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::agent::{Device, DeviceKind, Power};
use domain::id::{AgentId, AllocationId};
use domain::log::{Record, Source};
use domain::task::Exit;
use domain::time::Timestamp;
use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::http::{Requests, Response};
use crate::soon;

/// An Ed25519 key.
#[derive(Debug, Clone)]
pub struct Key(SigningKey);

impl Key {
    /// A fresh one.
    #[must_use]
    pub fn generate() -> Self {
        Self(SigningKey::from_bytes(&rand::random()))
    }

    /// The public half, base64.
    #[must_use]
    pub fn public(&self) -> String {
        STANDARD.encode(self.0.verifying_key().as_bytes())
    }

    /// A signature of `text`, base64.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.0.sign(text.as_bytes()).to_bytes())
    }

    /// Enrols under an invitation.
    pub async fn enrol(&self, from: &impl Requests, invitation: &str, name: &str) -> Response {
        let body = json!({"invitation": invitation, "name": name, "publicKey": self.public()});
        from.post(ENROL_PATH).json(body).await
    }
}

/// An agent's connection, message by message.
#[derive(Debug)]
pub struct Wire(WebSocketStream<TcpStream>);

impl Wire {
    /// Opens the WebSocket and takes the challenge: nonce and master id.
    pub async fn dial(master: SocketAddr) -> (Self, String, String) {
        let stream = soon("a connection", TcpStream::connect(master)).await.expect("connected");
        let target = format!("ws://{master}{CONNECT_PATH}");
        let opened = soon("the handshake", tokio_tungstenite::client_async(target, stream)).await;
        let mut wire = Self(opened.expect("a WebSocket").0);
        match wire.receive().await {
            Some(ToAgent::Challenge { nonce, master_id }) => (wire, nonce, master_id),
            other => panic!("in place of a challenge: {other:?}"),
        }
    }

    /// Says something; a closed connection is no error.
    pub async fn send(&mut self, message: &ToMaster) {
        let text = serde_json::to_string(message).expect("JSON");
        let _ = self.0.send(Message::text(text)).await;
    }

    /// The next message; `None` when the connection is over.
    pub async fn receive(&mut self) -> Option<ToAgent> {
        loop {
            match soon("a message of the master's", self.0.next()).await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("the protocol")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Introduces itself under `name` with that signature.
    pub async fn hello(&mut self, name: &str, signature: String) {
        let hello = ToMaster::Hello {
            agent: name.parse().expect("a name"),
            protocol: PROTOCOL,
            version: "0.0.0".to_owned(),
            signature,
        };
        self.send(&hello).await;
    }
}

/// An enrolled agent.
#[derive(Debug)]
pub struct FakeAgent {
    /// Its name.
    pub name: AgentId,
    /// What it tells of itself.
    pub about: Register,
    master: SocketAddr,
    key: Key,
    wire: Option<Wire>,
    inbox: VecDeque<ToAgent>,
    logs: BTreeMap<AllocationId, Vec<u8>>,
}

impl FakeAgent {
    /// Connects for the first time.
    pub async fn connect(master: SocketAddr, name: &str, key: Key) -> Self {
        let device =
            |id| Device { id, kind: DeviceKind::Cpu, brand: "Fake CPU".to_owned(), uuid: String::new() };
        let mut agent = Self {
            name: name.parse().expect("a name"),
            about: Register {
                devices: vec![device(0), device(1)],
                trouble: None,
                power: Power::Root,
                hostname: "fake.example.org".to_owned(),
                master_url: format!("http://{master}"),
                held: Vec::new(),
            },
            master,
            key,
            wire: None,
            inbox: VecDeque::new(),
            logs: BTreeMap::new(),
        };
        agent.reconnect().await;
        agent
    }

    /// Connects again, with the runs that it holds.
    pub async fn reconnect(&mut self) {
        let (mut wire, nonce, master_id) = Wire::dial(self.master).await;
        let signature = self.key.sign(&challenge_text(&master_id, &self.name, &nonce));
        wire.hello(self.name.as_str(), signature).await;
        self.about.held = self.logs.keys().copied().collect();
        wire.send(&ToMaster::Register(Box::new(self.about.clone()))).await;
        match wire.receive().await {
            Some(ToAgent::Welcome {}) => {}
            other => panic!("in place of a welcome: {other:?}"),
        }
        self.inbox.clear();
        self.wire = Some(wire);
    }

    /// The connection breaks.
    pub fn disconnect(&mut self) {
        self.wire = None;
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
        Record { at, source, payload }.encode(self.logs.entry(allocation).or_default());
    }

    /// Sends the run's log from byte `offset` on; waits until the master has it all.
    pub async fn resend_log(&mut self, allocation: AllocationId, offset: usize) {
        let log = self.logs.get(&allocation).cloned().unwrap_or_default();
        let chunk = LogChunk {
            allocation,
            offset: offset.try_into().expect("small"),
            records: log[offset..].to_vec(),
        };
        let sent = self.wire().0.send(Message::binary(chunk.encode())).await;
        sent.expect("sent");
        let end = log.len() as u64;
        let confirmed = |m: &ToAgent| matches!(m, ToAgent::LogsReceived { allocation: a, offset } if *a == allocation && *offset == end);
        self.until("the log's confirmation", |m| confirmed(m).then_some(())).await;
    }

    /// The offset from which the master wants a held run's log.
    pub async fn wanted_from(&mut self, allocation: AllocationId) -> u64 {
        let offset = |m: &ToAgent| match m {
            ToAgent::LogsReceived { allocation: a, offset } if *a == allocation => Some(*offset),
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
        let exit = Exit { code, killed: false, failure: None };
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
        let kill = |m: &ToAgent| matches!(m, ToAgent::Kill { allocation: a } if *a == allocation);
        self.until("an order to kill", |m| kill(m).then_some(())).await;
    }
}
