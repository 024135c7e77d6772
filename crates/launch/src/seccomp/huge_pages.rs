//! No task takes pages of the machine's pool of huge pages, which databases, virtual machines and fast networks have it
//! for (A12): they are in no limit of its memory, and whoever takes them all leaves the others none.
//!
//! Refused as if the pool were empty, which it is on most machines; flags that no kernel knows are refused as those, for
//! Chromium asks for all at once to see whether there is such a call, and ends if it hears anything else. What the kernel makes of usual memory by itself
//! (transparent huge pages) isn't meant.

use nix::libc;
use seccompiler::{BackendError, SeccompCmpOp, SeccompRule};

use super::{Rules, argument, has};

/// Calls whose flags ask for such pages: where the flags are, the bit, and bits that aren't known.
const ASKS: [(libc::c_long, u8, i32, u32); 3] = [
    (libc::SYS_mmap, 3, libc::MAP_HUGETLB, 0),
    (libc::SYS_memfd_create, 1, MEMORY_FILE, !MEMORY_FILE_FLAGS),
    (libc::SYS_shmget, 2, libc::SHM_HUGETLB, 0),
];
const MEMORY_FILE: i32 = libc::MFD_HUGETLB.cast_signed();
/// Five flags, and the size of a page.
const MEMORY_FILE_FLAGS: u32 = 0x1f | 0x3f << 26;

/// What is refused with ENOMEM.
pub(super) fn taken() -> Result<Rules, BackendError> {
    let refused = |(call, flags, bit, unknown): (libc::c_long, u8, i32, u32)| {
        let known = argument(flags, SeccompCmpOp::MaskedEq(unknown.into()), 0)?;
        Ok((call, vec![SeccompRule::new(vec![has(flags, bit.cast_unsigned())?, known])?]))
    };
    ASKS.into_iter().map(refused).collect()
}

/// What of the rest is refused with EINVAL.
pub(super) fn unknown() -> Result<Rules, BackendError> {
    let asks = has(1, MEMORY_FILE.cast_unsigned())?;
    Ok([(libc::SYS_memfd_create, vec![SeccompRule::new(vec![asks])?])].into())
}
