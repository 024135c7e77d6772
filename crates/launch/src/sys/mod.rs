//! The system calls that neither rustix nor nix offer as safe functions, each behind a safe one. The only code of
//! the project with `unsafe`. No policy lives here.

#![expect(
    unsafe_code,
    reason = "fork, clone, prctl, bpf, landlock, mount_setattr, listmount, TUNSETIFF, SIOCGIFCONF, filters of system calls, btrfs, the clock and signal dispositions have no safe wrapper"
)]

pub(crate) mod bpf;
pub(crate) mod clock;
pub(crate) mod extents;
pub(crate) mod landlock;
pub(crate) mod mount;
pub(crate) mod mounts;
pub(crate) mod net;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod subvolume;
