//! Runs on several agents: they end together. Each part's end is stored before its agent may forget it; the first that fails
//! has the others end, and is why the run did; with the last part the run is over.

use domain::allocation::{AfterPart, Event, PartEnding, Phase, Placement};
use domain::id::{AgentId, AllocationId, TaskId};

use super::{How, Live, Scheduler, State};
use crate::Error;

impl Scheduler {
    /// A part of a run ended, as its agent says: that is written down, and what follows from it done. Answers whether the run
    /// is over with it.
    ///
    /// # Errors
    /// When the database doesn't take it; its agent says it again.
    pub(super) async fn part_exited(
        &self,
        run: AllocationId,
        agent: AgentId,
        how: How,
    ) -> Result<bool, Error> {
        let this = self.clone();
        let exited = self.change(move |state| {
            Box::pin(async move {
                let is_open = |live: &&Live| live.run() == run && live.task.latest.has_open_part(&agent);
                let Some(live) = state.tasks.get(&run.task).filter(is_open) else { return Ok(false) };
                let started = Event::Started(this.0.parts.clock.now());
                let began = how.began && matches!(live.phase(), Phase::Assigned(_));
                let ending = of_part(agent, how);
                // Those that were decided without their agents come before it.
                let exits = live.task.latest.exits.iter().chain([&ending]).cloned().collect::<Vec<_>>();
                let mut tx = this.0.parts.store.write_urgent().await?;
                if began {
                    store::allocation::advance(&mut tx, run, &started).await?;
                }
                store::allocation::note_exits(&mut tx, run, &exits).await?;
                tx.commit_unaudited("what a task does is in its own log").await?;
                if let Some(live) = state.tasks.get_mut(&run.task).filter(|_| began) {
                    live.step(&started);
                }
                this.part_over(state, run.task, ending);
                Ok(state.tasks.get(&run.task).is_some_and(|live| live.is_over.is_some()))
            })
        });
        exited.await
    }

    /// An agent has nothing any more of what it was given of a run; that is all of it, but for runs on several.
    pub(super) fn lose_part(&self, state: &mut State, id: TaskId, agent: &AgentId, how: How) {
        let placement = state.tasks.get(&id).and_then(|live| live.phase().placement());
        if placement.is_some_and(Placement::is_of_several) {
            self.part_over(state, id, of_part(agent.clone(), how));
        } else {
            self.decide_end(state, id, how);
        }
    }

    fn part_over(&self, state: &mut State, id: TaskId, ending: PartEnding) {
        let Some(live) = state.tasks.get_mut(&id) else { return };
        if live.task.latest.has_exit(&ending.agent) {
            return;
        }
        self.say(&live.log, &format!("the part on agent {} is over: {}", ending.agent, ending.reason));
        live.task.latest.exits.push(ending);
        let latest = &live.task.latest;
        match latest.after_part() {
            AfterPart::Others => {}
            // Nobody needs those that go on without one that failed. Who is away is told when it is back.
            AfterPart::End(others) => {
                self.0.parts.managers.get(&live.manager).cancel(latest.id, &others, false);
            }
            AfterPart::Over(why) => {
                let how = together(why);
                self.decide_end(state, id, how);
            }
        }
    }
}

fn of_part(agent: AgentId, how: How) -> PartEnding {
    let How { code, signal, fault, reason, .. } = how;
    PartEnding { agent, code, signal, fault, reason: reason.as_str().into() }
}

/// How a run ended, by the part that it ended for.
fn together(why: &PartEnding) -> How {
    let mut reason = why.reason.to_string();
    if why.code.is_some_and(|code| code != 0) && reason.starts_with("resources failed") {
        reason = format!("{reason} on agent {}", why.agent);
    }
    How { code: why.code, signal: why.signal, fault: why.fault, reason, began: false }
}
