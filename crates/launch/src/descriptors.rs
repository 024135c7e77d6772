//! How many files and connections a process may have open (A7): ours as many as the machine allows, a task's as many as
//! before, because there are programs that go through all numbers that they might have open. And how many there may be on
//! the machine: what one task opens is paid for by its memory, so that this number need stop nobody else.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many open files there may be on the machine.
const MACHINES: &str = "/proc/sys/fs/file-max";
/// The kernel takes no more.
const MOST: u64 = i64::MAX.cast_unsigned();
/// Open files that a step of a start needs at once.
const ROOM: usize = 16;
/// Between two tries.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Tells a shim the limit for its task.
const VARIABLE: &str = "MUSTER_TASK_NOFILE";

/// What this process was started with.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises this process's limit as far as it may go. What it starts inherits that, shims excepted.
///
/// # Errors
/// When the kernel refuses.
pub fn raise() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if let Some(soft) = limit.current {
        // Only a second role in one process would find it set.
        let _ = BEFORE.set(soft);
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Lets the machine have as many open files as its memory holds, as service managers do: else one task may have them all,
/// and only root opens any more. Tells the number that it was before, where it wasn't so. Only root may, and only where
/// the memory of tasks has a limit, which pays for their files.
///
/// # Errors
/// When the kernel refuses, as it does in containers.
pub fn raise_machines() -> io::Result<Option<u64>> {
    raise_in(Path::new(MACHINES))
}

fn raise_in(file: &Path) -> io::Result<Option<u64>> {
    let before: u64 = std::fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)?;
    if before >= MOST {
        return Ok(None);
    }
    std::fs::write(file, MOST.to_string())?;
    Ok(Some(before))
}

/// Whether something failed for want of descriptors or of open files, which others may give back.
#[must_use]
pub fn are_scarce(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NFILE | Errno::MFILE))
}

/// Does something, again and again while descriptors or open files are scarce: what others have open then costs a start
/// time, and not the start.
///
/// # Errors
/// Its own; when they have been scarce for so long, that.
fn patiently<T>(patience: Duration, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(e) if are_scarce(&e) && begun.elapsed() < patience => drop(poll(&mut [], Some(&PAUSE))),
            done => return done,
        }
    }
}

/// Waits until the machine has open files left for this process, which isn't root's. Nothing keeps them until it opens
/// its own; whoever waits for others to end is content with that.
pub(crate) fn wait_for_room(patience: Duration) {
    let one = |_| Ok(eventfd(0, EventfdFlags::CLOEXEC)?);
    // What else is wrong is said where it matters.
    let _ = patiently(patience, || (0..ROOM).map(one).collect::<io::Result<Vec<_>>>());
}

/// The variable that a shim has to find in its environment, when there is anything to tell.
#[must_use]
pub fn for_shim() -> Option<(&'static str, String)> {
    BEFORE.get().map(|soft| (VARIABLE, soft.to_string()))
}

/// In a shim, before anything else: the task's limit.
pub(crate) fn lower() {
    let told = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(soft) = told {
        let limit = getrlimit(Resource::Nofile);
        let soft = limit.maximum.map_or(soft, |hard| hard.min(soft));
        // A task with a higher limit is as good.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..limit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I4: the kernel's usual number is some tenth of the memory's worth.
    #[test]
    fn a07_open_files_are_bounded_by_memory_alone() {
        let file = std::env::temp_dir().join(format!("launch-file-max-{}", std::process::id()));
        std::fs::write(&file, "2466174\n").unwrap();
        assert_eq!(raise_in(&file).unwrap(), Some(2_466_174));
        // The kernel's own words for it, which it takes back.
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "9223372036854775807");
        assert_eq!(raise_in(&file).unwrap(), None);
        std::fs::remove_file(&file).unwrap();
        assert!(raise_in(&file).is_err());
    }

    #[test]
    fn a07_a_start_waits_for_open_files_that_others_have() {
        let mut tries = 0;
        let mut scarce = |errors: &[Errno]| {
            tries += 1;
            errors.get(tries - 1).map_or(Ok(tries), |e| Err(io::Error::from(*e)))
        };
        let minute = Duration::from_secs(60);
        assert_eq!(patiently(minute, || scarce(&[Errno::NFILE, Errno::MFILE])).unwrap(), 3);
        let denied = patiently(minute, || Err::<(), _>(Errno::ACCESS.into()));
        assert_eq!(Errno::from_io_error(&denied.unwrap_err()), Some(Errno::ACCESS));
        assert!(are_scarce(&patiently(Duration::ZERO, || Err::<(), _>(Errno::NFILE.into())).unwrap_err()));
    }
}
