//! Tasks: what one is, whose and where, and what becomes of it when a run of it is over. Its runs are
//! [`Allocation`]s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::allocation::{Allocation, Asked, Cause};
use crate::exit::KILLED;
pub use crate::exit::{Exit, Fault, Limit, WHY, signal_name};
use crate::id::{ResourcePool, TaskId, UserId, WorkspaceId};
use crate::identity::UnixIdentity;
pub use crate::kind::Kind;
use crate::scheduler::Weight;
use crate::text::Plain;
use crate::time::Timestamp;

/// Longest description, in bytes.
pub const DESCRIPTION: usize = 1024;

/// Longest [`Ending::reason`], in characters.
pub const REASON: usize = 2000;

/// Where a run is in its life, in a word. States only move forward, in this order (contract "runtime", section 4.1); what
/// may follow is said by [`Phase::next`](crate::allocation::Phase::next).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for slots.
    Queued,
    /// Has an agent, which is preparing it.
    Starting,
    /// Its process runs.
    Running,
    /// Is being ended.
    Terminating,
    /// Over; never changes again.
    Terminated,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Starting, Self::Running, Self::Terminating, Self::Terminated];

    /// The text in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }

    /// Reads the text of [`Self::as_str`].
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When it ended.
    pub at: Timestamp,
    /// The exit status: the process's own, 128 + n for signal n, 127 not found, 126 not executable, 125 when the
    /// launcher refused it; `None` when it never ran or its agent lost it.
    pub exit_code: Option<i32>,
    /// The signal that ended the process; without one, the status is the process's own.
    pub exit_signal: Option<i32>,
    /// Whose doing it was; `None` when nobody said.
    pub fault: Option<Fault>,
    /// One sentence for people, in the words that Determined's clients look for.
    pub reason: Plain<REASON>,
}

impl Ending {
    /// A person ended it; what status the process then had says nothing about its work.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.reason.starts_with(KILLED)
    }
}

/// Whether a task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Its latest run waits or runs.
    Active,
    /// Its latest run is over, or will be soon; another one begins when somebody asks for it.
    Paused,
    /// It never runs again.
    Over,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Over];

    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Over => "over",
        }
    }

    /// Reads the text of [`Self::as_str`].
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == text)
    }
}

/// A task, with the run that it has or had last.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What it is.
    pub kind: Kind,
    /// Position in the order of creation; the key that lists go by.
    pub seq: i64,
    /// Who started it.
    pub owner: UserId,
    /// The owner's name as it is now.
    pub owner_name: String,
    /// The owner's display name as it is now.
    pub owner_display_name: String,
    /// Where it belongs.
    pub workspace: WorkspaceId,
    /// Its name for people.
    pub description: Plain<DESCRIPTION>,
    /// Where it wants to run.
    pub pool: ResourcePool,
    /// Slots that each run needs; 0 runs beside them. All else that its configuration says is kept apart from it: lists
    /// needn't read what they don't show (A6).
    pub slots: u32,
    /// Its share of its owner's, where the pool is shared so.
    pub weight: Weight,
    /// Most slots that its job may use at a time.
    pub max_slots: Option<u32>,
    /// Lower runs first; 1 to 99.
    pub priority: i64,
    /// The identity it runs as, settled when it was made.
    pub identity: UnixIdentity,
    /// Whether files were sent along.
    pub has_context: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it goes on.
    pub standing: Standing,
    /// How often it was begun again because a run failed.
    pub restarts: u32,
    /// How often that may be.
    pub max_restarts: u32,
    /// When its log was removed, for the master's disk was nearly full (A4), or it was old.
    pub log_removed_at: Option<Timestamp>,
    /// Its latest run.
    pub latest: Allocation,
}

/// What becomes of a task when its run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is over, too.
    Over,
    /// It waits until somebody wants it to go on.
    Paused,
    /// Another run waits for its place.
    Again {
        /// How often it was begun again because of failures, this time included if it is one.
        restarts: u32,
    },
}

impl Task {
    /// In a word, for people and clients.
    #[must_use]
    pub const fn state(&self) -> State {
        self.latest.phase.state()
    }

    /// How it ended.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.latest.phase.ending().filter(|_| self.standing == Standing::Over)
    }

    /// Whether somebody asked for its end.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.latest.phase.asked().is_some_and(|asked| asked.cause == Cause::Killed)
    }

    /// What becomes of it when its latest run ends so (contract "runtime", section 4.2).
    #[must_use]
    pub fn after(&self, asked: Option<Asked>, ending: &Ending) -> After {
        if !self.kind.resumes() {
            return After::Over;
        }
        let is_done = ending.exit_code == Some(0);
        match asked {
            Some(Asked { cause: Cause::Killed | Cause::Expired, .. }) => After::Over,
            // Who is done without having heard of it has done all that there was to do.
            Some(Asked { heard: false, .. }) | None if is_done => After::Over,
            Some(Asked { cause: Cause::Paused, .. }) => After::Paused,
            Some(Asked { cause: Cause::Preempted, .. }) if !self.is_forever_lost(ending) => {
                After::Again { restarts: self.restarts }
            }
            // What it asks for is nowhere.
            None if ending.exit_code.is_none() && ending.fault == Some(Fault::Task) => After::Over,
            // It never ran, or its agent lost it: that is no failure of its own, unless that is all that ever happens.
            None if (ending.exit_code.is_none() || ending.fault == Some(Fault::Lost))
                && !self.is_forever_lost(ending) =>
            {
                After::Again { restarts: self.restarts }
            }
            _ if self.restarts < self.max_restarts => After::Again { restarts: self.restarts + 1 },
            _ => After::Over,
        }
    }

    /// Whether its latest run was over in no time, and it has had so many that it isn't begun again for nothing (MK2).
    fn is_forever_lost(&self, ending: &Ending) -> bool {
        let latest = &self.latest;
        latest.id.run > FREE_RUNS && ending.at.since(latest.created_at) < SHORT
    }
}

/// So many runs may be lost at once.
const FREE_RUNS: u32 = 20;
/// Whatever is lost before was lost at once.
const SHORT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: Kind, restarts: u32) -> Task {
        let id = TaskId(uuid::Uuid::from_u128(1));
        Task {
            id,
            kind,
            seq: 1,
            owner: UserId(1),
            owner_name: String::new(),
            owner_display_name: String::new(),
            workspace: WorkspaceId(1),
            description: "".into(),
            pool: ResourcePool::default(),
            slots: 1,
            weight: Weight::ONE,
            max_slots: None,
            priority: 42,
            identity: UnixIdentity::root(),
            has_context: false,
            created_at: Timestamp(0),
            standing: Standing::Active,
            restarts,
            max_restarts: 1,
            log_removed_at: None,
            latest: Allocation::waiting(crate::id::AllocationId::first(id), Timestamp(0)),
        }
    }

    #[test]
    fn what_cannot_resume_is_over_with_its_run_and_else_it_depends() {
        let ending = |exit_code| Ending {
            at: Timestamp(1),
            exit_code,
            exit_signal: None,
            fault: None,
            reason: "".into(),
        };
        let asked = |cause, heard| Some(Asked { cause, heard, until: None });
        for kind in Kind::ALL.into_iter().filter(|kind| !kind.resumes()) {
            for asked in [None, asked(Cause::Preempted, true), asked(Cause::Paused, true)] {
                assert_eq!(task(kind, 0).after(asked, &ending(Some(1))), After::Over, "{kind:?}");
            }
        }
        let again = |restarts| After::Again { restarts };
        for (restarts, asked, code, after) in [
            (0, None, Some(0), After::Over),
            (0, None, Some(1), again(1)),
            (1, None, Some(1), After::Over),
            // Nobody's failure.
            (1, None, None, again(1)),
            (0, asked(Cause::Killed, true), Some(1), After::Over),
            (0, asked(Cause::Expired, true), Some(0), After::Over),
            (1, asked(Cause::Preempted, true), Some(0), again(1)),
            (1, asked(Cause::Preempted, false), Some(137), again(1)),
            // Done before it heard.
            (1, asked(Cause::Preempted, false), Some(0), After::Over),
            (0, asked(Cause::Paused, true), Some(0), After::Paused),
            (0, asked(Cause::Paused, false), None, After::Paused),
            (0, asked(Cause::Paused, false), Some(0), After::Over),
        ] {
            let found = task(Kind::Trial, restarts).after(asked, &ending(code));
            assert_eq!(found, after, "{restarts} {asked:?} {code:?}");
        }
    }

    #[test]
    fn whose_doing_it_was_decides_whether_it_counts() {
        let ending = |exit_code, fault| Ending {
            at: Timestamp(1),
            exit_code,
            exit_signal: None,
            fault: Some(fault),
            reason: "".into(),
        };
        for (restarts, code, fault, after) in [
            // What lost it says a status, too.
            (1, Some(137), Fault::Lost, After::Again { restarts: 1 }),
            (0, Some(125), Fault::Launch, After::Again { restarts: 1 }),
            // A machine that can't begin anything isn't asked for ever.
            (1, Some(125), Fault::Launch, After::Over),
            (1, Some(137), Fault::Memory, After::Over),
            (1, None, Fault::Lost, After::Again { restarts: 1 }),
            // Nowhere are that many slots.
            (0, None, Fault::Task, After::Over),
        ] {
            let found = task(Kind::Trial, restarts).after(None, &ending(code, fault));
            assert_eq!(found, after, "{restarts} {code:?} {fault:?}");
        }
        // MK2: an agent that forgot it at once had 280 runs of it in a quarter of a minute.
        let lost = |run, at| {
            let mut task = task(Kind::Trial, 0);
            task.latest.id.run = run;
            task.after(None, &Ending { at, ..ending(None, Fault::Lost) })
        };
        let (soon, later) = (Timestamp(0).plus(SHORT / 2), Timestamp(0).plus(SHORT));
        assert_eq!(lost(FREE_RUNS, soon), After::Again { restarts: 0 });
        assert_eq!(lost(FREE_RUNS + 1, soon), After::Again { restarts: 1 });
        assert_eq!(lost(FREE_RUNS + 1, later), After::Again { restarts: 0 });
        // And one that said of itself, first thing, that it was about to be preempted was begun again 12 times a second.
        let preempted = |run| {
            let mut task = task(Kind::Trial, 1);
            task.latest.id.run = run;
            let asked = Asked { cause: Cause::Preempted, heard: true, until: None };
            task.after(Some(asked), &Ending { at: soon, ..ending(Some(143), Fault::Ended) })
        };
        assert_eq!(preempted(FREE_RUNS), After::Again { restarts: 1 });
        assert_eq!(preempted(FREE_RUNS + 1), After::Over);
    }
}
