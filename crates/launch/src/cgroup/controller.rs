//! What the machine has of cgroups: where a controller is, in which version, and how a limit is said to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statfs};
use serde::{Deserialize, Serialize};

use crate::spec::Limits;

pub(super) const V1_ROOT: &str = "/sys/fs/cgroup";
pub(super) const V2_ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const V2_MAGIC: u64 = 0x6367_7270;
/// Period of the processor quota in microseconds, the kernel's own default.
const PERIOD: f64 = 100_000.0;

/// This part of a task's memory may wait in its sockets, less than makes all of the machine's slower (tcp_mem), …
pub(super) const SOCKETS_PART: u64 = 64;
/// … and at least so many bytes (version 1).
const SOCKETS_BYTES: u64 = 64 << 20;

/// What a limit is about; also the name of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// The settings that put the limit in force: file, value, and whether the file may be missing.
    pub(super) fn settings(self, limits: &Limits, v2: bool) -> Vec<(&'static str, String, bool)> {
        match self {
            Self::Memory => limits.memory_bytes.map_or(vec![], |n| {
                let (in_sockets, n) = ((n / SOCKETS_PART).max(SOCKETS_BYTES).min(n), n.to_string());
                // Swap counts: else the limit is only about where the memory is.
                if v2 {
                    vec![("memory.max", n, false), ("memory.swap.max", "0".into(), true)]
                } else {
                    vec![
                        ("memory.limit_in_bytes", n.clone(), false),
                        ("memory.memsw.limit_in_bytes", n, true),
                        // What waits in TCP and UDP is counted apart, where there is a limit.
                        ("memory.kmem.tcp.limit_in_bytes", in_sockets.to_string(), true),
                    ]
                }
            }),
            Self::Pids => limits.pids.map_or(vec![], |n| vec![("pids.max", n.to_string(), false)]),
            Self::Cpu => limits.cpus.map_or(vec![], |n| {
                // The kernel takes no quota below a millisecond.
                let quota = (n * PERIOD).max(1000.0).round();
                if v2 {
                    vec![("cpu.max", format!("{quota} {PERIOD}"), false)]
                } else {
                    vec![
                        ("cpu.cfs_period_us", PERIOD.to_string(), false),
                        ("cpu.cfs_quota_us", quota.to_string(), false),
                    ]
                }
            }),
        }
    }

    /// Puts the limit in force for the cgroup in `dir`.
    pub(super) fn apply(self, dir: &Path, limits: &Limits, v2: bool) -> io::Result<()> {
        for (file, value, optional) in self.settings(limits, v2) {
            match write_setting(&dir.join(file), &value) {
                Err(e) if !(optional && e.kind() == io::ErrorKind::NotFound) => {
                    return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.join(file).display())));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Hands the controller on to the cgroups below `dir` (version 2).
    pub(super) fn hand_on(self, dir: &Path) -> io::Result<()> {
        write_setting(&dir.join("cgroup.subtree_control"), &format!("+{}", self.name()))
    }
}

/// Where the machine has a controller.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) v2: bool,
}

/// What cgroups can do for tasks on this machine and for this user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSupport {
    /// Memory limits can be enforced.
    pub memory: bool,
    /// Limits on the number of processes can be enforced.
    pub pids: bool,
    /// Processor limits can be enforced.
    pub cpu: bool,
    /// A whole cgroup can be killed at once (v2).
    pub kill: bool,
}

/// What this machine gives this user.
pub(crate) fn support() -> CgroupSupport {
    let has = |controller| find(controller).is_some_and(|p| access(&p.root, Access::WRITE_OK).is_ok());
    CgroupSupport {
        memory: has(Controller::Memory),
        pids: has(Controller::Pids),
        cpu: has(Controller::Cpu),
        // The root cgroup has no `cgroup.kill` to look for; its children have one since Linux 5.14.
        kill: v2_root().is_some_and(|root| access(&root, Access::WRITE_OK).is_ok()),
    }
}

pub(super) fn v2_root() -> Option<PathBuf> {
    V2_ROOTS.iter().map(PathBuf::from).find(|root| {
        statfs(root.as_path()).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|t| t == V2_MAGIC))
    })
}

/// The place of a controller: v2 when it is there and can be handed on, else v1.
pub(super) fn find(controller: Controller) -> Option<Place> {
    if let Some(root) = v2_root() {
        let listed = |file: &str| {
            fs::read_to_string(root.join(file))
                .is_ok_and(|text| text.split_ascii_whitespace().any(|c| c == controller.name()))
        };
        if listed("cgroup.controllers") {
            // Handing a controller on is a switch of the parent; on most machines it is on already.
            if !listed("cgroup.subtree_control") && may_hand_on(&root) {
                let _ = controller.hand_on(&root);
            }
            return listed("cgroup.subtree_control").then_some(Place { root, v2: true });
        }
    }
    let root = Path::new(V1_ROOT).join(controller.name());
    root.join("cgroup.procs").exists().then_some(Place { root, v2: false })
}

/// Whether nothing is lost by handing a controller on. Where it isn't the machine's own root, as in a container, and has
/// processes in it, some can be handed on and others can't; what is below it is of no use to anybody then (MH1).
fn may_hand_on(root: &Path) -> bool {
    !root.join("cgroup.type").exists()
        || fs::read_to_string(root.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
}

/// Writes a setting with one call, as the kernel wants it; creates nothing.
pub(super) fn write_setting(path: &Path, value: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mh01_nothing_is_handed_on_where_processes_are_in_the_way() {
        let root = std::env::temp_dir().join(format!("launch-root-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("cgroup.procs"), "17\n").unwrap();
        assert!(may_hand_on(&root), "the machine's own root");
        fs::write(root.join("cgroup.type"), "domain\n").unwrap();
        assert!(!may_hand_on(&root), "a container's");
        fs::write(root.join("cgroup.procs"), "").unwrap();
        assert!(may_hand_on(&root), "an empty one");
        fs::remove_dir_all(&root).unwrap();
    }
}
