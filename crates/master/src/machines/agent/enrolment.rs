//! Letting agents in: invitations, enrolment, and who may work (R28, R29). What is asked here came through the channel
//! of crate `link`, so the key in question is proved.

use std::net::IpAddr;
use std::time::Duration;

use api::agent::{Control, OLDEST_PROTOCOL, PROTOCOL};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::audit::{By, Entry, Who};
use domain::authz::{InviteAgent, ManageAgents, Permit};
use domain::id::{AgentId, AllocationId, UserId};
use domain::time::Timestamp;
use link::{Invitation, Public};
use serde_json::json;
use store::{StoreError, Tx};
use tokio_util::sync::CancellationToken;

use super::{AgentCaller, Agents};
use crate::{Error, secret};

/// How long an invitation is good.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(3600);

/// What is said to a key that was shut out.
const REVOKED: Error = Error::Unauthenticated("this agent's key was revoked, and is refused for ever");

/// What is said to a key that doesn't belong to the name.
const STRANGER: Error = Error::Unauthenticated("this agent is not enrolled here, or its key is another one");

impl Agents {
    /// Makes a one-time invitation; with a name, good for that name only. One that `replaces` may give the name another
    /// key when it is enrolled already; the old key is refused from then on.
    ///
    /// # Errors
    /// When it replaces and names nobody.
    pub async fn invite(
        &self,
        permit: Permit<InviteAgent>,
        agent: Option<AgentId>,
        replaces: bool,
    ) -> Result<(Invitation, Timestamp), Error> {
        if replaces && agent.is_none() {
            let what = "say whose key is to be replaced: an invitation that replaces needs a name";
            return Err(Error::Invalid(what.to_owned()));
        }
        let token = secret::token(self.entropy.as_ref(), "mai");
        let now = self.clock.now();
        let expires_at = now.plus(INVITATION_LIFETIME);
        let digest = secret::digest(&token);
        let mut tx = self.store.write().await?;
        let by = permit.actor();
        let whom = (agent.as_ref(), replaces);
        store::agent::insert_invitation(&mut tx, &digest, whom, by, now, expires_at).await?;
        let name = agent.as_ref().map(AgentId::as_str).unwrap_or_default();
        let entry = Entry::done(permit.by(), "agent.invite", Who::named("agent", &name, name));
        let entry = if replaces { entry.changed(json!({}), json!({ "replaces": true })) } else { entry };
        tx.commit(&entry, now).await?;
        Ok((Invitation { secret: token, master: self.key.public() }, expires_at))
    }

    /// Enrols the holder of a key under an invitation, which is then used up. Answers the master's id.
    ///
    /// # Errors
    /// When the invitation isn't good, or the name or key is taken.
    pub async fn enrol(
        &self,
        key: Public,
        protocol: u32,
        invitation: String,
        agent: AgentId,
        address: Option<IpAddr>,
    ) -> Result<String, Error> {
        understood(protocol)?;
        let agents = self.clone();
        let enrolled = async move { agents.enrol_whole(text(key), &invitation, agent, address).await };
        self.unbroken.run(enrolled).await?
    }

    async fn enrol_whole(
        &self,
        key: String,
        invitation: &str,
        agent: AgentId,
        address: Option<IpAddr>,
    ) -> Result<String, Error> {
        let refused = Error::Unauthenticated(
            "the invitation is not valid, was used, has expired, or is for another name (see --name): make a new one with `muster agent invite`",
        );
        let digest = secret::digest(invitation);
        // Who has none makes nobody wait who writes.
        let mut conn = self.store.read().await?;
        if store::agent::invitation(&mut conn, &digest).await?.is_none() {
            return Err(refused);
        }
        drop(conn);
        let mut tx = self.store.write().await?;
        let now = self.clock.now();
        let found = store::agent::invitation(&mut tx, &digest).await?;
        let good = found.filter(|invitation| now < invitation.expires_at);
        let good = good.filter(|invitation| invitation.agent.as_ref().is_none_or(|name| *name == agent));
        let Some(good) = good else { return Err(refused) };
        if !store::invitation::counts(&mut tx, good.by).await? {
            return Err(refused);
        }
        if let Some(used) = good.used_by_key {
            // The answer to the first time may have been lost on its way.
            let enrolled = store::agent::by_id(&mut tx, &agent).await?;
            let same = used == key && enrolled.is_some_and(|known| known.public_key == key);
            return if same { Ok(self.cluster.id().to_owned()) } else { Err(refused) };
        }
        if store::agent::is_refused(&mut tx, &key).await? {
            return Err(REVOKED);
        }
        store::agent::use_invitation(&mut tx, &digest, &key).await?;
        let before = store::agent::by_id(&mut tx, &agent).await?;
        // Made before the name was shut out, it meant nobody there; what named it then was taken back.
        if before.as_ref().is_some_and(|known| known.revoked_at.is_some()) && good.agent.is_none() {
            return Err(Error::Conflict(format!(
                "agent {agent} was revoked: give this one another name with --name, or let it in again by an invitation \
                 of `muster agent invite --name {agent}`"
            )));
        }
        self.take_in(&mut tx, &agent, &key, before.as_ref(), good.replaces).await?;
        let enrolled = store::agent::by_id(&mut tx, &agent).await?;
        let by = By::Agent { agent: agent.clone(), address };
        let target = Who::named("agent", &agent, agent.as_str());
        let entry = Entry::done(&by, "agent.enrol", target);
        let facts = |agent: Option<&store::agent::Agent>| json!({ "key": agent.map(fingerprint) });
        let entry = entry.changed(facts(before.as_ref()), facts(enrolled.as_ref()));
        tx.commit(&entry, now).await.inspect_err(|error| self.scheduler.doubt_after(error))?;
        if let Some(enrolled) = enrolled {
            self.scheduler.agent_enrolled(enrolled).await;
        }
        tracing::info!(%agent, "agent enrolled");
        Ok(self.cluster.id().to_owned())
    }

    /// Gives a name its key, where it may have one.
    async fn take_in(
        &self,
        tx: &mut Tx,
        agent: &AgentId,
        key: &str,
        before: Option<&store::agent::Agent>,
        replaces: bool,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let done = match before {
            None => store::agent::insert(tx, agent, key, now).await,
            Some(known) if replaces || known.revoked_at.is_some() => {
                store::agent::refuse_key(tx, &known.public_key, agent, now).await?;
                store::agent::set_key(tx, agent, key, now).await
            }
            Some(_) => {
                return Err(Error::Conflict(format!(
                    "agent {agent} is already enrolled: give this one another name with --name (the invitation is still \
                     good), or, if this machine is to take its place, use an invitation of `muster agent invite --name \
                     {agent} --replace`"
                )));
            }
        };
        done.map_err(|error| match error {
            StoreError::Duplicate => Error::Conflict("this key is another agent's".to_owned()),
            other => other.into(),
        })
    }

    /// Shuts an agent out: its connection ends now, its tasks are over, its key is refused for ever.
    ///
    /// # Errors
    /// When there is no such agent, or it is shut out already.
    pub async fn revoke(&self, permit: Permit<ManageAgents>, agent: &AgentId) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.store.write_urgent().await?;
        let found = store::agent::by_id(&mut tx, agent).await?;
        let found = found.ok_or_else(|| Error::NotFound(format!("agent '{agent}' not found")))?;
        if found.revoked_at.is_some() {
            return Err(Error::Precondition(format!("agent {agent} was revoked before")));
        }
        store::agent::refuse_key(&mut tx, &found.public_key, agent, now).await?;
        store::agent::revoke(&mut tx, agent, now).await?;
        store::agent::withdraw_invitations(&mut tx, agent).await?;
        let target = Who::named("agent", agent, agent.as_str());
        let entry = Entry::done(permit.by(), "agent.revoke", target);
        let facts = |revoked| json!({ "key": fingerprint(&found), "revoked": revoked });
        let entry = entry.changed(facts(false), facts(true));
        tx.commit(&entry, now).await.inspect_err(|error| self.scheduler.doubt_after(error))?;
        tracing::warn!(%agent, "agent revoked");
        self.scheduler.agent_revoked(store::agent::Agent { revoked_at: Some(now), ..found }).await
    }

    /// Lets the holder of a key work under its name (R28). A wrong key under a known name is refused like an unknown
    /// name (R29).
    ///
    /// # Errors
    /// When it is somebody else's name, or an agent of a version that is too old.
    pub async fn admit(&self, key: Public, control: Control) -> Result<AgentCaller, Error> {
        understood(control.protocol)?;
        self.enrolled(key, &control.agent).await?;
        let skew = control.now.0.saturating_sub(self.clock.now().0);
        let Control { agent, instance, version, .. } = control;
        Ok(AgentCaller { agent, key: text(key), instance: instance.into(), version: version.into(), skew })
    }

    /// Whether the holder of a key has a run in its hands under its name, and whose that is; what comes back is cancelled
    /// when that is over, by the run's end or because the agent was revoked.
    ///
    /// # Errors
    /// When it hasn't.
    pub async fn holds(
        &self,
        key: Public,
        agent: &AgentId,
        allocation: AllocationId,
    ) -> Result<(CancellationToken, UserId), Error> {
        self.enrolled(key, agent).await?;
        let missing = || Error::NotFound(format!("agent {agent} doesn't hold {allocation}"));
        let held = self.scheduler.held(agent, allocation).ok_or_else(missing)?;
        let mut conn = self.store.read().await?;
        let task = store::task::by_id(&mut conn, allocation.task).await?.ok_or_else(missing)?;
        Ok((held, task.owner))
    }

    async fn enrolled(&self, key: Public, agent: &AgentId) -> Result<(), Error> {
        let key = text(key);
        let mut conn = self.store.read().await?;
        if store::agent::is_refused(&mut conn, &key).await? {
            return Err(REVOKED);
        }
        let enrolled = store::agent::by_id(&mut conn, agent).await?;
        enrolled.filter(|enrolled| enrolled.public_key == key).map(drop).ok_or(STRANGER)
    }
}

/// An enrolled key's fingerprint; that of a key of a version before is its beginning.
pub(super) fn fingerprint(agent: &store::agent::Agent) -> String {
    let bytes = STANDARD.decode(&agent.public_key).ok();
    let key = bytes.and_then(|bytes| Public::from_bytes(&bytes).ok());
    key.map_or_else(|| agent.public_key.chars().take(8).collect(), |key| key.fingerprint())
}

/// A key as the database has it.
fn text(key: Public) -> String {
    STANDARD.encode(key.as_bytes())
}

/// A newer agent tells by names what it can do beyond this master's understanding, and is right for the rest.
fn understood(protocol: u32) -> Result<(), Error> {
    if protocol >= OLDEST_PROTOCOL {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the agent speaks protocol {protocol}, this master {PROTOCOL}: install the same version of Muster on both"
    )))
}
