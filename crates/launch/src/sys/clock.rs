//! Clocks that nobody sets.

use std::time::Duration;

use nix::libc;

/// The time since the machine has started, which is the same to every process on it.
pub(crate) fn since_start() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// The processor's time that this thread has had.
pub(crate) fn of_this_thread() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, which outlives the call. These clocks are always there.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
    seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}
