//! How many files and connections a process may have open (A7): ours as many as the machine allows, a task's as many as
//! before, because there are programs that go through all numbers that they might have open.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Tells a shim the limit for its task.
const VARIABLE: &str = "MUSTER_TASK_NOFILE";

/// What this process was started with.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises this process's limit as far as it may go. What it starts inherits that, shims excepted.
///
/// # Errors
/// When the kernel refuses.
pub fn raise() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if let Some(soft) = limit.current {
        // Only a second role in one process would find it set.
        let _ = BEFORE.set(soft);
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// The variable that a shim has to find in its environment, when there is anything to tell.
#[must_use]
pub fn for_shim() -> Option<(&'static str, String)> {
    BEFORE.get().map(|soft| (VARIABLE, soft.to_string()))
}

/// In a shim, before anything else: the task's limit.
pub(crate) fn lower() {
    let told = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(soft) = told {
        let limit = getrlimit(Resource::Nofile);
        let soft = limit.maximum.map_or(soft, |hard| hard.min(soft));
        // A task with a higher limit is as good.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..limit });
    }
}
