//! Enrolled agents and the invitations that let new ones in (R28).

use domain::id::{AgentId, UserId};
use domain::time::Timestamp;

use crate::cells::Json;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Conn, StoreError, Tx};

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// Its public key, base64.
    pub public_key: String,
    /// Takes new tasks.
    pub enabled: bool,
    /// Takes none, but ends none either.
    pub draining: bool,
    /// Slots that take no tasks.
    pub disabled_slots: Vec<u32>,
    /// When this key was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was shut out.
    pub revoked_at: Option<Timestamp>,
    /// When it last came or left.
    pub last_seen_at: Option<Timestamp>,
    /// From where.
    pub last_address: Option<String>,
}

table! {
    agents a => Agent {
        id, public_key, enabled, draining, disabled_slots as Json, enrolled_at, revoked_at, last_seen_at,
        last_address,
    }
}

/// Enrols an agent.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name or the key is taken.
pub async fn insert(tx: &mut Tx, id: &AgentId, public_key: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO agents (id, public_key, enabled, draining, disabled_slots, enrolled_at)
               VALUES (?, ?, ?, ?, '[]', ?)";
    sql!(sql, id, public_key, true, false, now).run(tx).await.map(drop)
}

/// Gives an enrolled agent another key; one that was shut out is let in again by it.
///
/// # Errors
/// [`StoreError::Duplicate`] when the key is another agent's.
pub async fn set_key(tx: &mut Tx, id: &AgentId, public_key: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE agents SET public_key = ?, enrolled_at = ?, revoked_at = NULL WHERE id = ?";
    sql!(sql, public_key, now, id).run_once(tx, "an agent").await
}

/// Shuts an agent out.
///
/// # Errors
/// See [`StoreError`].
pub async fn revoke(tx: &mut Tx, id: &AgentId, now: Timestamp) -> Result<(), StoreError> {
    sql!("UPDATE agents SET revoked_at = ? WHERE id = ?", now, id).run_once(tx, "an agent").await
}

/// A key is refused from now on.
///
/// # Errors
/// See [`StoreError`].
pub async fn refuse_key(tx: &mut Tx, key: &str, agent: &AgentId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO revoked_agent_keys (public_key, agent_id, revoked_at) VALUES (?, ?, ?)
               ON CONFLICT (public_key) DO NOTHING";
    sql!(sql, key, agent, now).run(tx).await.map(drop)
}

/// Whether a key is refused.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_refused(conn: &mut Conn, key: &str) -> Result<bool, StoreError> {
    sql!("SELECT agent_id FROM revoked_agent_keys WHERE public_key = ?", key).exists(conn).await
}

/// An agent came or left.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_seen(
    tx: &mut Tx,
    id: &AgentId,
    address: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE agents SET last_seen_at = ?, last_address = COALESCE(?, last_address) WHERE id = ?";
    sql!(sql, now, address, id).run_once(tx, "an agent").await
}

/// One agent.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    Agent::select(sql!("a.id = ?", id)).first(conn).await
}

/// All agents, by name.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn) -> Result<Vec<Agent>, StoreError> {
    Agent::select(Sql::default()).with(" ORDER BY a.id").all(conn).await
}

/// Writes whether an agent and its slots take tasks.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_service(tx: &mut Tx, agent: &Agent) -> Result<(), StoreError> {
    let slots = serde_json::json!(agent.disabled_slots).to_string();
    let sql = "UPDATE agents SET enabled = ?, draining = ?, disabled_slots = ? WHERE id = ?";
    sql!(sql, agent.enabled, agent.draining, slots, agent.id).run_once(tx, "an agent").await
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The only name that may use it.
    pub agent: Option<AgentId>,
    /// It may give that name another key.
    pub replaces: bool,
    /// The key that was enrolled with it: it is used up for all others.
    pub used_by_key: Option<String>,
    /// Who invited; `None` is Muster itself.
    pub by: Option<UserId>,
    /// When it lapses.
    pub expires_at: Timestamp,
}

table! {
    invitations i => Invitation {
        agent: [agent_id], replaces, used_by_key, by: [invited_by], expires_at,
    }
}

/// Keeps an invitation.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert_invitation(
    tx: &mut Tx,
    token_hash: &str,
    (agent, replaces): (Option<&AgentId>, bool),
    by: Option<UserId>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let invitation = Invitation { agent: agent.cloned(), replaces, used_by_key: None, by, expires_at };
    invitation.insert(tx, &[("token_hash", token_hash.value()), ("created_at", now.value())]).await
}

/// The invitation with this digest.
///
/// # Errors
/// See [`StoreError`].
pub async fn invitation(conn: &mut Conn, token_hash: &str) -> Result<Option<Invitation>, StoreError> {
    Invitation::select(sql!("i.token_hash = ?", token_hash)).first(conn).await
}

/// Takes back what invites under a name, and wasn't used.
///
/// # Errors
/// See [`StoreError`].
pub async fn withdraw_invitations(tx: &mut Tx, agent: &AgentId) -> Result<(), StoreError> {
    let sql = "DELETE FROM invitations WHERE agent_id = ? AND used_by_key IS NULL";
    sql!(sql, agent).run(tx).await.map(drop)
}

/// Uses an invitation up.
///
/// # Errors
/// See [`StoreError`].
pub async fn use_invitation(tx: &mut Tx, token_hash: &str, key: &str) -> Result<(), StoreError> {
    let sql = "UPDATE invitations SET used_by_key = ? WHERE token_hash = ? AND used_by_key IS NULL";
    sql!(sql, key, token_hash).run_once(tx, "an invitation").await
}
