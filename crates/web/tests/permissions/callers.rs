//! Who tries requests, and what each of them should be answered: those whom the guard turns away by the access of the row, all
//! others by the policy's own table.

use std::sync::LazyLock;

use domain::authz::table::{self, Line, Verdict};
use testkit::Response;
use web::{Access, Row};

use super::samples::Sample;

/// Kinds of callers, from the weakest on: what an earlier one may not do can't spoil what a later one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Anonymous,
    Expired,
    Ended,
    Deactivated,
    Pending,
    AnotherTask,
    TheTask,
    Stranger,
    ProjectMember,
    WorkspaceMember,
    Owner,
    ByToken,
    Administrator,
}

impl Caller {
    pub(crate) const ALL: [Self; 13] = [
        Self::Anonymous,
        Self::Expired,
        Self::Ended,
        Self::Deactivated,
        Self::Pending,
        Self::AnotherTask,
        Self::TheTask,
        Self::Stranger,
        Self::ProjectMember,
        Self::WorkspaceMember,
        Self::Owner,
        Self::ByToken,
        Self::Administrator,
    ];

    /// As the policy knows them; `None` doesn't come as far.
    fn to_the_policy(self) -> Option<table::Caller> {
        Some(match self {
            Self::Stranger => table::Caller::Stranger,
            Self::ProjectMember => table::Caller::ProjectMember,
            Self::WorkspaceMember => table::Caller::Editor,
            Self::Owner => table::Caller::Owner,
            Self::ByToken => table::Caller::ByToken,
            Self::Administrator => table::Caller::Administrator,
            _ => return None,
        })
    }
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It is done.
    Yes,
    /// The caller isn't known.
    LogIn,
    /// Known, and refused.
    No,
    /// For this caller it doesn't exist.
    NotThere,
    /// They may, but it can't be done.
    Else(u16),
}

impl Answered {
    /// Whether it is a refusal.
    pub(crate) fn refuses(self) -> bool {
        matches!(self, Self::LogIn | Self::No | Self::NotThere)
    }

    pub(crate) fn of(row: &Row, answer: &Response) -> Self {
        // Who signs out lands on the login page too, but not without an order to the browser.
        let to_login =
            answer.header("location").starts_with("/login") && answer.header("set-cookie").is_empty();
        match answer.status {
            // Several things at once: what was refused is said of each.
            200 if answer.body.starts_with(b"{\"results\":") => {
                let done = answer.json()["results"][0]["error"] == "";
                if done { Self::Yes } else { Self::No }
            }
            101 | 200 | 201 | 204 => Self::Yes,
            303 if to_login && row.access == Access::Page => Self::LogIn,
            303 => Self::Yes,
            401 => Self::LogIn,
            403 => Self::No,
            404 => Self::NotThere,
            other => Self::Else(other),
        }
    }
}

static POLICY: LazyLock<Vec<Line>> = LazyLock::new(table::table);

/// What the policy says of an act.
fn line(act: &str, situation: &str) -> &'static Line {
    let line = POLICY.iter().find(|line| line.act == act && line.situation == situation);
    line.unwrap_or_else(|| panic!("domain::authz::table has no line {act}, {situation}"))
}

/// What a caller should be answered.
pub(crate) fn expected(row: &Row, sample: &Sample, caller: Caller) -> Answered {
    use Caller::{AnotherTask, Pending, TheTask};
    if matches!(row.access, Access::Public | Access::Agent) {
        return Answered::Yes;
    }
    let Some(known) = caller.to_the_policy() else {
        let of_a_task = sample.path.contains("{task}") || sample.path.contains("{hidden}");
        return match (row.access, caller) {
            // A task's token is good for what is the task's own.
            (Access::UserOrTask, TheTask) if sample.path.contains("{task}") || !of_a_task => {
                sample.then.map_or(Answered::Yes, Answered::Else)
            }
            (Access::UserOrTask, AnotherTask) if !of_a_task => Answered::Yes,
            (Access::UserOrTask, TheTask | AnotherTask) => Answered::NotThere,
            (Access::User | Access::UserOrTask, Pending) | (Access::User, TheTask | AnotherTask) => {
                Answered::No
            }
            _ => Answered::LogIn,
        };
    };
    let administrators = matches!(caller, Caller::ByToken | Caller::Administrator);
    if sample.administrators && !administrators {
        return Answered::NotThere;
    }
    let mut verdicts = sample.asks.iter().map(|(act, situation)| line(act, situation).verdict(known));
    match verdicts.find(|verdict| *verdict != Verdict::Yes) {
        Some(Verdict::NotThere) => Answered::NotThere,
        Some(_) => Answered::No,
        None => sample.then.map_or(Answered::Yes, Answered::Else),
    }
}
