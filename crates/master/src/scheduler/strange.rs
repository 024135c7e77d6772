//! What an agent has that this master has no record of: its database is older than that, for a back-up of it was restored
//! (P2). Who has lost their memory has nothing deleted, and says so.

use std::collections::BTreeSet;

use api::agent::ToAgent;
use domain::audit::{By, Entry, Who};
use domain::id::{AgentId, AllocationId};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Scheduler, State};
use crate::Error;

impl Scheduler {
    /// Those of an agent's runs that the database doesn't know, or not as that agent's.
    pub(super) async fn strange_runs(
        &self,
        state: &State,
        agent: &AgentId,
        held: &[AllocationId],
    ) -> Result<BTreeSet<AllocationId>, Error> {
        let mut strange = BTreeSet::new();
        let mut conn = None;
        for allocation in held {
            if let Some(live) = state.tasks.get(&allocation.task) {
                if live.task.allocation != *allocation || live.task.agent.as_ref() != Some(agent) {
                    strange.insert(*allocation);
                }
                continue;
            }
            let conn = match &mut conn {
                Some(conn) => conn,
                none => none.insert(self.0.parts.store.read().await?),
            };
            if store::task::by_id(conn, allocation.task).await?.is_none() {
                strange.insert(*allocation);
            }
        }
        Ok(strange)
    }

    /// Has the agent keep them, and says so where people look: once, however often the agent comes.
    pub(super) async fn disown(
        &self,
        state: &mut State,
        agent: &AgentId,
        strange: &BTreeSet<AllocationId>,
        link: &mpsc::UnboundedSender<ToAgent>,
    ) {
        for allocation in strange {
            let _ = link.send(ToAgent::Disown { allocation: *allocation });
        }
        let new: Vec<AllocationId> = strange.difference(&state.disowned).copied().collect();
        if new.is_empty() {
            return;
        }
        for allocation in &new {
            tracing::warn!(
                %agent, %allocation,
                "the agent has a task of which this database has no record (was a back-up restored?): it is ended there, and its \
                 directory kept in lost/ of the agent's data directory"
            );
        }
        let runs: Vec<String> = new.iter().map(ToString::to_string).collect();
        let by = By::System { reason: "tasks of which the database has no record" };
        let entry = Entry::done(&by, "agent.disown", Who::named("agent", agent, agent.as_str()));
        let noted = async {
            let tx = self.0.parts.store.write_urgent().await?;
            tx.commit(&entry.made(json!({ "runs": runs })), self.0.parts.clock.now()).await
        };
        match noted.await {
            Ok(()) => state.disowned.extend(new),
            // When it comes the next time.
            Err(error) => tracing::warn!(%agent, %error, "the audit log doesn't say so yet"),
        }
    }
}
