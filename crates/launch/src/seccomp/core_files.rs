//! No task changes its limit for core files where a crash is root's business (`crate::core_files`, KA6): none at all would be
//! more than the one byte by which the kernel starts no program. It is answered as if it were done: programs that have secrets
//! set it to none (GnuPG ends if it can't), and none is what they get.

use nix::libc;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::{Rules, argument};

fn of_cores(index: u8) -> Result<SeccompCondition, BackendError> {
    argument(index, SeccompCmpOp::Eq, libc::RLIMIT_CORE)
}

/// A pointer that leads somewhere.
fn given(index: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
}

/// What is refused with EPERM: setting it and asking for the one before, which nobody would answer.
pub(super) fn exchanged() -> Result<Rules, BackendError> {
    let both = SeccompRule::new(vec![of_cores(1)?, given(2)?, given(3)?])?;
    Ok([(libc::SYS_prlimit64, vec![both])].into())
}

/// What is answered as if it were done.
pub(super) fn set() -> Result<Rules, BackendError> {
    Ok([
        (libc::SYS_setrlimit, vec![SeccompRule::new(vec![of_cores(0)?])?]),
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![of_cores(1)?, given(2)?])?]),
    ]
    .into())
}
