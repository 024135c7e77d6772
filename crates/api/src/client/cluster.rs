//! The installation: versions, configuration, agents.

use serde_json::Value;

use super::{Client, Result, encoded};
use crate::cluster::{Info, Invitation, InviteAgent, ListAgents};

impl Client {
    /// What anybody may know of the installation.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn info(&self) -> Result<Info> {
        self.get("/info").await
    }

    /// The master's configuration, secrets masked.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn master_config(&self) -> Result<Value> {
        let mut answer: Value = self.get("/api/v1/master/config").await?;
        Ok(answer.get_mut("config").map(Value::take).unwrap_or(answer))
    }

    /// All agents.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn agents(&self) -> Result<ListAgents> {
        self.get("/api/v1/agents").await
    }

    /// Lets one agent enrol.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn invite_agent(&self, invite: &InviteAgent) -> Result<Invitation> {
        self.post("/api/v1/agents/invitations", invite).await
    }

    /// Shuts an agent out for ever.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn revoke_agent(&self, agent: &str) -> Result<()> {
        let path = format!("/api/v1/agents/{}/revoke", encoded(agent));
        self.post::<_, Value>(&path, &()).await.map(drop)
    }

    /// Takes an agent into service or out of it; with `drain`, what runs there goes on.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_agent_enabled(&self, agent: &str, enabled: bool, drain: bool) -> Result<()> {
        let verb = if enabled { "enable" } else { "disable" };
        let path = format!("/api/v1/agents/{}/{verb}", encoded(agent));
        self.post::<_, Value>(&path, &serde_json::json!({ "drain": drain })).await.map(drop)
    }
}
