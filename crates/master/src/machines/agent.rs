//! Agents: working with those that are let in, taking them out of service (X8). How one is let in is in `enrolment`.

mod enrolment;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::agent::{LogChunk, MAX_HELD, Register, ToAgent, ToMaster};
use api::error::Code;
use domain::audit::{Entry, Who};
use domain::authz::{ManageAgents, Permit};
use domain::id::AgentId;
use link::Secret;
use store::Store;
use tokio::sync::mpsc;

use crate::Error;
use crate::cluster::Cluster;
use crate::scheduler::{Arrival, At, Had, Heard, Scheduler};
use crate::system::{Clock, Entropy};
use crate::unbroken::Unbroken;

pub use turns::Turn;
use turns::Turns;

pub use self::enrolment::INVITATION_LIFETIME;
pub use crate::scheduler::{AgentPresence, AgentView};
pub use store::agent::Agent as AgentRecord;

/// No log of an agent's is longer, in bytes.
const MAX_LOG: u64 = 1 << 60;

/// How long the connection of another process under the same name may take to show that it lives (B5).
const STILL_THERE: Duration = Duration::from_secs(3);

/// From what an agent's clock is wrong, in microseconds (B20).
const SKEWED: i64 = 5_000_000;

/// An enrolled key, for people to compare.
#[must_use]
pub fn fingerprint(agent: &AgentRecord) -> String {
    enrolment::fingerprint(agent)
}

/// Agents.
#[derive(Clone)]
pub struct Agents {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cluster: Cluster,
    key: Arc<Secret>,
    scheduler: Scheduler,
    unbroken: Unbroken,
    turns: Turns,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Agents")
    }
}

/// An agent that has proved that it holds its enrolled key. Made only by [`Agents::admit`].
#[derive(Debug, Clone)]
pub struct AgentCaller {
    agent: AgentId,
    key: String,
    instance: String,
    version: String,
    skew: i64,
}

/// A registered connection of an agent. Dropped, it is over.
pub struct Connection {
    agent: AgentId,
    number: u64,
    /// Weak: when the scheduler lets go of the connection, what is still to be said is said, and then it ends.
    link: mpsc::WeakUnboundedSender<ToAgent>,
    agents: Agents,
}

impl Connection {
    /// Whose it is.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.agent).field(&self.number).finish()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        tracing::info!(agent = %self.agent, "agent disconnected");
        let (agents, agent, number) = (self.agents.clone(), self.agent.clone(), self.number);
        self.agents.unbroken.start(async move {
            agents.scheduler.disconnect(&agent, number).await;
            agents.note_seen(&agent, None).await;
        });
    }
}

impl Agents {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        cluster: Cluster,
        key: Secret,
        scheduler: Scheduler,
        unbroken: Unbroken,
    ) -> Self {
        Self {
            store,
            clock,
            entropy,
            cluster,
            key: Arc::new(key),
            scheduler,
            unbroken,
            turns: Turns::default(),
        }
    }

    /// The master's key: what agents know it by.
    #[must_use]
    pub fn key(&self) -> &Secret {
        &self.key
    }

    /// Waits for an agent's turn to say what it is and holds.
    ///
    /// # Errors
    /// [`Error::Busy`] when it comes too often.
    pub async fn turn(&self, caller: &AgentCaller) -> Result<Turn, Error> {
        self.turns.take(&caller.agent).await
    }

    /// Takes a proved agent in; what it is to do comes through `link`. That goes to its end, as all that follows on the
    /// connection, whether or not the connection still stands then (B1).
    ///
    /// # Errors
    /// [`Error::Conflict`] when another process is this agent (B5), [`Error::Invalid`] when it names more than a machine has,
    /// [`Error::TooMany`] when it comes too often.
    pub async fn register(
        &self,
        caller: AgentCaller,
        turn: Turn,
        about: Register,
        link: mpsc::UnboundedSender<ToAgent>,
        address: Option<IpAddr>,
    ) -> Result<Connection, Error> {
        let AgentCaller { agent, key, instance, version, skew } = caller;
        can_be(&about)?;
        let agents = self.clone();
        let registered = async move {
            let _turn = turn;
            let (slots, weak) = (about.devices.len(), link.downgrade());
            let hostname = about.hostname.clone();
            let new = Arrival { key, about, version, instance, skew, link };
            let number = agents.arrive(&agent, new).await.inspect_err(|error| {
                tracing::warn!(host = %hostname, "a second process under one agent's name was refused: {error}");
            })?;
            tracing::info!(%agent, slots, "agent connected");
            if skew.abs() > SKEWED {
                let seconds = skew / 1_000_000;
                tracing::warn!(%agent, "the agent's clock is {seconds} s ahead of the master's: times in logs are wrong");
            }
            agents.note_seen(&agent, address).await;
            Ok(Connection { agent, number, link: weak, agents })
        };
        self.unbroken.run(registered).await?
    }

    /// Puts a connection in its place. One of another process that still answers keeps it; what is dead is replaced.
    async fn arrive(&self, agent: &AgentId, mut new: Arrival) -> Result<u64, Error> {
        loop {
            let (given_back, rival) = match self.scheduler.connect(agent, new).await? {
                Ok(number) => return Ok(number),
                Err(taken) => *taken,
            };
            if tokio::time::timeout(STILL_THERE, rival.answers()).await == Ok(true) {
                return Err(Error::Conflict(format!(
                    "agent {agent} is already connected from another process, on {}: stop that one, or give this \
                     machine a name and a data directory of its own and enrol it",
                    rival.hostname
                )));
            }
            self.scheduler.drop_connection(agent, rival.connection).await;
            new = given_back;
        }
    }

    /// Nothing hangs on it, so it holds nobody up.
    async fn note_seen(&self, agent: &AgentId, address: Option<IpAddr>) {
        let now = self.clock.now();
        let text = address.map(|address| address.to_canonical().to_string());
        let noted = async {
            let mut tx = self.store.write().await?;
            store::agent::set_seen(&mut tx, agent, text.as_deref(), now).await?;
            tx.commit_unaudited("a machine came or left").await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%agent, %error, "when the agent was last seen couldn't be noted");
        }
        self.scheduler.agent_seen(agent, text, now).await;
    }

    /// Hears a message of a registered agent.
    ///
    /// # Errors
    /// When it could not be kept; the connection is to be closed, and the agent says it again on the next.
    pub async fn hear(&self, connection: &Connection, message: ToMaster) -> Result<(), Error> {
        let (scheduler, agent, number) =
            (self.scheduler.clone(), connection.agent.clone(), connection.number);
        let link = connection.link.clone();
        self.unbroken.run(async move { heard(&scheduler, &agent, number, &link, message).await }).await?
    }

    /// Takes a piece of a log.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub async fn log(&self, connection: &Connection, chunk: LogChunk) -> Result<(), Error> {
        let LogChunk { allocation, offset, records } = chunk;
        let at = At::agent(&connection.agent);
        let had = self.scheduler.logged(&at, allocation, offset, records).await?;
        let Had { offset, kept, full } = had;
        answer(&connection.link, ToAgent::LogsReceived { allocation, offset, kept, full });
        Ok(())
    }

    /// A connection is over.
    pub fn disconnect(&self, connection: Connection) {
        drop(connection);
    }

    /// All enrolled agents. Everybody may see them.
    #[must_use]
    pub fn list(&self) -> Vec<AgentView> {
        self.scheduler.agents()
    }

    /// Takes an agent, or one of its slots, out of service or back in. What runs there is ended, or runs out when `drain`
    /// says so (B23).
    ///
    /// # Errors
    /// When there is no such agent.
    pub async fn set_service(
        &self,
        permit: Permit<ManageAgents>,
        agent: &AgentId,
        slot: Option<u32>,
        enabled: bool,
        drain: bool,
    ) -> Result<(), Error> {
        let mut tx = self.store.write_urgent().await?;
        let found = store::agent::by_id(&mut tx, agent).await?;
        let mut found = found.ok_or_else(|| Error::NotFound(format!("agent '{agent}' not found")))?;
        let before = service_facts(&found);
        if let Some(slot) = slot
            && !found.disabled_slots.contains(&slot)
            && self.scheduler.lacks_slot(agent, slot)
        {
            return Err(Error::NotFound(format!("agent '{agent}' has no slot {slot}")));
        }
        match slot {
            Some(slot) => {
                found.disabled_slots.retain(|disabled| *disabled != slot);
                if !enabled {
                    found.disabled_slots.push(slot);
                }
            }
            None => {
                found.enabled = enabled;
                found.draining = drain && !enabled;
            }
        }
        store::agent::set_service(&mut tx, &found).await?;
        let target = Who::named("agent", agent, agent.as_str());
        let entry = Entry::done(permit.by(), "agent.set_service", target);
        let committed = tx.commit(&entry.changed(before, service_facts(&found)), self.clock.now()).await;
        match &committed {
            Ok(()) => self.scheduler.agent_changed(found).await,
            Err(error) => self.scheduler.doubt_after(error),
        }
        if committed.is_ok() && !enabled && !drain {
            self.scheduler.end_on(agent, slot).await;
        }
        Ok(committed?)
    }
}

/// Whether one machine can have all that (A5): whatever an agent names is looked at while others wait. Lists were counted while
/// they were read.
fn can_be(about: &Register) -> Result<(), Error> {
    let has = about.given.len();
    let more =
        || Error::Invalid(format!("this agent names {has} runs, and a machine has {MAX_HELD} at most"));
    if has > MAX_HELD { Err(more()) } else { Ok(()) }
}

fn answer(link: &mpsc::WeakUnboundedSender<ToAgent>, message: ToAgent) {
    if let Some(link) = link.upgrade() {
        let _ = link.send(message);
    }
}

async fn heard(
    scheduler: &Scheduler,
    agent: &AgentId,
    connection: u64,
    link: &mpsc::WeakUnboundedSender<ToAgent>,
    message: ToMaster,
) -> Result<(), Error> {
    let at = At::agent(agent);
    match message {
        ToMaster::Started { allocation } => scheduler.started(&at, allocation).await,
        ToMaster::Exited { allocation, exit, log_bytes } => {
            let said = match scheduler.exited(&at, allocation, exit, log_bytes).await {
                Ok(Heard::Forget) => ToAgent::Forget { allocation },
                Ok(Heard::SendFrom(offset)) => {
                    ToAgent::LogsReceived { allocation, offset, kept: 0, full: false }
                }
                Ok(Heard::Later) => return Ok(()),
                // All else that the agent has to say, and is told, must not wait for that (S7).
                Err(error) if error.code() == Code::Unavailable => {
                    tracing::warn!(%agent, %allocation, %error, "an end couldn't be recorded: its agent says it again");
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            answer(link, said);
            Ok(())
        }
        ToMaster::LogMissing { allocation, from, to } => {
            // What is counted from there on must have room.
            if to > MAX_LOG {
                return Err(Error::Invalid(format!("a log of {to} bytes is longer than any")));
            }
            let Had { offset, kept, full } = scheduler.log_missing(&at, allocation, from, to).await?;
            answer(link, ToAgent::LogsReceived { allocation, offset, kept, full });
            Ok(())
        }
        ToMaster::Pong { number } => {
            scheduler.ponged(agent, connection, number).await;
            Ok(())
        }
        ToMaster::Unknown => {
            tracing::debug!(%agent, "an agent says what only a newer master understands");
            Ok(())
        }
        ToMaster::Register(_) => Err(Error::Invalid("the agent is already registered".to_owned())),
    }
}

fn service_facts(agent: &AgentRecord) -> serde_json::Value {
    serde_json::json!({
        "enabled": agent.enabled,
        "draining": agent.draining,
        "disabledSlots": agent.disabled_slots,
    })
}
