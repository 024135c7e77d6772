//! The kernel's limits per user (inotify instances, namespaces and others; namespaces(7), "The /proc/sys/user
//! directory"). What a process in a user namespace takes is charged there, and to whoever made that namespace, and so on
//! up. A task's root that root had made the namespace for would use up root's own, and that is everybody's.
//!
//! So an id makes it that stands for the task's account alone (`identity`): all of an account's tasks have what the machine lets
//! one user have.

use std::fs;
use std::io;

use nix::unistd::Uid;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Namespaces of each kind that a task's processes may have at once. Each takes the kernel's memory.
const NAMESPACES: u32 = 1024;
/// What the agent needs, too, whose user the task is, and where the machine's limit is: a task has a part of it.
const SHARED: [(&str, &str); 4] = [
    ("max_inotify_instances", "/proc/sys/fs/inotify/max_user_instances"),
    ("max_inotify_watches", "/proc/sys/fs/inotify/max_user_watches"),
    ("max_fanotify_groups", "/proc/sys/fs/fanotify/max_user_groups"),
    ("max_fanotify_marks", "/proc/sys/fs/fanotify/max_user_marks"),
];
const PART: u64 = 4;

/// Gives this process, which is root, the effective id of somebody else, and leaves it every capability: what it makes
/// next is that one's.
pub(super) fn act_as(uid: u32) -> io::Result<()> {
    let keep = Uid::from_raw(u32::MAX);
    nix::unistd::setresuid(keep, Uid::from_raw(uid), keep)?;
    let CapabilitySets { permitted, inheritable, .. } = capabilities(None)?;
    Ok(set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?)
}

/// Sets the limits of this process's user namespace. Needs `CAP_SYS_RESOURCE` there. Best effort: a kernel may not have
/// them all.
pub(super) fn limit_namespaces() {
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        set(&format!("max_{kind}_namespaces"), NAMESPACES.into());
    }
}

/// The same for what else the agent's user has, when the task is that user.
pub(super) fn leave_most_to_the_agent() {
    for (name, of_the_machine) in SHARED {
        let most = fs::read_to_string(of_the_machine).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if let Some(most) = most {
            set(name, (most / PART).max(1));
        }
    }
}

fn set(name: &str, value: u64) {
    let _ = fs::write(format!("/proc/sys/user/{name}"), value.to_string());
}

/// Gives up capabilities for good, so that executing a program as root doesn't bring them back.
pub(super) fn drop_for_good(gone: CapabilitySet) -> io::Result<()> {
    rustix::thread::remove_capability_from_bounding_set(gone)?;
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    let sets = CapabilitySets {
        effective: effective - gone,
        permitted: permitted - gone,
        inheritable: inheritable - gone,
    };
    Ok(set_capabilities(None, sets)?)
}
