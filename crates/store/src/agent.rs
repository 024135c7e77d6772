//! Enrolled agents and the invitations that let new ones in (R28).

use domain::id::{AgentId, UserId};
use domain::time::Timestamp;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx};

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// Its Ed25519 public key, base64.
    pub public_key: String,
    /// Takes new tasks.
    pub enabled: bool,
    /// Takes none, but ends none either.
    pub draining: bool,
    /// Slots that take no tasks.
    pub disabled_slots: Vec<u32>,
}

row!(AgentRow { id: String, public_key: String, enabled: bool, draining: bool, disabled_slots: String });

fn from_row(row: AgentRow) -> Result<Agent, StoreError> {
    let corrupt = |what: String| StoreError::Corrupt(format!("agents: {what}"));
    Ok(Agent {
        id: row.id.parse().map_err(|e| corrupt(format!("{e}")))?,
        public_key: row.public_key,
        enabled: row.enabled,
        draining: row.draining,
        disabled_slots: serde_json::from_str(&row.disabled_slots).map_err(|e| corrupt(format!("{e}")))?,
    })
}

/// Enrols an agent.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name or the key is taken.
pub async fn insert(tx: &mut Tx, id: &AgentId, public_key: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO agents (id, public_key, enabled, draining, disabled_slots, enrolled_at)
               VALUES ($1, $2, $3, $4, '[]', $5)";
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(id.as_str())
            .bind(public_key)
            .bind(true)
            .bind(false)
            .bind(now.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// One agent.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    let sql = "SELECT * FROM agents WHERE id = $1";
    let row: Option<AgentRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.as_str()).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// All agents, by name.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn) -> Result<Vec<Agent>, StoreError> {
    let sql = "SELECT * FROM agents ORDER BY id";
    let rows: Vec<AgentRow> = on!(conn, |c| sqlx::query_as(sql).fetch_all(c).await)?;
    rows.into_iter().map(from_row).collect()
}

/// Writes whether an agent and its slots take tasks.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_service(tx: &mut Tx, agent: &Agent) -> Result<(), StoreError> {
    let slots = serde_json::json!(agent.disabled_slots).to_string();
    let sql = "UPDATE agents SET enabled = $2, draining = $3, disabled_slots = $4 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(agent.id.as_str())
            .bind(agent.enabled)
            .bind(agent.draining)
            .bind(slots)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    one_row("an agent", affected)
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The only name that may use it.
    pub agent: Option<AgentId>,
    /// The key that was enrolled with it: it is used up for all others.
    pub used_by_key: Option<String>,
    /// When it lapses.
    pub expires_at: Timestamp,
}

row!(InvitationRow { agent_id: Option<String>, used_by_key: Option<String>, expires_at: i64 });

/// Keeps an invitation.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert_invitation(
    tx: &mut Tx,
    token_hash: &str,
    agent: Option<&AgentId>,
    by: Option<UserId>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO invitations (token_hash, agent_id, invited_by, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5)";
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(token_hash)
            .bind(agent.map(|a| a.as_str().to_owned()))
            .bind(by.map(|id| id.0))
            .bind(now.0)
            .bind(expires_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// The invitation with this digest.
///
/// # Errors
/// See [`StoreError`].
pub async fn invitation(conn: &mut Conn, token_hash: &str) -> Result<Option<Invitation>, StoreError> {
    let sql = "SELECT agent_id, used_by_key, expires_at FROM invitations WHERE token_hash = $1";
    let row: Option<InvitationRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(token_hash).fetch_optional(c).await)?;
    let Some(row) = row else { return Ok(None) };
    let agent = row.agent_id.map(|id| id.parse()).transpose();
    let agent = agent.map_err(|e| StoreError::Corrupt(format!("invitations: {e}")))?;
    let expires_at = Timestamp(row.expires_at);
    Ok(Some(Invitation { agent, used_by_key: row.used_by_key, expires_at }))
}

/// Uses an invitation up.
///
/// # Errors
/// See [`StoreError`].
pub async fn use_invitation(tx: &mut Tx, token_hash: &str, key: &str) -> Result<(), StoreError> {
    let sql = "UPDATE invitations SET used_by_key = $2 WHERE token_hash = $1 AND used_by_key IS NULL";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(token_hash).bind(key).execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an invitation", affected)
}
