//! `retention:` in `master.yaml`: how long what is over leaves something behind.

use serde::{Deserialize, Serialize};

/// For how many days something is kept after its task has ended, or it happened; none keeps it. Logs go earlier where their disk lacks room
/// (`agent.keep_free`). A context directory goes with its task's end in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// A task's log: the task stays in lists and says when its log went.
    pub log_days: Option<u32>,
    /// The task itself, with its runs, its configuration and its log. What the audit log says of it stays.
    pub task_days: Option<u32>,
    /// What the audit log says. It goes at the end of the day after, and the log says up to where.
    pub audit_days: Option<u32>,
}

/// Most days, a hundred years: times stay within what can be told.
const MOST: u32 = 36_500;

impl Retention {
    pub(super) fn check(self) -> Result<(), String> {
        let Self { log_days, task_days, audit_days } = self;
        for (name, days) in [("log_days", log_days), ("task_days", task_days), ("audit_days", audit_days)] {
            if days.is_some_and(|days| !(1..=MOST).contains(&days)) {
                return Err(format!("{name}: give 1 to {MOST} days, or leave it out to keep it"));
            }
        }
        Ok(())
    }
}
