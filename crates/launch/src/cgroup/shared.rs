//! The cgroups that tasks share: one of all tasks, `muster`, whose limits keep something for the machine's own people
//! (A12), and below it one of each account, `muster/owner-<key>`, whose limits keep something for the others (I5).
//!
//! An account's comes with its first task and goes with its last. Shims start and end at the same time and know nothing
//! of each other, so nothing is locked: a cgroup with something in it can't be removed, and whoever finds the account's
//! gone before the task's was made in it makes it again. An account's processor time needs no setting: what lies beside
//! each other has equal parts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::controller::{Controller, Place, SOCKETS_PART, write_setting};
use crate::spec::{Limits, Owner, Together};

/// The cgroup of all tasks.
const ALL_TASKS: &str = "muster";
/// Of the machine's memory and of its process numbers tasks leave a part, …
const RESERVED_PART: u64 = 20;
/// … and at least so many bytes …
const RESERVED_BYTES: u64 = 512 << 20;
/// … and processes.
const RESERVED_PIDS: u64 = 2000;
/// How often an account's cgroup is made again that an ending task has just taken along.
const TRIES: u32 = 1000;

/// What all tasks of this machine may use together, whether or not it can be enforced.
#[must_use]
pub fn all_tasks_limits() -> Together {
    let bound = |controller| all_tasks_limit(controller).ok().flatten();
    Together { memory_bytes: bound(Controller::Memory), pids: bound(Controller::Pids) }
}

impl Together {
    /// As limits of a cgroup.
    pub(super) fn as_limits(self) -> Limits {
        Limits { memory_bytes: self.memory_bytes, pids: self.pids, ..Limits::default() }
    }
}

/// Where the cgroup of all tasks is.
pub(super) fn all_tasks(root: &Path) -> PathBuf {
    root.join(ALL_TASKS)
}

/// Where the cgroup is that a task's is made in: its account's, or that of all tasks when nobody said whose it is.
pub(super) fn above(root: &Path, owner: Option<&str>) -> PathBuf {
    let all = all_tasks(root);
    owner.map_or_else(|| all.clone(), |key| all.join(format!("owner-{key}")))
}

/// Makes the cgroup of a task, `name`, with those above it, and says whether it is its account's first.
pub(super) fn make_below(root: &Path, owner: Option<&str>, name: &str) -> io::Result<bool> {
    make(&all_tasks(root))?;
    let above = above(root, owner);
    let dir = above.join(name);
    let mut first = false;
    for _ in 0..TRIES {
        first |= owner.is_some() && make(&above)?;
        match make(&dir) {
            // The account's last task took it along just now.
            Err(e) if owner.is_some() && e.kind() == io::ErrorKind::NotFound => {}
            made => return made.map(|_| first),
        }
    }
    Err(io::Error::other(format!("{} is removed again and again", above.display())))
}

/// Makes the cgroup of all tasks what it is for a controller. It stays: what an ended task's memory was handed on to
/// counts there.
pub(super) fn set_up_all_tasks(place: &Place, controller: Controller) -> io::Result<()> {
    let dir = all_tasks(&place.root);
    make(&dir)?;
    if controller == Controller::Memory && !place.v2 {
        // Else the limit is only about what is in the cgroup itself; newer kernels know nothing else.
        let _ = write_setting(&dir.join("memory.use_hierarchy"), "1");
        let in_sockets = (machines_memory()? / SOCKETS_PART * 2).to_string();
        let _ = write_setting(&dir.join("memory.kmem.tcp.limit_in_bytes"), &in_sockets);
    }
    let file = match controller {
        Controller::Memory if place.v2 => "memory.max",
        Controller::Memory => "memory.limit_in_bytes",
        Controller::Pids => "pids.max",
        Controller::Cpu => "",
    };
    if let Some(limit) = all_tasks_limit(controller)? {
        write_setting(&dir.join(file), &limit.to_string())?;
    }
    if place.v2 { controller.hand_on(&dir) } else { Ok(()) }
}

/// Makes the cgroup of an account what it is for a controller; a task's is in it. Whoever made it sets the limits, and
/// nobody else: an administrator's other ones hold from the next time on, and end nothing that runs.
pub(super) fn set_up_owner(
    place: &Place,
    controller: Controller,
    owner: &Owner,
    first: bool,
) -> io::Result<()> {
    let dir = above(&place.root, Some(&owner.key));
    if place.v2 {
        controller.hand_on(&dir)?;
    }
    if first { controller.apply(&dir, &owner.limits.as_limits(), place.v2) } else { Ok(()) }
}

/// Removes an account's cgroup if no task is in it.
pub(super) fn remove_owner(root: &Path, owner: &str) {
    let _ = fs::remove_dir(above(root, Some(owner)));
}

/// Makes a cgroup that others may make, too, and says whether it was this one.
fn make(dir: &Path) -> io::Result<bool> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

/// In bytes or in processes; nothing for a controller that needs no limit.
fn all_tasks_limit(controller: Controller) -> io::Result<Option<u64>> {
    Ok(match controller {
        Controller::Memory => Some(without_reserve(machines_memory()?, RESERVED_BYTES)),
        Controller::Pids => Some(without_reserve(machines_processes()?, RESERVED_PIDS)),
        Controller::Cpu => None,
    })
}

/// What of a machine's whole is the tasks'.
fn without_reserve(whole: u64, least: u64) -> u64 {
    whole.saturating_sub((whole / RESERVED_PART).max(least)).max(whole / 2)
}

/// In bytes.
pub(crate) fn machines_memory() -> io::Result<u64> {
    let info = fs::read_to_string("/proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("/proc/meminfo doesn't tell the memory"))
}

/// How many processes and threads there may be.
fn machines_processes() -> io::Result<u64> {
    let read = |name: &str| -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"))?;
        text.trim().parse().map_err(io::Error::other)
    };
    Ok(read("pid_max")?.min(read("threads-max")?))
}

#[cfg(test)]
mod tests {
    use super::super::controller::find;
    use super::*;
    use rustix::fs::{Access, access};

    #[test]
    fn a12_tasks_leave_a_part_of_the_machine() {
        assert_eq!(without_reserve(64 << 30, RESERVED_BYTES), (64 << 30) - (64 << 30) / 20);
        assert_eq!(without_reserve(4 << 30, RESERVED_BYTES), (4 << 30) - (512 << 20));
        assert_eq!(without_reserve(512 << 20, RESERVED_BYTES), 256 << 20, "a small machine is shared");
        assert_eq!(without_reserve(32_768, RESERVED_PIDS), 30_768);
    }

    #[test]
    fn a12_accounts_cgroups_come_and_go_under_many_hands() {
        let Some(place) = find(Controller::Pids) else { return };
        if access(&place.root, Access::WRITE_OK).is_err() {
            return;
        }
        let key = format!("race-{}", std::process::id());
        std::thread::scope(|scope| {
            for hand in 0..4 {
                let (root, key) = (&place.root, key.as_str());
                scope.spawn(move || {
                    for round in 0..200 {
                        let name = format!("muster-race-{hand}-{round}");
                        make_below(root, Some(key), &name).expect("made");
                        fs::remove_dir(above(root, Some(key)).join(name)).expect("there, and nobody else's");
                        remove_owner(root, key);
                    }
                });
            }
        });
        assert!(!above(&place.root, Some(&key)).exists());
    }
}
