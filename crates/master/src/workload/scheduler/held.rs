//! Whether what waits may still start: a task that its owner couldn't start now waits, and its log says why (A14, W17).

use std::sync::Arc;

use domain::authz::StartTask;
use domain::hash::{IdMap, IdSet};
use domain::id::{AllocationId, UserId, WorkspaceId};
use domain::identity::{self, UnixIdentity};
use domain::scheduler::{OWNER_DEACTIVATED, OWNER_SHUT_OUT, WORKSPACE_ARCHIVED, Waiting};
use store::Conn;

use super::tasks::{Pair, Wants};
use crate::Error;

/// As whom tasks of an account run in a workspace now, or why they don't.
type Answer = Result<UnixIdentity, String>;

fn why(answer: &Answer, runs_as: &UnixIdentity) -> Option<String> {
    match answer {
        Ok(now) if now == runs_as => None,
        Ok(now) => Some(format!(
            "it was made to run as {runs_as}, and its owner's tasks there run as {now} now: kill it and start it again",
        )),
        Err(reason) => Some(reason.clone()),
    }
}

/// So many answers of before are asked for again in one round, when rights have changed.
const AT_ONCE: usize = 256;

/// What was answered in the rounds before. It is as old as that for a moment, when somebody has tasks waiting in thousands of
/// workspaces and all of it would make everybody wait (MC8); before anything starts, it is asked again in any case ([`Rules`]).
#[derive(Default)]
pub(super) struct Memory(IdMap<Pair, (u64, Answer)>);

impl Memory {
    /// Asks what isn't known of these, and of what is older than this generation of rights the oldest. Tells whether all of it
    /// is as it is now.
    pub(super) async fn refresh(
        &mut self,
        conn: &mut Conn,
        default: &UnixIdentity,
        generation: u64,
        pairs: impl Iterator<Item = Pair>,
    ) -> Result<bool, Error> {
        let pairs: IdSet<Pair> = pairs.collect();
        self.0.retain(|pair, _| pairs.contains(pair));
        let (mut unknown, mut old) = (Vec::new(), Vec::new());
        for pair in pairs {
            match self.0.get(&pair) {
                None => unknown.push(pair),
                Some((at, _)) if *at == generation => {}
                Some((at, _)) => old.push((*at, pair)),
            }
        }
        old.sort_unstable();
        let is_whole = old.len() <= AT_ONCE;
        let old = old.into_iter().map(|(_, pair)| pair).take(AT_ONCE);
        for pair in unknown.into_iter().chain(old) {
            self.0.insert(pair, (generation, ask(default, conn, pair).await?));
        }
        Ok(is_whole)
    }

    /// Which of those that wait may not start, as it was answered last, and why.
    pub(super) fn held(&self, wants: &[Wants], waiting: &[Arc<Waiting>]) -> IdMap<AllocationId, String> {
        let mut held: IdMap<Pair, Vec<(&UnixIdentity, String)>> = IdMap::default();
        for Wants { owner, workspace, identity } in wants {
            let pair = (*owner, *workspace);
            if let Some(why) = self.0.get(&pair).and_then(|(_, answer)| why(answer, identity)) {
                held.entry(pair).or_default().push((identity, why));
            }
        }
        // Usually nobody is.
        if held.is_empty() {
            return IdMap::default();
        }
        let why = |run: &Waiting| {
            let of_pair = held.get(&(run.owner, run.workspace))?;
            let (_, why) = of_pair.iter().find(|(identity, _)| **identity == *run.identity)?;
            Some((run.allocation, why.clone()))
        };
        waiting.iter().filter_map(|run| why(run)).collect()
    }
}

/// Asks once for each account and workspace.
pub(super) struct Rules<'a> {
    default: &'a UnixIdentity,
    known: IdMap<Pair, Answer>,
}

impl<'a> Rules<'a> {
    /// `default` is the identity of accounts without one.
    pub(super) fn new(default: &'a UnixIdentity) -> Self {
        Self { default, known: IdMap::default() }
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
            let answer = ask(self.default, conn, key).await?;
            self.known.insert(key, answer);
        }
        Ok(self.known.get(&key).and_then(|answer| why(answer, runs_as)))
    }
}

async fn ask(default: &UnixIdentity, conn: &mut Conn, (owner, place): Pair) -> Result<Answer, Error> {
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
    let identity = identity::effective(user.identity.as_ref(), &workspace.identity, default);
    Ok(identity.map_err(|e| format!("the Unix identity of its workspace: {e}")))
}
