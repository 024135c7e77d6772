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

row!(AgentRow {
    id: String,
    public_key: String,
    enabled: bool,
    draining: bool,
    disabled_slots: String,
    enrolled_at: i64,
    revoked_at: Option<i64>,
    last_seen_at: Option<i64>,
    last_address: Option<String>,
});

fn from_row(row: AgentRow) -> Result<Agent, StoreError> {
    let corrupt = |what: String| StoreError::Corrupt(format!("agents: {what}"));
    Ok(Agent {
        id: row.id.parse().map_err(|e| corrupt(format!("{e}")))?,
        public_key: row.public_key,
        enabled: row.enabled,
        draining: row.draining,
        disabled_slots: serde_json::from_str(&row.disabled_slots).map_err(|e| corrupt(format!("{e}")))?,
        enrolled_at: Timestamp(row.enrolled_at),
        revoked_at: row.revoked_at.map(Timestamp),
        last_seen_at: row.last_seen_at.map(Timestamp),
        last_address: row.last_address,
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

/// Gives an enrolled agent another key; one that was shut out is let in again by it.
///
/// # Errors
/// [`StoreError::Duplicate`] when the key is another agent's.
pub async fn set_key(tx: &mut Tx, id: &AgentId, public_key: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE agents SET public_key = $2, enrolled_at = $3, revoked_at = NULL WHERE id = $1";
    let affected = on!(tx, |c| {
        let query = sqlx::query(sql).bind(id.as_str()).bind(public_key).bind(now.0);
        query.execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an agent", affected)
}

/// Shuts an agent out.
///
/// # Errors
/// See [`StoreError`].
pub async fn revoke(tx: &mut Tx, id: &AgentId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE agents SET revoked_at = $2 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.as_str()).bind(now.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an agent", affected)
}

/// A key is refused from now on.
///
/// # Errors
/// See [`StoreError`].
pub async fn refuse_key(tx: &mut Tx, key: &str, agent: &AgentId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO revoked_agent_keys (public_key, agent_id, revoked_at) VALUES ($1, $2, $3)
               ON CONFLICT (public_key) DO NOTHING";
    on!(tx, |c| { sqlx::query(sql).bind(key).bind(agent.as_str()).bind(now.0).execute(c).await.map(drop) })?;
    Ok(())
}

/// Whether a key is refused.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_refused(conn: &mut Conn, key: &str) -> Result<bool, StoreError> {
    let sql = "SELECT agent_id FROM revoked_agent_keys WHERE public_key = $1";
    let row: Option<(String,)> = on!(conn, |c| sqlx::query_as(sql).bind(key).fetch_optional(c).await)?;
    Ok(row.is_some())
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
    let sql = "UPDATE agents SET last_seen_at = $2, last_address = COALESCE($3, last_address) WHERE id = $1";
    let affected = on!(tx, |c| {
        let query = sqlx::query(sql).bind(id.as_str()).bind(now.0).bind(address.map(str::to_owned));
        query.execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an agent", affected)
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
    /// It may give that name another key.
    pub replaces: bool,
    /// The key that was enrolled with it: it is used up for all others.
    pub used_by_key: Option<String>,
    /// Who invited; `None` is Muster itself.
    pub by: Option<UserId>,
    /// When it lapses.
    pub expires_at: Timestamp,
}

row!(InvitationRow {
    agent_id: Option<String>,
    replaces: bool,
    used_by_key: Option<String>,
    invited_by: Option<i64>,
    expires_at: i64,
});

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
    let sql = "INSERT INTO invitations (token_hash, agent_id, replaces, invited_by, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(token_hash)
            .bind(agent.map(|a| a.as_str().to_owned()))
            .bind(replaces)
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
    let sql = "SELECT agent_id, replaces, used_by_key, invited_by, expires_at FROM invitations
               WHERE token_hash = $1";
    let row: Option<InvitationRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(token_hash).fetch_optional(c).await)?;
    let Some(row) = row else { return Ok(None) };
    let agent = row.agent_id.as_deref().map(str::parse).transpose();
    let agent = agent.map_err(|e| StoreError::Corrupt(format!("invitations: {e}")))?;
    let expires_at = Timestamp(row.expires_at);
    let InvitationRow { replaces, used_by_key, .. } = row;
    let by = row.invited_by.map(UserId);
    Ok(Some(Invitation { agent, replaces, used_by_key, by, expires_at }))
}

/// Takes back what invites under a name, and wasn't used.
///
/// # Errors
/// See [`StoreError`].
pub async fn withdraw_invitations(tx: &mut Tx, agent: &AgentId) -> Result<(), StoreError> {
    let sql = "DELETE FROM invitations WHERE agent_id = $1 AND used_by_key IS NULL";
    on!(tx, |c| sqlx::query(sql).bind(agent.as_str()).execute(c).await.map(drop))?;
    Ok(())
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
