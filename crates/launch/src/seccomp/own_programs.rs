//! No task puts programs of its own into the kernel, but where the administrator says so: filters of system calls and of
//! sockets. The memory for all of the machine's programs is one number (`net.core.bpf_jit_limit`, T1): whoever takes it all
//! keeps every service from starting that filters its own, and so every task of an agent without root.
//!
//! What filters system calls is refused as by a kernel that has no such thing (OpenSSH, man and Firefox then do without); what
//! chooses among sockets as an option that it doesn't have. What spares a socket's reader work is answered as if it were done:
//! the reader looks once more (udev's library, and with it libusb, which would do nothing at all). Other ways to such memory need rights that no task has, a network of its own
//! (`namespaces`) or kinds of sockets that it doesn't get.

use nix::libc;
use seccompiler::{BackendError, SeccompCmpOp, SeccompRule};

use super::{Rules, argument};

/// Options of sockets that take a program, besides SO_ATTACH_FILTER.
const ATTACH: [libc::c_int; 3] =
    [libc::SO_ATTACH_BPF, libc::SO_ATTACH_REUSEPORT_CBPF, libc::SO_ATTACH_REUSEPORT_EBPF];

/// Requests to devices that take one (TUNATTACHFILTER, PPPIOCSPASS, PPPIOCSACTIVE), should a task have such a device.
const DEVICES: [u32; 3] = [0x4010_54d5, 0x4010_7447, 0x4010_7446];

/// What is refused with EINVAL.
pub(super) fn of_calls() -> Result<Rules, BackendError> {
    let is = |index, value| argument(index, SeccompCmpOp::Eq, value);
    let mode = libc::SECCOMP_MODE_FILTER;
    let set = is(0, libc::PR_SET_SECCOMP.unsigned_abs())?;
    Ok([
        (libc::SYS_seccomp, vec![SeccompRule::new(vec![is(0, libc::SECCOMP_SET_MODE_FILTER)?])?]),
        (libc::SYS_prctl, vec![SeccompRule::new(vec![set, is(1, mode)?])?]),
    ]
    .into())
}

/// What is refused with ENOPROTOOPT.
pub(super) fn of_sockets() -> Result<Rules, BackendError> {
    options(&ATTACH)
}

/// What is answered as if it were done.
pub(super) fn of_readers() -> Result<Rules, BackendError> {
    options(&[libc::SO_ATTACH_FILTER])
}

fn options(options: &[libc::c_int]) -> Result<Rules, BackendError> {
    let is = |index, value: libc::c_int| argument(index, SeccompCmpOp::Eq, value.unsigned_abs());
    let option = |option: &libc::c_int| SeccompRule::new(vec![is(1, libc::SOL_SOCKET)?, is(2, *option)?]);
    Ok([(libc::SYS_setsockopt, options.iter().map(option).collect::<Result<_, _>>()?)].into())
}

/// What is refused with ENOTTY.
pub(super) fn of_devices() -> Result<Rules, BackendError> {
    let request = |request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]);
    Ok([(libc::SYS_ioctl, DEVICES.into_iter().map(request).collect::<Result<_, _>>()?)].into())
}
