//! Whether what waits may still start: a task that its owner couldn't start now waits, and its log says why (A14, W17).

use std::collections::HashMap;

use domain::authz::StartTask;
use domain::id::{UserId, WorkspaceId};
use domain::identity::{self, UnixIdentity};
use domain::scheduler::{OWNER_DEACTIVATED, OWNER_SHUT_OUT, WORKSPACE_ARCHIVED};
use store::Conn;

use crate::Error;

/// As whom tasks of an account run in a workspace now, or why they don't.
type Answer = Result<UnixIdentity, String>;

/// Asks once for each account and workspace.
pub(super) struct Rules<'a> {
    default: &'a UnixIdentity,
    known: HashMap<(UserId, WorkspaceId), Answer>,
}

impl<'a> Rules<'a> {
    /// `default` is the identity of accounts without one.
    pub(super) fn new(default: &'a UnixIdentity) -> Self {
        Self { default, known: HashMap::new() }
    }

    /// Why a task of an account's that was made to run as that may not start now in a workspace; `None` when it may.
    pub(super) async fn why_held(
        &mut self,
        conn: &mut Conn,
        owner: UserId,
        workspace: WorkspaceId,
        runs_as: &UnixIdentity,
    ) -> Result<Option<String>, Error> {
        let key = (owner, workspace);
        if !self.known.contains_key(&key) {
            let answer = self.ask(conn, key).await?;
            self.known.insert(key, answer);
        }
        Ok(match self.known.get(&key) {
            Some(Ok(now)) if now == runs_as => None,
            Some(Ok(now)) => Some(format!(
                "it was made to run as {runs_as}, and its owner's tasks there run as {now} now: kill it and start it again",
            )),
            Some(Err(reason)) => Some(reason.clone()),
            None => None,
        })
    }

    async fn ask(&self, conn: &mut Conn, (owner, place): (UserId, WorkspaceId)) -> Result<Answer, Error> {
        let no = |reason: &str| Ok(Err(reason.to_owned()));
        let Some(user) = store::user::by_id(conn, owner).await?.filter(domain::user::User::is_active) else {
            return no(OWNER_DEACTIVATED);
        };
        let stands = store::workspace::place(conn, place, owner).await?;
        let workspace = store::workspace::by_id(conn, place).await?;
        let (Some(stands), Some(workspace)) = (stands, workspace) else { return no(OWNER_SHUT_OUT) };
        if !StartTask::is_still_allowed(&user, &stands) {
            return no(OWNER_SHUT_OUT);
        }
        if workspace.archived {
            return no(WORKSPACE_ARCHIVED);
        }
        let identity = identity::effective(user.identity.as_ref(), &workspace.identity, self.default);
        Ok(identity.map_err(|e| format!("the Unix identity of its workspace: {e}")))
    }
}
