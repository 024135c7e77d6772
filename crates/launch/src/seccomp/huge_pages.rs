//! No task takes pages of the machine's pool of huge pages, which databases, virtual machines and fast networks have it
//! for (A12): they are in no limit of its memory, and whoever takes them all leaves the others none.
//!
//! Refused as if the pool were empty, which it is on most machines. What the kernel makes of usual memory by itself
//! (transparent huge pages) isn't meant.

use nix::libc;
use seccompiler::{BackendError, SeccompRule};

use super::{Rules, has};

/// Calls whose flags ask for such pages: where the flags are, and the bit.
const ASKS: [(libc::c_long, u8, i32); 3] = [
    (libc::SYS_mmap, 3, libc::MAP_HUGETLB),
    (libc::SYS_memfd_create, 1, libc::MFD_HUGETLB.cast_signed()),
    (libc::SYS_shmget, 2, libc::SHM_HUGETLB),
];

/// What is refused with ENOMEM.
pub(super) fn taken() -> Result<Rules, BackendError> {
    let refused = |(call, flags, bit): (libc::c_long, u8, i32)| {
        Ok((call, vec![SeccompRule::new(vec![has(flags, bit.cast_unsigned())?])?]))
    };
    ASKS.into_iter().map(refused).collect()
}
