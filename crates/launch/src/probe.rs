//! What this machine and this user can do for tasks, for the agent's message at start. Changes nothing.

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, CgroupSupport};
use crate::sys::{mount, process};

/// What this machine and this user can do for tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Whether tasks can become any user.
    pub root: bool,
    /// Whether user namespaces with mounts of their own can be made: root in a task needs them, and so does
    /// everything in an agent without root.
    pub userns: bool,
    /// Which limits can be enforced.
    pub cgroup: CgroupSupport,
    /// What is missing and what to do about it, one sentence each.
    pub reasons: Vec<String>,
}

/// Finds out what can be done.
#[must_use]
pub fn probe() -> Capabilities {
    let root = rustix::process::geteuid().is_root();
    let userns = has_user_namespaces();
    let cgroup = cgroup::support();
    let mut reasons = vec![];
    if !root {
        reasons.push("the agent isn't root: every task runs as the agent's own user".to_owned());
    }
    if !userns {
        reasons.push(
            "user namespaces are refused: allow them (sysctl user.max_user_namespaces, \
             kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
                .to_owned(),
        );
    }
    for (has, what) in [(cgroup.memory, "memory"), (cgroup.pids, "process"), (cgroup.cpu, "processor")] {
        if !has {
            reasons.push(format!("no writable cgroup controller: {what} limits of tasks aren't enforced"));
        }
    }
    Capabilities { root, userns, cgroup, reasons }
}

/// Tries it: settings that forbid it have many names.
fn has_user_namespaces() -> bool {
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    let child = process::spawn_in(CloneFlags::empty(), || {
        // This may be a master's process: whoever looks for one at the other end of a connection mustn't find a process in
        // namespaces of its own there.
        process::close_all_except(&[]);
        if unshare(namespaces).is_err() {
            return 1;
        }
        // AppArmor lets the namespace be made and then refuses what it is for.
        i32::from(mount::new_fs("tmpfs", &[], 0).is_err())
    });
    child.is_ok_and(|pid| matches!(waitpid(pid, None), Ok(WaitStatus::Exited(_, 0))))
}
