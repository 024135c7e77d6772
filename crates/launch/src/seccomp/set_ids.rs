//! No task whose ids aren't its user's own makes a file that gives ids to who executes it (setuid, setgid).
//!
//! Root in a task is an unprivileged id on the machine, and the same one for many tasks; in a directory that it binds, it
//! could leave a program there by which any user of the machine becomes that id. `nosuid` holds inside only. Whatever the
//! agent's `seccomp` setting says, this is on.

use nix::libc;
use seccompiler::{BackendError, SeccompRule};

use super::{Rules, has};

/// The bits of a mode that give ids.
const BITS: [u32; 2] = [libc::S_ISUID, libc::S_ISGID];
/// What makes `open` look at its mode.
const CREATES: [libc::c_int; 2] = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY];

/// Calls with a mode, and where it is. The kernel takes no such bits from `mkdir`.
const MODES: &[(libc::c_long, u8)] =
    &[(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2), (libc::SYS_mknodat, 2)];
/// The same, where the architecture has them.
#[cfg(target_arch = "x86_64")]
const MODES_HERE: &[(libc::c_long, u8)] = &[(libc::SYS_chmod, 1), (libc::SYS_creat, 1), (libc::SYS_mknod, 1)];
#[cfg(not(target_arch = "x86_64"))]
const MODES_HERE: &[(libc::c_long, u8)] = &[];

/// Calls that create a file if their flags say so: where the flags are; the mode is next.
const OPENS: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];
#[cfg(target_arch = "x86_64")]
const OPENS_HERE: &[(libc::c_long, u8)] = &[(libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENS_HERE: &[(libc::c_long, u8)] = &[];

/// Calls whose mode lies in the task's memory, where no filter sees it; programs do without them.
const UNSEEN: [libc::c_long; 4] =
    [libc::SYS_openat2, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// What is refused with EPERM.
pub(super) fn forbidden() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for (call, mode) in MODES.iter().chain(MODES_HERE) {
        let refused = BITS.map(|bit| SeccompRule::new(vec![has(*mode, bit)?]));
        rules.insert(*call, refused.into_iter().collect::<Result<_, _>>()?);
    }
    for (call, flags) in OPENS.iter().chain(OPENS_HERE) {
        let mut refused = vec![];
        for creates in CREATES.map(libc::c_int::cast_unsigned) {
            for bit in BITS {
                refused.push(SeccompRule::new(vec![has(*flags, creates)?, has(flags + 1, bit)?])?);
            }
        }
        rules.insert(*call, refused);
    }
    Ok(rules)
}

/// What there seems to be none of.
pub(super) fn missing() -> Rules {
    UNSEEN.iter().map(|call| (*call, vec![])).collect()
}
