//! The installation: versions, configuration, workspaces, agents.

use serde_json::Value;

use super::{Client, Result, encoded, query};
use crate::cluster::{Info, Invitation, InviteAgent, ListAgents, ListWorkspaces, Workspace};

/// Rows asked for at once.
const PAGE: i64 = 1000;

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

    /// All workspaces that the caller sees.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>> {
        let mut workspaces = Vec::new();
        loop {
            let parameters = [("offset", workspaces.len().to_string()), ("limit", PAGE.to_string())];
            let page: ListWorkspaces = self.get(&format!("/api/v1/workspaces{}", query(parameters))).await?;
            let last = page.workspaces.is_empty() || page.pagination.end_index >= page.pagination.total;
            workspaces.extend(page.workspaces);
            if last {
                return Ok(workspaces);
            }
        }
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

    /// Takes an agent into service or out of it.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_agent_enabled(&self, agent: &str, enabled: bool) -> Result<()> {
        let verb = if enabled { "enable" } else { "disable" };
        let path = format!("/api/v1/agents/{}/{verb}", encoded(agent));
        self.post::<_, Value>(&path, &()).await.map(drop)
    }
}
