//! Logging in and out, accounts.

use serde_json::Value;

use super::{Client, Result, encoded, query};
use crate::auth::{ListSessions, Login, LoginResponse, Session};
use crate::user::{CreateUser, ListUsers, Me, PatchUser, User, UserResponse};

/// Rows asked for at once.
const PAGE: i64 = 1000;

impl Client {
    /// Starts a session. `hashed` is the client-side transform of the password; empty for a blank one. `device` is what the
    /// last login answered as that, or empty; `None` asks for none.
    ///
    /// # Errors
    /// 401 for a wrong name or password, 403 for a deactivated account.
    pub async fn login(&self, username: &str, hashed: &str, device: Option<String>) -> Result<LoginResponse> {
        let login = Login {
            username: Some(username.to_owned()),
            password: Some(hashed.to_owned()),
            is_hashed: Some(true),
            device,
        };
        self.post("/api/v1/auth/login", &login).await
    }

    /// Ends the session of this client's token.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn logout(&self) -> Result<()> {
        self.post::<_, Value>("/api/v1/auth/logout", &()).await.map(drop)
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn me(&self) -> Result<Me> {
        self.get("/api/v1/me").await
    }

    /// All accounts, or only the active or inactive ones.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn users(&self, active: Option<bool>) -> Result<Vec<User>> {
        let mut users = Vec::new();
        loop {
            let mut parameters = vec![("offset", users.len().to_string()), ("limit", PAGE.to_string())];
            parameters.extend(active.map(|active| ("active", active.to_string())));
            let page: ListUsers = self.get(&format!("/api/v1/users{}", query(parameters))).await?;
            let last = page.users.is_empty() || page.pagination.end_index >= page.pagination.total;
            users.extend(page.users);
            if last {
                return Ok(users);
            }
        }
    }

    /// An account's sessions, newest first.
    ///
    /// # Errors
    /// 403 when they are somebody else's.
    pub async fn sessions(&self, user: i64) -> Result<Vec<Session>> {
        let answer: ListSessions = self.get(&format!("/api/v1/users/{user}/sessions")).await?;
        Ok(answer.sessions)
    }

    /// Ends a session, wherever its token is.
    ///
    /// # Errors
    /// 404 when there is none, or it is somebody else's.
    pub async fn end_session(&self, id: i64) -> Result<()> {
        self.delete::<Value>(&format!("/api/v1/sessions/{id}")).await.map(drop)
    }

    /// The account of that name.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn user_by_name(&self, username: &str) -> Result<User> {
        let path = format!("/api/v1/users/{}/by-username", encoded(username));
        self.get::<UserResponse>(&path).await.map(|answer| answer.user)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn create_user(&self, new: &CreateUser) -> Result<User> {
        self.post::<_, UserResponse>("/api/v1/users", new).await.map(|answer| answer.user)
    }

    /// Changes an account: what is absent stays.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn patch_user(&self, id: i64, change: &PatchUser) -> Result<User> {
        let path = format!("/api/v1/users/{id}");
        self.patch::<_, UserResponse>(&path, change).await.map(|answer| answer.user)
    }
}
