//! No task has the kernel keep what no memory limit counts, any number of it for one descriptor or one thread: then whoever
//! the kernel kills for want of memory is somebody else.
//!
//! Policies for a part of a file in memory stay with the file (MD2); refused as Docker does it for those without
//! CAP_SYS_NICE, without which libnuma and OpenMP do. Locks of an open file (OFD) may be had by a file that is in no table,
//! only mapped or on its way in a socket, where nobody counts them (MD1); refused as by kernels before 3.15, where programs
//! take the others, which `shim::descriptor_watch` counts. While a thread waits, it has 64 bytes for each descriptor that
//! it waits for (MD3); more than `select` can name in the C library is answered as more than RLIMIT_NOFILE.

use nix::libc;
use seccompiler::{BackendError, SeccompCmpOp, SeccompRule};

use super::{Rules, argument};

/// F_OFD_SETLK, F_OFD_SETLKW. Asking who has one (F_OFD_GETLK) is only asking.
const OPEN_FILE_LOCKS: [u32; 2] = [37, 38];

/// So many descriptors may be waited for in one call.
const MOST: u32 = 1024;

/// Calls that wait, and where the number is.
const WAITS: &[(libc::c_long, u8)] = &[(libc::SYS_ppoll, 1), (libc::SYS_pselect6, 0)];
/// The same, where the architecture has them.
#[cfg(target_arch = "x86_64")]
const WAITS_HERE: &[(libc::c_long, u8)] = &[(libc::SYS_poll, 1), (libc::SYS_select, 0)];
#[cfg(not(target_arch = "x86_64"))]
const WAITS_HERE: &[(libc::c_long, u8)] = &[];

/// What there seems to be none of: several futexes at once (19 KiB for a thread).
pub(super) fn missing() -> Rules {
    [(libc::SYS_futex_waitv, vec![])].into()
}

/// What is refused with EPERM.
pub(super) fn policies() -> Rules {
    [(libc::SYS_mbind, vec![]), (libc::SYS_set_mempolicy_home_node, vec![])].into()
}

/// What is refused with EINVAL.
pub(super) fn unpaid() -> Result<Rules, BackendError> {
    let many = |(call, number): &(libc::c_long, u8)| {
        Ok((*call, vec![SeccompRule::new(vec![argument(*number, SeccompCmpOp::Gt, MOST)?])?]))
    };
    let mut rules: Rules = WAITS.iter().chain(WAITS_HERE).map(many).collect::<Result<_, BackendError>>()?;
    let lock = |request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]);
    rules.insert(libc::SYS_fcntl, OPEN_FILE_LOCKS.into_iter().map(lock).collect::<Result<_, _>>()?);
    Ok(rules)
}
