//! No task makes namespaces of its own, or enters others, but where the administrator wants containers inside tasks.
//!
//! Whoever makes a user namespace is root of it, and of the networks, mounts and terminals that he makes there. What is in
//! those the kernel counts for the whole machine, or for nobody: the entries of all networks' tables of neighbours are one
//! number, and so are the pseudo-terminals of all mounts.

use nix::libc;
use seccompiler::{BackendError, SeccompRule};

use super::{Rules, has};

/// What asks `unshare` and `clone` for a namespace.
const NEW: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// The same for `unshare` alone; in `clone` the bit is part of the signal that tells of the end.
const NEW_TIME: libc::c_int = 0x80;

/// What is refused with EPERM.
pub(super) fn forbidden() -> Result<Rules, BackendError> {
    let new = |flag: libc::c_int| SeccompRule::new(vec![has(0, flag.cast_unsigned())?]);
    let clone = NEW.into_iter().map(new).collect::<Result<_, _>>()?;
    let unshare = NEW.into_iter().chain([NEW_TIME]).map(new).collect::<Result<_, _>>()?;
    Ok([(libc::SYS_clone, clone), (libc::SYS_unshare, unshare), (libc::SYS_setns, vec![])].into())
}

/// What there seems to be none of: the flags lie in the task's memory, where no filter sees them. C libraries then take
/// `clone`.
pub(super) fn missing() -> Rules {
    [(libc::SYS_clone3, vec![])].into()
}
