//! Making processes and taking rights away from them. Every caller but [`fork_beside_threads`]' is single-threaded:
//! `shim::main` is called before anything else in its process, and `probe` runs nothing but system calls in its child.

use std::cmp::Ordering;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, sigaction, sigprocmask};
use nix::unistd::{ForkResult, Pid};

/// Stack of a process made by [`spawn_in`]. Pages that aren't touched cost nothing.
const STACK: usize = 8 << 20;

/// Forks: `Some(pid)` in the parent, `None` in the child, which must end with [`exit_now`].
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread, so the child finds no lock held by a thread that it doesn't have.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Forks like [`fork`] in a process that may have other threads, none of which the child has: what it does until it ends
/// takes no lock that one of them may hold. It may use memory: the C library's locks are free in a child.
pub(crate) fn fork_beside_threads() -> io::Result<Option<Pid>> {
    // SAFETY: see above; the library promises that of its allocator (`pthread_atfork` of glibc's own), and the callers
    // that they use nothing else that threads share.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Forks like [`fork`], into the v2 cgroup with this directory. A process that moves into a cgroup waits until every
/// processor has taken note, some 10 ms; one that is made in it doesn't. Kernels before 5.7 can't.
pub(crate) fn fork_into(cgroup: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
    // The C library's constant of this name is too narrow for it.
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let cannot = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let args = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::try_from(libc::SIGCHLD).map_err(cannot)?,
        cgroup: u64::try_from(cgroup.as_raw_fd()).map_err(cannot)?,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
    };
    // SAFETY: `args` is read only and outlives the call. Without CLONE_VM and a stack this is a fork: the child goes
    // on with a copy of everything; the process has one thread, as in `fork`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks a child that runs `body` in new namespaces and ends with the value that it returns (101 if it panics).
/// In a process with several threads `body` must do nothing but system calls.
pub(crate) fn spawn_in(namespaces: CloneFlags, mut body: impl FnMut() -> i32) -> io::Result<Pid> {
    let mut stack = vec![0_u8; STACK];
    let callback = Box::new(|| -> isize {
        let code = catch_unwind(AssertUnwindSafe(&mut body)).unwrap_or(101);
        exit_now(code)
    });
    // SAFETY: without CLONE_VM the child has a copy of everything, stack included, so nothing is shared that could
    // be freed or overwritten here. The stack is far larger than what the callers need, and `exit_now` keeps the
    // child from unwinding into frames that it doesn't have.
    Ok(unsafe { nix::sched::clone(callback, &mut stack, namespaces, Some(libc::SIGCHLD)) }?)
}

/// Ends the process at once: no destructors, no buffers of the parent flushed a second time.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any status and has no precondition.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default action and blocks none.
pub(crate) fn reset_signals() {
    const KERNEL_SIGSET: usize = 8;
    // The C library keeps two signals to itself and refuses to touch them, so the kernel is asked directly: a
    // `struct sigaction` of zeroes, at least as long as the kernel's, is the default action.
    let default = [0_u64; 8];
    for signal in 1..=64 {
        // SAFETY: `default` is read only and outlives the call; the default action runs no code of ours. KILL and
        // STOP are refused, which is right.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0_usize, KERNEL_SIGSET);
        }
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Ignores the signals that would end a shim without its task being settled.
pub(crate) fn ignore_signals(signals: &[nix::sys::signal::Signal]) {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in signals {
        // SAFETY: ignoring a signal runs no code of ours.
        let _ = unsafe { sigaction(*signal, &ignore) };
    }
}

/// Closes every descriptor above 2 except `keep`. Only before any owned descriptor that must live is made.
pub(crate) fn close_all_but(keep: RawFd) {
    let keep = u32::try_from(keep).unwrap_or(2);
    close_range(keep.saturating_add(1), 0);
    if keep > 3 {
        // `first..=last` must not be empty.
        // SAFETY: as in `close_range`.
        unsafe { libc::close_range(3, keep - 1, 0) };
    }
}

/// Closes every descriptor above 2 except these, in a fork that never uses another one again.
pub(crate) fn close_all_except(keep: &[BorrowedFd<'_>]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().filter(|fd| *fd > 2) {
        if fd > first {
            // SAFETY: as in `close_range`.
            unsafe { libc::close_range(first, fd - 1, 0) };
        }
        first = fd + 1;
    }
    close_range(first, 0);
}

/// Marks every descriptor above 2 to be closed by the next exec.
pub(crate) fn close_all_on_exec() {
    close_range(3, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
}

fn close_range(first: u32, flags: i32) {
    // SAFETY: the call touches no memory. Descriptors it closes belong to a process image that this fork of it
    // never uses again: callers close before they open their own.
    unsafe { libc::close_range(first, u32::MAX, flags) };
}

/// Empties the capability bounding set (R39). Needs `CAP_SETPCAP`.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    // The kernel says EINVAL at the first number that is no capability.
    for capability in 0..64_u64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Leaves the launcher's session keyring for an empty one, whatever a filter says to whoever doesn't give the last two
/// arguments (`seccomp`). Best effort: a kernel may have no keyrings.
pub(crate) fn new_session_keyring(spare: [u64; 2]) {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing is read or written, nor are further arguments looked at.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0_usize, 0, 0, spare[0], spare[1]) };
}

/// Moves this process, which has one thread, into a user namespace that it makes; the last two arguments as above.
pub(crate) fn unshare_user(spare: [u64; 2]) -> io::Result<()> {
    let flags = libc::c_long::from(libc::CLONE_NEWUSER);
    // SAFETY: the call takes one number and touches no memory; the kernel looks at no further arguments.
    match unsafe { libc::syscall(libc::SYS_unshare, flags, 0, 0, 0, spare[0], spare[1]) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Replaces the process; returns only the error.
pub(crate) fn exec(path: &CString, argv: &[CString], env: &[CString]) -> nix::Error {
    match nix::unistd::execve(path, argv, env) {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

/// What threads may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shared {
    /// Memory, with what is mapped there.
    Memory,
    /// The table of open files.
    Descriptors,
    /// The work directory and the root.
    Places,
}

/// Compares what two threads have: equal if they share it, else in an order of the kernel's. In any process.
///
/// # Errors
/// That of kcmp(2): one has ended, is out of reach, or the kernel can't tell.
pub(crate) fn share(one: i32, other: i32, what: Shared) -> io::Result<Ordering> {
    let kind: libc::c_long = match what {
        Shared::Memory => 1,
        Shared::Descriptors => 2,
        Shared::Places => 3,
    };
    // SAFETY: the call takes numbers and touches no memory; with these kinds the last two aren't looked at.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, kind, 0_usize, 0_usize) } {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
