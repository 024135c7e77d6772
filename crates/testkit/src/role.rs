//! Who sends requests: nobody, an account with a session, a running task.

use api::agent::Start;
use serde_json::{Value, json};

use crate::http::{Http, Requests};

/// Somebody without credentials.
#[derive(Debug, Clone)]
pub struct Anon(pub(crate) Http);

impl Requests for Anon {
    fn http(&self) -> &Http {
        &self.0
    }
}

impl Anon {
    /// Sends a login.
    pub async fn log_in(&self, username: &str, password: &str) -> crate::Response {
        let body = json!({"username": username, "password": password});
        self.post("/api/v1/auth/login").json(body).await
    }
}

/// An account with a session.
#[derive(Debug, Clone)]
pub struct User {
    http: Http,
    /// The account.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The session's token.
    pub token: String,
}

impl Requests for User {
    fn http(&self) -> &Http {
        &self.http
    }
}

impl User {
    pub(crate) fn new(http: &Http, id: i64, name: &str, token: &str) -> Self {
        Self {
            http: http.with("authorization", &format!("Bearer {token}")),
            id,
            name: name.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The account's own path.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/api/v1/users/{}", self.id)
    }

    /// The same session in a browser: a cookie in place of the header.
    #[must_use]
    pub fn in_browser(&self) -> Anon {
        let http = Http::new(self.http.base());
        Anon(http.with("cookie", &format!("auth={}", self.token)))
    }

    /// The same account by a fresh access token in place of the session, and the token's id. `new` is the request.
    pub async fn by_token(&self, new: Value) -> (Self, i64) {
        let made = self.post("/api/v1/tokens").json(new).await.ok();
        let token = made["token"].as_str().expect("a token");
        let info = &made["tokenInfo"];
        let (id, name) =
            (info["userId"].as_i64().expect("an id"), info["username"].as_str().expect("a name"));
        let holder = Self::new(&Http::new(self.http.base()), id, name, token);
        (holder, made["tokenId"].as_i64().expect("an id"))
    }

    /// Starts a command and gives its id.
    pub async fn run(&self, config: Value) -> String {
        let body = json!({ "config": config });
        let answer = self.post("/api/v1/commands").json(body).await.ok();
        answer["command"]["id"].as_str().expect("an id").to_owned()
    }

    /// Starts `true`.
    pub async fn run_true(&self) -> String {
        self.run(json!({"entrypoint": ["true"]})).await
    }

    /// The command as it is now.
    pub async fn command(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/commands/{id}")).await.ok();
        answer["command"].clone()
    }

    /// The command's log, as it comes.
    pub async fn follow(&self, id: &str) -> crate::log::Stream {
        let path = format!("/api/v1/tasks/{id}/logs?follow=true");
        self.get(&path).stream().await
    }

    /// The texts of the command's log lines up to now.
    pub async fn log(&self, id: &str) -> Vec<String> {
        let path = format!("/api/v1/tasks/{id}/logs");
        self.get(&path).stream().await.rest().await
    }
}

/// A running task with its own token.
#[derive(Debug, Clone)]
pub struct Task {
    http: Http,
    /// What its agent was told.
    pub start: Start,
}

impl Requests for Task {
    fn http(&self) -> &Http {
        &self.http
    }
}

impl Task {
    pub(crate) fn new(http: &Http, start: Start) -> Self {
        let value = format!("Bearer {}", start.token);
        Self { http: http.with("grpc-metadata-x-allocation-token", &value), start }
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> String {
        self.start.allocation.task.to_string()
    }

    /// A variable of its environment; the last one of that name counts.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        let mut all = self.start.env.iter().rev();
        all.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
