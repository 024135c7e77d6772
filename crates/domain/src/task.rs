//! Tasks and their runs: what a command is, the states it passes through, how it ended.

use serde::{Deserialize, Serialize};

use crate::config::TaskConfig;
use crate::id::{AgentId, AllocationId, TaskId, UserId, WorkspaceId};
use crate::identity::UnixIdentity;
use crate::time::Timestamp;

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A command line.
    Command,
}

impl Kind {
    /// The text in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
        }
    }
}

/// Where a task is in its life. States only move forward, in this order (contract "runtime", section 4.1).
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

    /// Whether a task in this state may go to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self < next
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// The exit status: the process's own, 128 + n for signal n, 127 not found, 126 not executable, 125 when the
    /// launcher refused it; `None` when it never ran or its agent lost it.
    pub exit_code: Option<i32>,
    /// One sentence for people, in the words that Determined's clients look for.
    pub reason: String,
}

/// A task with its latest run.
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
    pub description: String,
    /// What to run, fully merged.
    pub config: TaskConfig,
    /// The identity it runs as, settled when it was made.
    pub identity: UnixIdentity,
    /// Whether files were sent along.
    pub has_context: bool,
    /// Its latest run.
    pub allocation: AllocationId,
    /// Where it is in its life.
    pub state: State,
    /// Lower runs first; 1 to 99.
    pub priority: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// Where it runs or ran.
    pub agent: Option<AgentId>,
    /// The slots it holds or held there.
    pub slot_ids: Vec<u32>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Somebody asked for its end.
    pub kill_requested: bool,
}

/// What happened to a task's process, as its agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status as in [`Ending::exit_code`].
    pub code: i32,
    /// The launcher or a person ended it.
    pub killed: bool,
    /// Why the launcher refused to run it, with the remedy.
    pub failure: Option<String>,
}

impl Exit {
    /// The sentence kept with the task; its beginnings are fixed (contract "runtime", section 4.5).
    #[must_use]
    pub fn reason(&self) -> String {
        match (self.killed, &self.failure, self.code) {
            (true, _, _) => "allocation was killed".to_owned(),
            (_, Some(failure), code) => {
                format!("resources failed with non-zero exit code: {failure} (exit code {code})")
            }
            (_, None, 0) => "allocation exited successfully".to_owned(),
            (_, None, code) => {
                let what = match code {
                    126 => "command is not executable",
                    127 => "command not found",
                    129.. => "process was ended by a signal",
                    _ => "process failed",
                };
                format!("resources failed with non-zero exit code: {what} (exit code {code})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_only_move_forward() {
        for (i, from) in State::ALL.into_iter().enumerate() {
            for (j, to) in State::ALL.into_iter().enumerate() {
                assert_eq!(from.may_become(to), i < j);
            }
            assert_eq!(State::from_stored(from.as_str()), Some(from));
        }
    }

    #[test]
    fn reasons_carry_the_words_that_clients_match() {
        let exit = |code, killed| Exit { code, killed, failure: None };
        assert_eq!(exit(0, false).reason(), "allocation exited successfully");
        assert!(exit(3, false).reason().ends_with("process failed (exit code 3)"));
        assert!(exit(127, false).reason().contains("not found (exit code 127)"));
        assert_eq!(exit(137, true).reason(), "allocation was killed");
    }
}
