//! A filter of system calls with a descriptor by which another process answers what the filter refuses (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
use seccompiler::{BpfProgram, sock_filter};

/// Puts a filter on this process, which has one thread, for good; with a listener, unless it is none that the kernel has
/// (before 5.0): then what was to be answered is refused with ENOSYS. The process gains no privileges any more.
///
/// # Errors
/// What the kernel says.
pub(crate) fn apply(program: &BpfProgram, listens: bool) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the call takes numbers and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if !listens {
        return set(program, 0).map(|_| None);
    }
    match set(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => set(program, 0).map(|_| None),
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        made => made.map(|listener| Some(unsafe { OwnedFd::from_raw_fd(listener) })),
    }
}

fn set(program: &BpfProgram, flags: libc::c_ulong) -> io::Result<i32> {
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    const { assert!(size_of::<sock_filter>() == size_of::<libc::sock_filter>()) }
    // SAFETY: the kernel reads `len` steps, which `program` has; they have the layout of its own (checked above).
    let made =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    i32::try_from(made).ok().filter(|made| *made >= 0).ok_or_else(io::Error::last_os_error)
}

/// By which calls are answered.
pub(crate) struct Listener(OwnedFd);

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    id: u64,
    /// Who calls. Its number may be somebody else's as soon as the call doesn't wait any more.
    pub(crate) thread: u32,
    /// With what.
    pub(crate) arguments: [u64; 6],
}

impl Listener {
    /// Of a descriptor that [`apply`] made.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The next call; nothing when who called has gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn next(&self) -> io::Result<Option<Call>> {
        // SAFETY: it is made of numbers, and the kernel wants it to be zeroes.
        let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one of these, which outlives the call.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut told) } != 0 {
            let error = io::Error::last_os_error();
            let gone = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR));
            return if gone { Ok(None) } else { Err(error) };
        }
        Ok(Some(Call { id: told.id, thread: told.pid, arguments: told.data.args }))
    }

    /// Whether it still waits: then what was opened by its thread's number before is of that thread's.
    pub(crate) fn waits(&self, call: &Call) -> bool {
        // SAFETY: the kernel reads one number, which outlives the call.
        unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const call.id) == 0
        }
    }

    /// Answers: with 0, or with an error's number. Nothing happens if the call doesn't wait any more.
    pub(crate) fn answer(&self, call: &Call, answer: Result<(), i32>) {
        let error = answer.err().map_or(0, |error| -error);
        let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags: 0 };
        // SAFETY: the kernel reads one of these, which outlives the call.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
