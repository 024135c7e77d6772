//! The cgroup of one task, `muster/owner-<account>/muster-<task id>`, in whatever the machine has: v1 controllers, v2, or
//! both. Limits that can't be set are told, not fatal: a task without them still runs as the right user in its sandbox.
//!
//! What tasks share, those of a machine and those of an account, is in [`shared`]; what the machine has in [`controller`].

mod controller;
pub(crate) mod freezer;
mod memory;
mod shared;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, poll};

use crate::devices::Rule;
use crate::failure::{Explain, Failure};
use crate::spec::{Limits, Owner, TaskSpec};
use crate::sys::bpf;
use controller::{Controller, V1_ROOT, V2_ROOTS, find, v2_root, write_setting};
use freezer::FREEZER;
use memory::Memory;

pub use controller::CgroupSupport;
pub(crate) use controller::support;
pub(crate) use memory::{SocketMemory, Want};
pub use shared::all_tasks_limits;
pub(crate) use shared::machines_memory;

/// Whether what tasks' sockets hold is in their memory limits.
pub(crate) fn pays_for_sockets() -> bool {
    find(Controller::Memory).is_some_and(|place| place.v2)
}

/// Where version 1 has its device controller.
const DEVICES: &str = "/sys/fs/cgroup/devices";

/// The cgroups of one task. Its processes enter through [`Cgroup::doors`].
#[derive(Debug)]
pub(crate) struct Cgroup {
    task_id: String,
    owner: Option<String>,
    dirs: Vec<PathBuf>,
    doors: Vec<Door>,
    /// Places where the task is its account's first.
    first: Vec<PathBuf>,
    memory: Option<Memory>,
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
    pub(crate) fn create(spec: &TaskSpec) -> (Self, Vec<String>) {
        let mut this = Self::new(&spec.task_id, spec.owner.as_ref());
        let mut notes = vec![];
        let accounts = spec.owner.as_ref().map(|owner| owner.limits.as_limits());
        for controller in Controller::ALL {
            // No settings, no question; a v2 cgroup is made below in any case.
            let needed = |limits: &Limits| !controller.settings(limits, true).is_empty();
            if !needed(&spec.limits) && !accounts.as_ref().is_some_and(needed) {
                continue;
            }
            if let Err(reason) = this.limit(controller, spec, &mut notes) {
                notes.push(format!("the {} limit is not enforced: {reason}", controller.name()));
            }
        }
        if let Some(root) = v2_root() {
            // Not for a limit but for `cgroup.kill`, which pid namespaces do without, and `cgroup.freeze`.
            let _ = this.enter(&root, true);
        } else if Path::new(FREEZER).join("cgroup.procs").exists() {
            let _ = this.enter(Path::new(FREEZER), false);
        }
        (this, notes)
    }

    fn new(task_id: &str, owner: Option<&Owner>) -> Self {
        let owner = owner.map(|owner| owner.key.clone());
        let task_id = task_id.to_owned();
        Self { task_id, owner, dirs: vec![], doors: vec![], first: vec![], memory: None }
    }

    fn limit(
        &mut self,
        controller: Controller,
        spec: &TaskSpec,
        notes: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let place = find(controller)
            .ok_or_else(|| Failure::machine("this machine gives the agent no such cgroup controller"))?;
        shared::set_up_all_tasks(&place, controller).explain(|| "the cgroup of all tasks".into())?;
        let dir = self.enter(&place.root, place.v2)?;
        if let Some(owner) = &spec.owner {
            let first = self.first.contains(&place.root);
            if let Err(e) = shared::set_up_owner(&place, controller, owner, first) {
                let name = controller.name();
                notes.push(format!("the {name} limit of the account's tasks is not enforced: {e}"));
            }
        }
        if controller == Controller::Memory {
            let account = self.owner.as_deref().map(|key| shared::above(&place.root, Some(key)));
            self.memory = Some(Memory::new(dir.clone(), account, shared::all_tasks(&place.root)));
        }
        controller.apply(&dir, &spec.limits, place.v2).map_err(|e| Failure::machine(e.to_string()))
    }

    /// Denies the task every device but these and the harmless ones, where the machine has a controller for it.
    ///
    /// # Errors
    /// Why it isn't so. The task then still finds no node of another device.
    pub(crate) fn fence(&mut self, devices: &[PathBuf]) -> Result<(), Failure> {
        let rules = crate::devices::allowed(devices)?;
        // Version 2 first: there is nothing to move into.
        let v2 = v2_root().map(|root| self.below(&root)).filter(|dir| self.dirs.contains(dir));
        let fenced = v2.map(|dir| {
            let allowed = File::open(&dir).and_then(|dir| bpf::allow_devices(dir.as_fd(), &rules));
            allowed.explain(|| format!("{}: what denies devices can't be put there", dir.display()))
        });
        let has_v1 = Path::new(DEVICES).join("cgroup.procs").exists();
        match fenced {
            Some(Ok(())) => Ok(()),
            Some(Err(e)) if !has_v1 => Err(e),
            None if !has_v1 => Ok(()),
            _ => self.fence_v1(&rules),
        }
    }

    fn fence_v1(&mut self, rules: &[Rule]) -> Result<(), Failure> {
        let dir = self.enter(Path::new(DEVICES), false)?;
        let write = |file: &str, value: &str| {
            write_setting(&dir.join(file), value).explain(|| dir.join(file).display().to_string())
        };
        write("devices.deny", "a")?;
        rules.iter().try_for_each(|rule| write("devices.allow", &rule.to_string()))
    }

    fn below(&self, root: &Path) -> PathBuf {
        below(root, self.owner.as_deref(), &self.task_id)
    }

    /// Makes the task's cgroup in a place, keeps its door open and returns its path.
    fn enter(&mut self, root: &Path, v2: bool) -> Result<PathBuf, Failure> {
        let dir = self.below(root);
        self.open(root, &dir, v2).explain(|| dir.display().to_string())?;
        Ok(dir)
    }

    fn open(&mut self, root: &Path, dir: &Path, v2: bool) -> io::Result<()> {
        if self.dirs.iter().any(|d| d == dir) {
            return Ok(());
        }
        if shared::make_below(root, self.owner.as_deref(), &name(&self.task_id))? {
            self.first.push(root.to_owned());
        }
        self.dirs.push(dir.to_owned());
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

    /// A cgroup that has one of each task of the account's in it, and nothing else.
    pub(crate) fn account(&self) -> Option<PathBuf> {
        self.owner.as_ref().and(self.dirs.first()?.parent()).map(Path::to_owned)
    }

    /// Kills every process in the cgroup where the kernel can.
    pub(crate) fn kill(&self) {
        for dir in &self.dirs {
            let _ = write_setting(&dir.join("cgroup.kill"), "1");
            // In version 1 nobody dies who stands still.
            let _ = write_setting(&dir.join("freezer.state"), "THAWED");
        }
    }

    /// What tells how much memory the task's sockets have that is in a limit.
    pub(crate) fn sockets(&self) -> Option<SocketMemory> {
        self.memory.as_ref().map(Memory::sockets)
    }

    /// For want of whose memory a process of the task was killed, if one was.
    pub(crate) fn ran_out_of_memory(&self) -> Option<Want> {
        self.memory.as_ref()?.want()
    }

    /// Whether it wanted a process or thread more than it, or its account's tasks together, may have.
    pub(crate) fn ran_out_of_processes(&self) -> bool {
        self.dirs.iter().any(|dir| memory::number(&dir.join("pids.events"), "max").is_some_and(|n| n > 0))
    }

    /// Removes the cgroups. All processes of the task must have ended.
    pub(crate) fn remove(self) {
        remove(&self.task_id, self.owner.as_deref());
    }
}

/// Where the machine may have cgroups.
fn roots() -> impl Iterator<Item = PathBuf> {
    let v1 = Controller::ALL.iter().map(|c| Path::new(V1_ROOT).join(c.name()));
    v1.chain([DEVICES, FREEZER].map(PathBuf::from)).chain(V2_ROOTS.iter().map(PathBuf::from))
}

/// The cgroups of a task that there are, each with the place of its controller.
pub(crate) fn dirs(spec: &TaskSpec) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let owner = spec.owner.as_ref().map(|owner| owner.key.as_str());
    let both = roots().map(move |root| {
        let dir = below(&root, owner, &spec.task_id);
        (root, dir)
    });
    both.filter(|(_, dir)| dir.is_dir())
}

fn below(root: &Path, owner: Option<&str>, task_id: &str) -> PathBuf {
    shared::above(root, owner).join(name(task_id))
}

fn name(task_id: &str) -> String {
    format!("muster-{task_id}")
}

/// Removes the cgroups of a task, wherever they are, and its account's with the last task. Best effort: an empty cgroup
/// harms nobody.
pub(crate) fn remove(task_id: &str, owner: Option<&str>) {
    for root in roots() {
        remove_one(&below(&root, owner, task_id));
        if let Some(owner) = owner {
            shared::remove_owner(&root, owner);
        }
    }
}

fn remove_one(dir: &Path) {
    // A process that is just ending keeps its cgroup busy for a moment.
    for _ in 0..50 {
        match fs::remove_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b06_version_1_denies_all_but_what_is_allowed() {
        if !Path::new(DEVICES).join("cgroup.procs").exists() {
            return;
        }
        let mut cgroup = Cgroup::new(&format!("fence-{}", std::process::id()), None);
        let rules = crate::devices::allowed(&["/dev/tty".into()]).unwrap();
        cgroup.fence_v1(&rules).unwrap();
        let list = fs::read_to_string(cgroup.dirs[0].join("devices.list")).unwrap();
        let dir = cgroup.dirs[0].clone();
        cgroup.remove();
        assert!(list.contains("c 1:3 rw\n") && list.contains("c 136:* rw\n"), "{list}");
        assert!(!list.contains('a') && !list.contains('m'), "{list}");
        assert!(!dir.exists());
    }
}
