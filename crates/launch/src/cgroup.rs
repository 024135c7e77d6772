//! The cgroup of one task, `muster/muster-<task id>`, in whatever the machine has: v1 controllers, v2, or both. Limits
//! that can't be set are told, not fatal: a task without them still runs as the right user in its sandbox.
//!
//! All tasks of a machine share the cgroup above theirs, whose limits keep something for the machine's own people (A12):
//! many tasks together stay below it, and so does what an ended task's memory was handed on to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, poll};
use rustix::fs::{Access, access, statfs};
use serde::{Deserialize, Serialize};

use crate::devices::Rule;
use crate::spec::Limits;
use crate::sys::bpf;

const V1_ROOT: &str = "/sys/fs/cgroup";
const V2_ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const V2_MAGIC: u64 = 0x6367_7270;
/// The cgroup of all tasks.
const ALL_TASKS: &str = "muster";
/// Of the machine's memory and of its process numbers tasks leave a part, …
const RESERVED_PART: u64 = 20;
/// … and at least so many bytes …
const RESERVED_BYTES: u64 = 512 << 20;
/// … and processes.
const RESERVED_PIDS: u64 = 2000;
/// Where version 1 has its device controller.
const DEVICES: &str = "/sys/fs/cgroup/devices";
/// Period of the processor quota in microseconds, the kernel's own default.
const PERIOD: f64 = 100_000.0;

/// What a limit is about; also the name of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// The settings that put the limit in force: file, value, and whether the file may be missing.
    fn settings(self, limits: &Limits, v2: bool) -> Vec<(&'static str, String, bool)> {
        match self {
            Self::Memory => limits.memory_bytes.map_or(vec![], |n| {
                let n = n.to_string();
                // Swap counts: else the limit is only about where the memory is.
                if v2 {
                    vec![("memory.max", n, false), ("memory.swap.max", "0".into(), true)]
                } else {
                    vec![
                        ("memory.limit_in_bytes", n.clone(), false),
                        ("memory.memsw.limit_in_bytes", n, true),
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
}

/// Where the machine has a controller.
#[derive(Debug, Clone)]
struct Place {
    root: PathBuf,
    v2: bool,
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

/// The cgroups of one task. Its processes enter through [`Cgroup::doors`].
#[derive(Debug)]
pub(crate) struct Cgroup {
    task_id: String,
    dirs: Vec<PathBuf>,
    doors: Vec<Door>,
}

/// The way into a cgroup.
#[derive(Debug)]
pub(crate) struct Door {
    /// A process with one thread that writes `0` here moves into the cgroup. Whoever opened it must have the right to.
    pub(crate) entry: OwnedFd,
    /// The cgroup's directory, when a process can be made in it (v2).
    pub(crate) birthplace: Option<OwnedFd>,
}

impl Cgroup {
    /// Makes the cgroups of a task and sets its limits; the second value says which limits are not in force.
    pub(crate) fn create(task_id: &str, limits: &Limits) -> (Self, Vec<String>) {
        let mut this = Self { task_id: task_id.to_owned(), dirs: vec![], doors: vec![] };
        let mut notes = vec![];
        for controller in Controller::ALL {
            // No settings, no question; a v2 cgroup is made below in any case.
            if controller.settings(limits, true).is_empty() {
                continue;
            }
            if let Err(reason) = this.limit(controller, limits) {
                notes.push(format!("the {} limit is not enforced: {reason}", controller.name()));
            }
        }
        if let Some(root) = v2_root() {
            // Not for a limit but for `cgroup.kill`; pid namespaces do without it.
            let _ = this.enter(&below(&root, task_id), true);
        }
        (this, notes)
    }

    fn limit(&mut self, controller: Controller, limits: &Limits) -> Result<(), String> {
        let place = find(controller)
            .ok_or_else(|| "this machine gives the agent no such cgroup controller".to_owned())?;
        let dir = below(&place.root, &self.task_id);
        set_up_all_tasks(&place, controller).map_err(|e| format!("the cgroup of all tasks: {e}"))?;
        self.enter(&dir, place.v2).map_err(|e| format!("{}: {e}", dir.display()))?;
        for (file, value, optional) in controller.settings(limits, place.v2) {
            match write_setting(&dir.join(file), &value) {
                Err(e) if !(optional && e.kind() == io::ErrorKind::NotFound) => {
                    return Err(format!("{}: {e}", dir.join(file).display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Denies the task every device but these and the harmless ones, where the machine has a controller for it.
    ///
    /// # Errors
    /// Why it isn't so. The task then still finds no node of another device.
    pub(crate) fn fence(&mut self, devices: &[PathBuf]) -> Result<(), String> {
        let rules = crate::devices::allowed(devices)?;
        // Version 2 first: there is nothing to move into.
        let v2 = v2_root().map(|root| below(&root, &self.task_id)).filter(|dir| self.dirs.contains(dir));
        if let Some(dir) = v2
            && File::open(dir).and_then(|dir| bpf::allow_devices(dir.as_fd(), &rules)).is_ok()
        {
            return Ok(());
        }
        self.fence_v1(&rules)
    }

    fn fence_v1(&mut self, rules: &[Rule]) -> Result<(), String> {
        if !Path::new(DEVICES).join("cgroup.procs").exists() {
            return Ok(());
        }
        let dir = below(Path::new(DEVICES), &self.task_id);
        self.enter(&dir, false).map_err(|e| format!("{}: {e}", dir.display()))?;
        let write = |file: &str, value: &str| {
            write_setting(&dir.join(file), value).map_err(|e| format!("{}: {e}", dir.join(file).display()))
        };
        write("devices.deny", "a")?;
        rules.iter().try_for_each(|rule| write("devices.allow", &rule.to_string()))
    }

    /// Makes a cgroup and keeps its door open.
    fn enter(&mut self, dir: &Path, v2: bool) -> io::Result<()> {
        if self.dirs.iter().any(|d| d == dir) {
            return Ok(());
        }
        make_shared(dir.parent().unwrap_or(dir))?;
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => self.dirs.push(dir.to_owned()),
        }
        // The task sees its own: programs look for their limits there.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        // To move a whole process the kernel waits until every processor has taken note, some 10 ms; a thread that moves
        // itself doesn't wait.
        let file = if v2 { "cgroup.procs" } else { "tasks" };
        let entry = OpenOptions::new().write(true).open(dir.join(file))?.into();
        let birthplace = v2.then(|| File::open(dir)).transpose()?.map(OwnedFd::from);
        self.doors.push(Door { entry, birthplace });
        Ok(())
    }

    /// The ways into the cgroups; at most one of them has a birthplace.
    pub(crate) fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// The file that lists the processes of the task, if it has a cgroup at all.
    pub(crate) fn processes(&self) -> Option<PathBuf> {
        self.dirs.first().map(|dir| dir.join("cgroup.procs"))
    }

    /// Kills every process in the cgroup where the kernel can.
    pub(crate) fn kill(&self) {
        for dir in &self.dirs {
            let _ = write_setting(&dir.join("cgroup.kill"), "1");
        }
    }

    /// Whether a process of the task was killed for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.dirs.iter().any(|dir| {
            ["memory.oom_control", "memory.events"].iter().any(|file| {
                fs::read_to_string(dir.join(file)).is_ok_and(|text| {
                    text.lines().any(|l| l.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
                })
            })
        })
    }

    /// Removes the cgroups. All processes of the task must have ended.
    pub(crate) fn remove(self) {
        remove(&self.task_id);
    }
}

/// Where a task's cgroups may be: where the controller is, and the task's below it.
fn places(task_id: &str) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let v1 = Controller::ALL.iter().map(|c| Path::new(V1_ROOT).join(c.name()));
    v1.chain([PathBuf::from(DEVICES)]).chain(V2_ROOTS.iter().map(PathBuf::from)).map(move |root| {
        let dir = below(&root, task_id);
        (root, dir)
    })
}

/// The cgroups of a task that there are, each with the place of its controller.
pub(crate) fn dirs(task_id: &str) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    places(task_id).filter(|(_, dir)| dir.is_dir())
}

fn below(root: &Path, task_id: &str) -> PathBuf {
    root.join(ALL_TASKS).join(format!("muster-{task_id}"))
}

/// Makes a cgroup that others may make, too.
fn make_shared(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes the cgroup of all tasks what it is for a controller. It stays: what an ended task's memory was handed on to
/// counts there.
fn set_up_all_tasks(place: &Place, controller: Controller) -> io::Result<()> {
    let dir = place.root.join(ALL_TASKS);
    make_shared(&dir)?;
    let (file, limit) = match (controller, place.v2) {
        (Controller::Memory, true) => ("memory.max", without_reserve(machines_memory()?, RESERVED_BYTES)),
        (Controller::Memory, false) => {
            // Else the limit is only about what is in the cgroup itself; newer kernels know nothing else.
            let _ = write_setting(&dir.join("memory.use_hierarchy"), "1");
            ("memory.limit_in_bytes", without_reserve(machines_memory()?, RESERVED_BYTES))
        }
        (Controller::Pids, _) => ("pids.max", without_reserve(machines_processes()?, RESERVED_PIDS)),
        (Controller::Cpu, _) => ("", 0),
    };
    if !file.is_empty() {
        write_setting(&dir.join(file), &limit.to_string())?;
    }
    if place.v2 {
        write_setting(&dir.join("cgroup.subtree_control"), &format!("+{}", controller.name()))?;
    }
    Ok(())
}

/// What of a machine's whole is the tasks'.
fn without_reserve(whole: u64, least: u64) -> u64 {
    whole.saturating_sub((whole / RESERVED_PART).max(least)).max(whole / 2)
}

/// In bytes.
fn machines_memory() -> io::Result<u64> {
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

/// Removes the cgroups of a task, wherever they are. Best effort: an empty cgroup harms nobody.
pub(crate) fn remove(task_id: &str) {
    for (_, dir) in places(task_id) {
        // A process that is just ending keeps its cgroup busy for a moment.
        for _ in 0..50 {
            match fs::remove_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
                }
                _ => break,
            }
        }
    }
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

fn v2_root() -> Option<PathBuf> {
    V2_ROOTS.iter().map(PathBuf::from).find(|root| {
        statfs(root.as_path()).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|t| t == V2_MAGIC))
    })
}

/// The place of a controller: v2 when it is there and can be handed on, else v1.
fn find(controller: Controller) -> Option<Place> {
    if let Some(root) = v2_root() {
        let listed = |file: &str| {
            fs::read_to_string(root.join(file))
                .is_ok_and(|text| text.split_ascii_whitespace().any(|c| c == controller.name()))
        };
        if listed("cgroup.controllers") {
            // Handing a controller on is a switch of the parent; on most machines it is on already.
            if !listed("cgroup.subtree_control") {
                let _ =
                    write_setting(&root.join("cgroup.subtree_control"), &format!("+{}", controller.name()));
            }
            return listed("cgroup.subtree_control").then_some(Place { root, v2: true });
        }
    }
    let root = Path::new(V1_ROOT).join(controller.name());
    root.join("cgroup.procs").exists().then_some(Place { root, v2: false })
}

/// Writes a setting with one call, as the kernel wants it; creates nothing.
fn write_setting(path: &Path, value: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b06_version_1_denies_all_but_what_is_allowed() {
        if !Path::new(DEVICES).join("cgroup.procs").exists() {
            return;
        }
        let mut cgroup =
            Cgroup { task_id: format!("fence-{}", std::process::id()), dirs: vec![], doors: vec![] };
        let rules = crate::devices::allowed(&["/dev/tty".into()]).unwrap();
        cgroup.fence_v1(&rules).unwrap();
        let list = fs::read_to_string(cgroup.dirs[0].join("devices.list")).unwrap();
        let dir = cgroup.dirs[0].clone();
        cgroup.remove();
        assert!(list.contains("c 1:3 rw\n") && list.contains("c 136:* rw\n"), "{list}");
        assert!(!list.contains('a') && !list.contains('m'), "{list}");
        assert!(!dir.exists());
    }

    #[test]
    fn a12_tasks_leave_a_part_of_the_machine() {
        assert_eq!(without_reserve(64 << 30, RESERVED_BYTES), (64 << 30) - (64 << 30) / 20);
        assert_eq!(without_reserve(4 << 30, RESERVED_BYTES), (4 << 30) - (512 << 20));
        assert_eq!(without_reserve(512 << 20, RESERVED_BYTES), 256 << 20, "a small machine is shared");
        assert_eq!(without_reserve(32_768, RESERVED_PIDS), 30_768);
    }
}
