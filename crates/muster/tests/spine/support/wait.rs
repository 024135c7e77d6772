//! The one place that waits: for an end, for output, for a state. Every wait has a deadline.

use std::time::{Duration, Instant};

use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// Longest wait for an event. Generous: it is reached only when the event never comes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Time between two looks at a state that nobody tells of.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds what it wants.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {} s in vain: {what}", DEADLINE.as_secs());
        pause(LOOK);
    }
}

/// Lets time pass, for what isn't an event: a random moment.
pub(crate) fn pause(time: Duration) {
    let _ = poll(&mut [], Some(&timespec(time)));
}

/// Whether the process ends in time; one that has ended is not there any more and counts.
pub(crate) fn ends_within(pid: Pid, time: Duration) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid.as_raw()) else {
        return true;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let mut wanted = [PollFd::new(&pidfd, PollFlags::IN)];
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match poll(&mut wanted, Some(&timespec(left))) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waiting for a process: {error}"),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec::try_from(time).expect("a time that fits")
}
