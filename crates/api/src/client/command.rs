//! Commands, tasks and their log lines.

use domain::id::TaskIdPrefix;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Client, ClientError, Result, encoded, query};
use crate::command::{
    Command, CommandResponse, GetCommand, LaunchCommand, LaunchCommandResponse, ListCommands, ListTasks,
    SetPriority,
};
use crate::log::{LogEntry, StreamItem};

/// Rows asked for at once.
const PAGE: i64 = 1000;

/// Which lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excerpt {
    /// This many from the beginning.
    Head(u64),
    /// This many from the end.
    Tail(u64),
}

impl Client {
    /// Starts a command. `sent` hears how many bytes of how many are on their way.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn launch_command(
        &self,
        launch: &LaunchCommand,
        mut sent: impl FnMut(usize, usize) + Send + 'static,
    ) -> Result<LaunchCommandResponse> {
        let path = "/api/v1/commands";
        let json = serde_json::to_vec(launch).map_err(|e| ClientError::unexpected(path, e))?;
        let total = json.len();
        self.upload(path, json.into(), move |now| sent(now, total)).await
    }

    /// Commands, oldest first: those of `users`, or everyone's when that is empty; all, or those in one workspace.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn commands(&self, users: &[&str], workspace: Option<i64>) -> Result<Vec<Command>> {
        let users = users.iter().map(|user| ("users", (*user).to_owned()));
        let workspace = workspace.map(|id| ("workspaceId", id.to_string()));
        self.list_commands(users.chain(workspace).collect()).await
    }

    /// Commands whose id begins with `prefix`.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn commands_by_prefix(&self, prefix: &str) -> Result<Vec<Command>> {
        // What can't begin an id begins none.
        let Ok(prefix) = prefix.parse::<TaskIdPrefix>() else { return Ok(Vec::new()) };
        self.list_commands(vec![("idPrefix", prefix.as_str().to_owned())]).await
    }

    async fn list_commands(&self, filter: Vec<(&str, String)>) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        loop {
            let mut parameters = vec![
                ("offset", commands.len().to_string()),
                ("limit", PAGE.to_string()),
                ("orderBy", "ORDER_BY_ASC".to_owned()),
            ];
            parameters.extend(filter.iter().cloned());
            let page: ListCommands = self.get(&format!("/api/v1/commands{}", query(parameters))).await?;
            let last = page.commands.is_empty() || page.pagination.end_index >= page.pagination.total;
            commands.extend(page.commands);
            if last {
                return Ok(commands);
            }
        }
    }

    /// One command and its configuration.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn command(&self, id: &str) -> Result<GetCommand> {
        self.get(&format!("/api/v1/commands/{}", encoded(id))).await
    }

    /// Ends a command. Ending an ended one is no error.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn kill_command(&self, id: &str) -> Result<Command> {
        let path = format!("/api/v1/commands/{}/kill", encoded(id));
        self.post::<_, CommandResponse>(&path, &()).await.map(|answer| answer.command)
    }

    /// Moves a command in the queue; lower comes first.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_command_priority(&self, id: &str, priority: i64) -> Result<()> {
        let body = SetPriority { priority: Some(priority) };
        let path = format!("/api/v1/commands/{}/set_priority", encoded(id));
        self.post::<_, Value>(&path, &body).await.map(drop)
    }

    /// Running tasks.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn tasks(&self) -> Result<ListTasks> {
        self.get("/api/v1/tasks").await
    }

    /// Lines of a task's log, in its order.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn log_excerpt(&self, task: &str, excerpt: Excerpt) -> Result<Vec<LogEntry>> {
        let (limit, order) = match excerpt {
            Excerpt::Head(limit) => (limit, "ORDER_BY_ASC"),
            Excerpt::Tail(limit) => (limit, "ORDER_BY_DESC"),
        };
        if limit == 0 {
            return Ok(Vec::new());
        }
        let parameters = [("limit", limit.to_string()), ("orderBy", order.to_owned())];
        let path = format!("/api/v1/tasks/{}/logs{}", encoded(task), query(parameters));
        let mut entries = self.items(&path).await?;
        if let Excerpt::Tail(_) = excerpt {
            entries.reverse();
        }
        Ok(entries)
    }

    /// A finite stream of one JSON object per line.
    async fn items<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let response = self.respond(self.request(reqwest::Method::GET, path)).await?;
        let body = response.bytes().await.map_err(|e| ClientError::unreachable(self.address(), &e))?;
        body.split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| match serde_json::from_slice::<StreamItem<T>>(line) {
                Ok(item) => Ok(item.result),
                Err(error) => Err(ClientError::unexpected(path, error)),
            })
            .collect()
    }
}
