//! Asking to be let in, deciding, inviting; and taking accounts away.

use serde_json::Value;

use super::{Client, Result, encoded, query};
use crate::registration::{
    Invitation, Invite, Invited, ListInvitations, ListRegistrations, Register, Registered, Registration,
};

/// Rows asked for at once.
const PAGE: i64 = 1000;

impl Client {
    /// Asks for an account; no token is needed.
    ///
    /// # Errors
    /// 403 when registration is closed or the invitation isn't good, 409 for a name that is taken, 429 when too many ask.
    pub async fn register(&self, wish: &Register) -> Result<Registered> {
        self.post("/api/v1/users/register", wish).await
    }

    /// Who asked, newest first; in one state or in all.
    ///
    /// # Errors
    /// 403 for all but administrators.
    pub async fn registrations(&self, state: Option<&str>) -> Result<Vec<Registration>> {
        let mut all = Vec::new();
        loop {
            let mut parameters = vec![("offset", all.len().to_string()), ("limit", PAGE.to_string())];
            parameters.extend(state.map(|state| ("state", state.to_owned())));
            let page: ListRegistrations =
                self.get(&format!("/api/v1/registrations{}", query(parameters))).await?;
            let last = page.registrations.is_empty() || page.pagination.end_index >= page.pagination.total;
            all.extend(page.registrations);
            if last {
                return Ok(all);
            }
        }
    }

    /// Turns away who registered under that name.
    ///
    /// # Errors
    /// 404 when there is none, 400 when the account was let in.
    pub async fn reject_registration(&self, username: &str) -> Result<()> {
        let path = format!("/api/v1/registrations/{}/reject", encoded(username));
        self.post::<_, Value>(&path, &()).await.map(drop)
    }

    /// Makes an invitation.
    ///
    /// # Errors
    /// 403 for all but administrators.
    pub async fn invite_user(&self, invite: &Invite) -> Result<Invited> {
        self.post("/api/v1/invitations", invite).await
    }

    /// The invitations, newest first.
    ///
    /// # Errors
    /// 403 for all but administrators.
    pub async fn invitations(&self) -> Result<Vec<Invitation>> {
        let mut all = Vec::new();
        loop {
            let parameters = [("offset", all.len().to_string()), ("limit", PAGE.to_string())];
            let page: ListInvitations =
                self.get(&format!("/api/v1/invitations{}", query(parameters))).await?;
            let last = page.invitations.is_empty() || page.pagination.end_index >= page.pagination.total;
            all.extend(page.invitations);
            if last {
                return Ok(all);
            }
        }
    }

    /// Takes an account away for good; what it made goes to `assets_to`, or stays with its name.
    ///
    /// # Errors
    /// 400 while tasks of it are alive, and for accounts that have to stay.
    pub async fn delete_user(&self, id: i64, assets_to: Option<i64>) -> Result<()> {
        let query = query(assets_to.map(|to| ("assetsTo", to.to_string())));
        self.delete::<Value>(&format!("/api/v1/users/{id}{query}")).await.map(drop)
    }
}
