//! Ids that the master's own machine keeps to itself are not linked to accounts (A11). Which those are is decided in
//! `domain::system_ids`; agents decide for their own machines once more, when a task starts.

use domain::system_ids::{AllowedIds, SystemIds};

use crate::Error;

/// Refuses ids of the system of this machine; parts that aren't set are fine.
///
/// # Errors
/// Whose the id is and what to do.
pub(crate) fn check(allowed: &AllowedIds, uid: Option<i64>, gid: Option<i64>) -> Result<(), Error> {
    // What is no id at all is refused as that.
    let number = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
    machine().check(number(uid), number(gid), allowed).map_err(|e| Error::Invalid(e.to_string()))
}

/// As the files are now: accounts come and go while a master runs.
fn machine() -> SystemIds {
    // A file that isn't there names nobody. Names need not be UTF-8, numbers are.
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    SystemIds::parse(&text("/etc/passwd"), &text("/etc/group"), &text("/etc/login.defs"))
}
