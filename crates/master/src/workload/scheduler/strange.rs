//! What an agent has that this master has no record of: its database is older than that, for a back-up of it was restored
//! (KP2). Who has lost their memory has nothing deleted, and says so. Runs of tasks that the database does know, and that wait
//! in it, are ended with a reason, when this agent shows that this master gave them to it, by what nobody can make up
//! ([`given`]). An agent's mere word changes nothing here: what waits goes on waiting, and the agent ends what it has (KB1).
//!
//! An agent that lies can invent such runs: how many it may name is bounded by the protocol, they are looked up together and
//! while nobody waits for the state, and all news are one entry of the audit log, of which each agent has an allowance (A5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::agent::{GIVEN, ToAgent};
use domain::allocation::{Cause, Event, Phase, Placement};
use domain::audit::{Entry, Who};
use domain::id::{AgentId, AllocationId, TaskId};
use domain::text::Plain;
use link::Secret;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Scheduler, State};
use crate::{Error, secret};

/// How often an agent can have news at once, …
const AT_ONCE: u32 = 10;
/// … and how long it takes until it can once more.
const PAUSE: Duration = Duration::from_secs(60);

/// So many runs are named in a line of the master's own log.
const NAMED: usize = 10;

/// How a task ended that waits here, and that an agent had begun.
const BEGUN: &str =
    "allocation was killed: it had begun after the back-up that the master's database was restored from";

/// By what an agent shows that the holder of the master's key gave the run to it.
pub(super) fn given(key: &Secret, agent: &AgentId, run: AllocationId) -> String {
    key.vouch(&gift(agent, run))
}

/// Neither name has a blank.
fn gift(agent: &AgentId, run: AllocationId) -> String {
    format!("run {run} was given to {agent}")
}

/// What agents were told to give up and the audit log tells of: of each agent no more than it holds.
#[derive(Debug, Default)]
pub(super) struct Disowned(BTreeMap<AgentId, Told>);

#[derive(Debug)]
struct Told {
    runs: BTreeSet<AllocationId>,
    /// When all of the allowance is there again.
    full_at: Instant,
}

impl Disowned {
    /// Those of an agent's strange runs that weren't told of yet; `None` when it comes with such too often.
    fn news(
        &mut self,
        agent: &AgentId,
        strange: &BTreeSet<AllocationId>,
        now: Instant,
    ) -> Option<Vec<AllocationId>> {
        let Some(told) = self.0.get_mut(agent) else { return Some(strange.iter().copied().collect()) };
        // What it doesn't hold any more it won't come with again.
        told.runs.retain(|run| strange.contains(run));
        let new: Vec<_> = strange.difference(&told.runs).copied().collect();
        let spent = told.full_at.saturating_duration_since(now);
        (new.is_empty() || spent + PAUSE <= PAUSE * AT_ONCE).then_some(new)
    }

    fn told(&mut self, agent: &AgentId, new: Vec<AllocationId>, now: Instant) {
        let fresh = || Told { runs: BTreeSet::new(), full_at: now };
        let told = self.0.entry(agent.clone()).or_insert_with(fresh);
        told.full_at = told.full_at.max(now) + PAUSE;
        told.runs.extend(new);
    }
}

/// An agent's runs, as they are known here.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// The database doesn't know them, or not as that agent's.
    strange: BTreeSet<AllocationId>,
    /// They wait here, and were given to the agent.
    begun: Vec<AllocationId>,
}

impl Scheduler {
    /// Those tasks of these runs that neither the memory nor the database knows. Others' work goes on meanwhile.
    pub(super) async fn unknown_tasks(&self, held: &[AllocationId]) -> Result<BTreeSet<TaskId>, Error> {
        let tasks = held.iter().map(|run| run.task).filter(|task| self.0.view.task(*task).is_none());
        let mut unknown: BTreeSet<TaskId> = tasks.collect();
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let mut conn = self.0.parts.store.read().await?;
        for known in store::task::known(&mut conn, &unknown).await? {
            unknown.remove(&known);
        }
        Ok(unknown)
    }

    /// Sorts an agent's runs out: nothing is changed yet.
    ///
    /// # Errors
    /// [`Error::TooMany`] when it comes too often with runs that nobody knows.
    pub(super) fn sort_out(
        &self,
        state: &mut State,
        agent: &AgentId,
        (held, given): (&BTreeSet<AllocationId>, &BTreeMap<AllocationId, Plain<GIVEN>>),
        unknown: &BTreeSet<TaskId>,
    ) -> Result<Sorted, Error> {
        let mut sorted = Sorted::default();
        for run in held {
            let Some(live) = state.tasks.get(&run.task) else {
                // One that was in the memory then is over since.
                if unknown.contains(&run.task) {
                    sorted.strange.insert(*run);
                }
                continue;
            };
            // A run of before, or a part, that is over: its agent may not have heard that this is known.
            let is_over = live.task.latest.has_exit(agent);
            if run.run < live.run().run || (live.run() == *run && (live.is_on(agent) || is_over)) {
                continue;
            }
            let waits = live.run() == *run && *live.phase() == Phase::Waiting;
            let proof = given.get(run).filter(|_| waits);
            if proof.is_some_and(|proof| self.0.parts.key.vouched(&gift(agent, *run), proof)) {
                sorted.begun.push(*run);
            } else {
                sorted.strange.insert(*run);
            }
        }
        let news = state.disowned.news(agent, &sorted.strange, Instant::now());
        news.map(|_| sorted).ok_or(Error::TooMany {
            what: "this agent has come with runs that the master doesn't know again and again",
            seconds: PAUSE.as_secs(),
        })
    }

    /// Has the agent keep what is strange, and says so where people look: once, however often the agent comes.
    pub(super) async fn disown(
        &self,
        state: &mut State,
        agent: &AgentId,
        sorted: &Sorted,
        link: &mpsc::UnboundedSender<ToAgent>,
    ) {
        for allocation in &sorted.strange {
            let _ = link.send(ToAgent::Disown { allocation: *allocation });
        }
        let now = Instant::now();
        let new = state.disowned.news(agent, &sorted.strange, now).unwrap_or_default();
        if new.is_empty() {
            return;
        }
        tracing::warn!(
            %agent, runs = names(&new),
            "the agent has tasks that this database has no record of giving to it (was a back-up restored?): they are ended \
             there, and their directories kept in lost/ of the agent's data directory"
        );
        let by = self.0.parts.system.by("tasks of which the database has no record");
        let entry = Entry::done(&by, "agent.disown", Who::named("agent", agent, agent.as_str()));
        let runs: Vec<String> = new.iter().map(ToString::to_string).collect();
        let noted = async {
            let tx = self.0.parts.store.write_urgent().await?;
            tx.commit(&entry.made(json!({ "runs": runs })), self.0.parts.clock.now()).await
        };
        match noted.await {
            Ok(()) => state.disowned.told(agent, new, now),
            // When it comes the next time.
            Err(error) => tracing::warn!(%agent, %error, "the audit log doesn't say so yet"),
        }
    }

    /// Ends what waits here and runs there. It can't go on: which slots it has nobody knows, and its token counts no more; and
    /// it must not begin a second time. What it prints is kept as any task's.
    pub(super) async fn end_begun(
        &self,
        state: &mut State,
        agent: &AgentId,
        sorted: &Sorted,
    ) -> Result<(), Error> {
        if sorted.begun.is_empty() {
            return Ok(());
        }
        let parts = &self.0.parts;
        let mut tx = parts.store.write_urgent().await?;
        let mut ours = Vec::new();
        for run in &sorted.begun {
            // One that nobody has.
            let digest = secret::digest(&secret::token(parts.entropy.as_ref(), "mtt"));
            let on = Placement::on(agent.clone(), Vec::new());
            if store::allocation::place(&mut tx, *run, on, &digest).await?.is_some() {
                store::task::set_asked(&mut tx, *run, Cause::Killed, None).await?;
                ours.push(*run);
            } else {
                // The database knows of a kill, or of its end.
                self.doubt();
            }
        }
        let by = parts.system.by("tasks that wait in the database and had begun");
        let entry = Entry::done(&by, "agent.end_begun", Who::named("agent", agent, agent.as_str()));
        let runs: Vec<String> = ours.iter().map(ToString::to_string).collect();
        if let Err(error) = tx.commit(&entry.made(json!({ "runs": runs })), parts.clock.now()).await {
            self.doubt();
            return Err(error.into());
        }
        tracing::warn!(
            %agent, runs = names(&ours),
            "tasks that wait in this database have begun there (was a back-up restored?): they are ended"
        );
        for run in ours {
            let Some(live) = state.tasks.get_mut(&run.task) else { continue };
            live.step(&Event::Placed(Placement::on(agent.clone(), Vec::new())));
            live.end_reason = Some(BEGUN);
            // The agent is told as of every run whose end was asked for.
            self.act_on(state, run.task, Cause::Killed, BEGUN);
        }
        Ok(())
    }
}

/// The first ones by name, the others by number.
fn names(runs: &[AllocationId]) -> String {
    let named: Vec<String> = runs.iter().take(NAMED).map(ToString::to_string).collect();
    let named = named.join(", ");
    match runs.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(from: u128, many: u128) -> BTreeSet<AllocationId> {
        (from..from + many).map(|n| AllocationId::first(TaskId(uuid::Uuid::from_u128(n)))).collect()
    }

    /// U2: who invents runs makes neither the memory nor the audit log grow.
    #[tokio::test]
    async fn a05_what_an_agent_invents_is_neither_kept_nor_told_without_a_bound() {
        let (mut disowned, now) = (Disowned::default(), Instant::now());
        let agent: AgentId = "liar".parse().expect("a name");
        let mut told = 0;
        for round in 0..50 {
            let held = runs(round * 1000, 1000);
            let Some(new) = disowned.news(&agent, &held, now) else { continue };
            assert_eq!(new.len(), 1000);
            disowned.told(&agent, new, now);
            told += 1;
        }
        assert_eq!(told, AT_ONCE);
        assert!(disowned.0[&agent].runs.len() <= 1000);
        let last = runs(9000, 1000);
        assert!(disowned.news(&agent, &last, now).is_none(), "what it came with is forgotten");
        let later = now + PAUSE;
        let new = disowned.news(&agent, &last, later).expect("once more");
        disowned.told(&agent, new, later);
        assert_eq!(disowned.news(&agent, &last, later), Some(vec![]), "once");
        assert!(disowned.news(&"other".parse().expect("a name"), &last, now).is_some());
    }
}
