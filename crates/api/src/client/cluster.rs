//! The installation: versions, configuration, agents.

use futures_util::StreamExt as _;
use serde_json::Value;

use super::{Client, ClientError, Result, encoded, query};
use crate::cluster::{Info, Invitation, InviteAgent, ListAgents};
use crate::log::StreamItem;
use crate::master_log::{
    FieldMask, LogChange, MasterConfigChange, MasterLogEntry, MasterLogs, PatchMasterConfig,
};

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

    /// The same for one slot.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_slot_enabled(&self, agent: &str, slot: u32, enabled: bool) -> Result<()> {
        let verb = if enabled { "enable" } else { "disable" };
        let path = format!("/api/v1/agents/{}/slots/{slot}/{verb}", encoded(agent));
        self.post::<_, Value>(&path, &()).await.map(drop)
    }

    /// What the master says in its log, lines of JSON handed on as they come; `tail` is the last so many of those that
    /// are kept.
    ///
    /// # Errors
    /// 403 for everybody but administrators; what `line` answers.
    pub async fn master_log<E: From<ClientError>>(
        &self,
        follow: bool,
        tail: Option<u32>,
        mut line: impl FnMut(MasterLogEntry) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut parameters = vec![("follow", follow.to_string())];
        parameters.extend(tail.map(|tail| ("offset", format!("-{tail}"))));
        let path = format!("/api/v1/master/logs{}", query(parameters));
        let mut pieces = self.open_stream(&path).await?.bytes_stream();
        let mut unread = Vec::new();
        while let Some(piece) = pieces.next().await {
            unread.extend_from_slice(&piece.map_err(|e| ClientError::unreachable(self.address(), &e))?);
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let one: Vec<u8> = unread.drain(..=end).collect();
                let read = serde_json::from_slice::<StreamItem<MasterLogs>>(&one);
                line(read.map_err(|e| ClientError::unexpected(&path, e))?.result.log_entry)?;
            }
        }
        Ok(())
    }

    /// Has the master say more or less in its log.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn change_master_log(&self, log: &LogChange) -> Result<()> {
        let level = log.level.as_ref().map(|_| "log.level".to_owned());
        let color = log.color.map(|_| "log.color".to_owned());
        let body = PatchMasterConfig {
            config: Some(MasterConfigChange { log: Some(log.clone()) }),
            field_mask: Some(FieldMask { paths: level.into_iter().chain(color).collect() }),
        };
        self.patch::<_, Value>("/api/v1/master/config", &body).await.map(drop)
    }
}
