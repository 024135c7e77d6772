//! Agents: letting them in (R28, R29), hearing them out, taking them out of service (X8).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::agent::{LogChunk, PROTOCOL, Register, ToAgent, ToMaster, challenge_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::audit::{By, Entry, Who};
use domain::authz::{InviteAgent, ManageAgents, Permit};
use domain::id::AgentId;
use domain::time::Timestamp;
use ed25519_dalek::{Signature, VerifyingKey};
use store::{Store, StoreError};
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::scheduler::Scheduler;
use crate::system::{Clock, Entropy};
use crate::unbroken::Unbroken;
use crate::{Error, secret};

pub use crate::scheduler::{AgentPresence, AgentView};

/// How long an invitation is good.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(3600);

/// Agents.
#[derive(Clone)]
pub struct Agents {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cluster: Cluster,
    scheduler: Scheduler,
    unbroken: Unbroken,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Agents")
    }
}

/// An agent that has proved that it holds its enrolled key. Made only by [`Agents::prove`].
#[derive(Debug, Clone)]
pub struct AgentCaller {
    agent: AgentId,
    version: String,
}

/// A registered connection of an agent. Dropped, it is over.
pub struct Connection {
    agent: AgentId,
    number: u64,
    link: mpsc::UnboundedSender<ToAgent>,
    scheduler: Scheduler,
    unbroken: Unbroken,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.agent).field(&self.number).finish()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        tracing::info!(agent = %self.agent, "agent disconnected");
        let (scheduler, agent, number) = (self.scheduler.clone(), self.agent.clone(), self.number);
        self.unbroken.start(async move { scheduler.disconnect(&agent, number).await });
    }
}

/// A question that an agent answers with its signature.
#[derive(Debug)]
pub struct Challenge {
    nonce: String,
}

impl Agents {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        cluster: Cluster,
        scheduler: Scheduler,
        unbroken: Unbroken,
    ) -> Self {
        Self { store, clock, entropy, cluster, scheduler, unbroken }
    }

    /// Makes a one-time invitation; with a name, good for that name only.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn invite(
        &self,
        permit: Permit<InviteAgent>,
        agent: Option<AgentId>,
    ) -> Result<(String, Timestamp), Error> {
        let token = secret::token(self.entropy.as_ref(), "mai");
        let now = self.clock.now();
        let expires_at = now.plus(INVITATION_LIFETIME);
        let digest = secret::digest(&token);
        let mut tx = self.store.write().await?;
        let by = permit.actor();
        store::agent::insert_invitation(&mut tx, &digest, agent.as_ref(), by, now, expires_at).await?;
        let name = agent.as_ref().map(AgentId::as_str).unwrap_or_default();
        let entry = Entry::done(permit.by(), "agent.invite", Who::named("agent", &name, name));
        tx.commit(&entry, now).await?;
        Ok((token, expires_at))
    }

    /// Enrols an agent under an invitation, which is then used up. Answers the master's id.
    ///
    /// # Errors
    /// When the invitation isn't good, or the name or key is taken.
    pub async fn enrol(
        &self,
        invitation: &str,
        agent: AgentId,
        public_key: &str,
        address: Option<IpAddr>,
    ) -> Result<String, Error> {
        key(public_key).ok_or_else(|| Error::Invalid("publicKey is no Ed25519 key in base64".to_owned()))?;
        let refused = Error::Unauthenticated("the invitation is not valid, was used, or has expired");
        let digest = secret::digest(invitation);
        let mut tx = self.store.write().await?;
        let now = self.clock.now();
        let found = store::agent::invitation(&mut tx, &digest).await?;
        let good = found.filter(|invitation| now < invitation.expires_at);
        let good = good.filter(|invitation| invitation.agent.as_ref().is_none_or(|name| *name == agent));
        let Some(good) = good else { return Err(refused) };
        if let Some(used) = good.used_by_key {
            // The answer to the first time may have been lost on its way.
            let enrolled = store::agent::by_id(&mut tx, &agent).await?;
            let same = used == public_key && enrolled.is_some_and(|known| known.public_key == public_key);
            return if same { Ok(self.cluster.id().to_owned()) } else { Err(refused) };
        }
        store::agent::use_invitation(&mut tx, &digest, public_key).await?;
        store::agent::insert(&mut tx, &agent, public_key, now).await.map_err(|error| match error {
            StoreError::Duplicate => {
                Error::Conflict(format!("agent {agent} is already enrolled: choose another name"))
            }
            other => other.into(),
        })?;
        let enrolled = store::agent::by_id(&mut tx, &agent).await?;
        let by = By::Agent { agent: agent.clone(), address };
        let target = Who::named("agent", &agent, agent.as_str());
        let committed = tx.commit(&Entry::done(&by, "agent.enrol", target), now).await;
        if committed.is_err() {
            self.scheduler.doubt();
        }
        committed?;
        if let Some(enrolled) = enrolled {
            self.scheduler.agent_changed(enrolled).await;
        }
        tracing::info!(%agent, "agent enrolled");
        Ok(self.cluster.id().to_owned())
    }

    /// The first message of a connection.
    #[must_use]
    pub fn challenge(&self) -> (Challenge, ToAgent) {
        let nonce = secret::hex(&self.entropy.bytes());
        let message = ToAgent::Challenge { nonce: nonce.clone(), master_id: self.cluster.id().to_owned() };
        (Challenge { nonce }, message)
    }

    /// Checks the answer to a challenge (R28). A wrong key under a known name is refused like an unknown name (R29).
    ///
    /// # Errors
    /// When it proves nothing.
    pub async fn prove(&self, challenge: Challenge, answer: ToMaster) -> Result<AgentCaller, Error> {
        let refused = Error::Unauthenticated("this agent is not enrolled here, or its key is another one");
        let ToMaster::Hello { agent, protocol, version, signature } = answer else {
            return Err(Error::Invalid("the first message must be hello".to_owned()));
        };
        if protocol != PROTOCOL {
            return Err(Error::Invalid(format!(
                "the agent speaks protocol {protocol}, this master {PROTOCOL}: install the same version of Muster on both"
            )));
        }
        let mut conn = self.store.read().await?;
        let enrolled = store::agent::by_id(&mut conn, &agent).await?;
        drop(conn);
        let Some(key) = enrolled.and_then(|enrolled| key(&enrolled.public_key)) else {
            return Err(refused);
        };
        let bytes = STANDARD.decode(signature).ok();
        let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
        let text = challenge_text(self.cluster.id(), &agent, &challenge.nonce);
        match signature {
            Some(signature) if key.verify_strict(text.as_bytes(), &signature).is_ok() => {
                Ok(AgentCaller { agent, version })
            }
            _ => Err(refused),
        }
    }

    /// Takes a proved agent in; what it is to do comes through `link`. That goes to its end, as all that follows on the
    /// connection, whether or not the connection still stands then (B1).
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn register(
        &self,
        caller: AgentCaller,
        about: Register,
        link: mpsc::UnboundedSender<ToAgent>,
    ) -> Result<Connection, Error> {
        let AgentCaller { agent, version } = caller;
        let slots = about.devices.len();
        let (scheduler, unbroken) = (self.scheduler.clone(), self.unbroken.clone());
        let registered = async move {
            let number = scheduler.connect(&agent, about, version, link.clone()).await?;
            tracing::info!(%agent, slots, "agent connected");
            Ok(Connection { agent, number, link, scheduler, unbroken })
        };
        self.unbroken.run(registered).await?
    }

    /// Hears a message of a registered agent.
    ///
    /// # Errors
    /// When it could not be kept; the connection is to be closed, and the agent says it again on the next.
    pub async fn hear(&self, connection: &Connection, message: ToMaster) -> Result<(), Error> {
        let (scheduler, agent) = (self.scheduler.clone(), connection.agent.clone());
        let link = connection.link.clone();
        self.unbroken.run(async move { heard(&scheduler, &agent, &link, message).await }).await?
    }

    /// Takes a piece of a log.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub async fn log(&self, connection: &Connection, chunk: LogChunk) -> Result<(), Error> {
        let LogChunk { allocation, offset, records } = chunk;
        let offset = self.scheduler.logged(&connection.agent, allocation.task, offset, records).await?;
        let _ = connection.link.send(ToAgent::LogsReceived { allocation, offset });
        Ok(())
    }

    /// A connection is over.
    pub fn disconnect(&self, connection: Connection) {
        drop(connection);
    }

    /// All enrolled agents. Everybody may see them.
    pub async fn list(&self) -> Vec<AgentView> {
        self.scheduler.agents().await
    }

    /// Takes an agent, or one of its slots, out of service or back in.
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
        match slot {
            Some(slot) => {
                found.disabled_slots.retain(|disabled| *disabled != slot);
                if !enabled {
                    found.disabled_slots.push(slot);
                }
            }
            None => {
                found.enabled = enabled || drain;
                found.draining = drain && !enabled;
            }
        }
        store::agent::set_service(&mut tx, &found).await?;
        let target = Who::named("agent", agent, agent.as_str());
        let entry = Entry::done(permit.by(), "agent.set_service", target);
        let committed = tx.commit(&entry.changed(before, service_facts(&found)), self.clock.now()).await;
        match committed {
            Ok(()) => self.scheduler.agent_changed(found).await,
            Err(_) => self.scheduler.doubt(),
        }
        Ok(committed?)
    }
}

async fn heard(
    scheduler: &Scheduler,
    agent: &AgentId,
    link: &mpsc::UnboundedSender<ToAgent>,
    message: ToMaster,
) -> Result<(), Error> {
    match message {
        ToMaster::Started { allocation } => scheduler.started(agent, allocation.task).await,
        ToMaster::Exited { allocation, exit, log_bytes } => {
            let answer = match scheduler.exited(agent, allocation.task, exit, log_bytes).await? {
                Ok(()) => ToAgent::Forget { allocation },
                Err(offset) => ToAgent::LogsReceived { allocation, offset },
            };
            let _ = link.send(answer);
            Ok(())
        }
        ToMaster::Hello { .. } | ToMaster::Register(_) => {
            Err(Error::Invalid("the agent is already registered".to_owned()))
        }
    }
}

fn service_facts(agent: &store::agent::Agent) -> serde_json::Value {
    serde_json::json!({
        "enabled": agent.enabled,
        "draining": agent.draining,
        "disabledSlots": agent.disabled_slots,
    })
}

fn key(base64: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = STANDARD.decode(base64).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}
