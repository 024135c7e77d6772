//! What a task is, as the agent says it: `TASKDIR/spec.json`.
//!
//! Only the description and the checks that need no machine. What the identity becomes on the machine is decided
//! in `identity`, whether a bind mount may be in `sandbox::source`.

use std::net::IpAddr;
use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

/// The default work directory, which is also the default `HOME` (contract "runtime", section 3.2).
pub const WORK_DIR: &str = "/run/determined/workdir";

/// The task's own directory besides its work directory (contract "runtime", section 3.2).
pub const RUN_DIR: &str = "/run/determined";

/// Default size of `/run` in bytes (A12).
pub const RUN_BYTES: u64 = 64 << 20;
/// Default size of `/dev/shm` in bytes, unless a limit of the memory makes it less (A12). Loaders of data that have
/// many processes pass what they read through it.
pub const SHM_BYTES: u64 = 2 << 30;

/// `PATH` of a task whose environment has none. The last of it is [`NAMES_DIR`].
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/bin";

/// Has the programs that a task's users expect under names that the machine may lack: `python` (B21).
pub(crate) const NAMES_DIR: &str = "/run/bin";

/// Everything the shim needs to know to run one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Name of the task on this machine: `[A-Za-z0-9._-]+`, no leading dot. Names the task directory and cgroups.
    pub task_id: String,
    /// The command. `argv[0]` is looked up in the task's `PATH` inside the sandbox. Never empty.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited. `PATH`, `HOME`, `USER`, `LOGNAME` and `SHELL` have defaults.
    pub env: Vec<(String, String)>,
    /// Who the task runs as.
    pub identity: Identity,
    /// Groups on the machine besides the identity's (B8). Only a task that is a user of the machine's own can have any.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Work directory inside the sandbox, [`WORK_DIR`] when absent. A custom one isn't created.
    pub work_dir: Option<String>,
    /// Host paths that the task sees.
    pub bind_mounts: Vec<BindMount>,
    /// What the task may use.
    pub limits: Limits,
    /// Whose it is, and what all tasks of that account on this machine may use together (I5). Absent in descriptions of
    /// earlier versions.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// Milliseconds between SIGTERM and SIGKILL when the task is to end (B15).
    #[serde(default)]
    pub kill_grace_ms: u64,
    /// What the task may ask of the kernel (A14).
    #[serde(default)]
    pub seccomp: Seccomp,
    /// Size of `/dev/shm` in bytes; [`SHM_BYTES`] or half of the memory limit, whichever is less, when absent.
    pub shm_bytes: Option<u64>,
    /// Size of `/run` in bytes, [`RUN_BYTES`] when absent.
    #[serde(default)]
    pub run_bytes: Option<u64>,
    /// Whether the launcher is root.
    pub mode: Mode,
    /// Muster's own directories and files: never visible in a task, never bindable. Name directories where you can:
    /// a file that Muster replaces by renaming takes the mask off in tasks that run already.
    pub masked: Vec<PathBuf>,
    /// When set, a bind mount's resolved source must lie under one of these.
    pub bind_prefixes: Option<Vec<PathBuf>>,
    /// Directories of the machine's below which the task sees what is mounted there later, if it asks for that: nobody
    /// judges such a mount, so elsewhere none arrives (A1).
    #[serde(default)]
    pub late_mounts: Vec<PathBuf>,
    /// What a bind mount that the task may write to may neither contain nor lie in: what the launcher runs, where the
    /// task is the launcher's own user.
    #[serde(default)]
    pub guarded: Vec<PathBuf>,
    /// Extra device nodes to show, such as `/dev/nvidia0`.
    pub devices: Vec<PathBuf>,
    /// Whether to have the cgroup deny all other devices, too. It matters where there are devices that one task may have
    /// and another not (B6), and may cost some 10 ms (version 1).
    #[serde(default)]
    pub fence_devices: bool,
    /// What the task can reach.
    #[serde(default)]
    pub network: Network,
    /// Addresses that say who the machine is, and that the task reaches all the same (see `network`).
    #[serde(default)]
    pub reach: Vec<IpAddr>,
    /// Variables that tell the task where its way to the master is, over those of `env`; `{port}` in a value stands
    /// for a port of 127.0.0.1.
    #[serde(default)]
    pub relay_env: Vec<(String, String)>,
    /// Directories of the launcher's own that the task sees, however hidden they are otherwise.
    #[serde(default)]
    pub shown: Vec<Shown>,
    /// Files that are in the task when it starts, made by its own user.
    #[serde(default)]
    pub own_files: Vec<OwnFile>,
    /// Something is still to be added: no shim runs it.
    #[serde(default)]
    pub unfinished: bool,
}

/// A directory of the launcher's own that a task sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Absolute path on the machine.
    pub host_path: PathBuf,
    /// A file of which the shim holds a shared lock (flock(2)) until its task has ended, so that nobody removes the directory
    /// meanwhile. It is nowhere where a task sees it: whoever can open a file can lock it, and keep others waiting (MA6).
    #[serde(default)]
    pub lock: Option<PathBuf>,
    /// The name that it has in the task's `/run`.
    pub name: String,
    /// The task may write to it, and it is given to the task's user: it is empty.
    #[serde(default)]
    pub writable: bool,
}

/// A file in a task that is there when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    /// Where, below [`RUN_DIR`]; directories are made.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
}

/// What a task's own file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// This text.
    Text(String),
    /// This text, to be executed.
    Program(String),
    /// A symbolic link to this.
    Link(PathBuf),
}

/// What a task may ask of the kernel (A14), from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Nothing that no training needs, no programs of its own in the kernel, and no namespaces.
    #[default]
    Default,
    /// Nothing that no training needs, and no namespaces; filters of its own, of system calls and of sockets. The memory for
    /// those is one number for the machine (T1).
    Filters,
    /// Nothing that no training needs; filters, and namespaces, for containers inside the task. They are bounded by their
    /// number only: what is in them may be everybody's (tables of neighbours, pseudo-terminals).
    Namespaces,
    /// Anything.
    Off,
}

impl Seccomp {
    /// A task may have the kernel run programs of its own, that filter calls or what sockets receive.
    pub(crate) fn allows_filters(self) -> bool {
        self >= Self::Filters
    }

    /// A task may make namespaces.
    pub(crate) fn allows_namespaces(self) -> bool {
        self >= Self::Namespaces
    }
}

/// The network of a task (A2, A3), from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A namespace of its own with loopback and a way to the master.
    None,
    /// The same, and the world outside as the machine reaches it.
    #[default]
    Private,
    /// The machine's own: its ports, and whatever listens on its loopback addresses.
    Host,
}

/// A Unix identity, by number and by name. Names are never resolved on the machine, numbers are what is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Login name that `id -un` prints in the task.
    pub user: String,
    /// User id in the task.
    pub uid: u32,
    /// Group name that `id -gn` prints in the task.
    pub group: String,
    /// Group id in the task.
    pub gid: u32,
}

/// A host path that the task sees at a path of its own (R38).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// Absolute path on the agent machine.
    pub host_path: PathBuf,
    /// Path in the task; a relative one is joined to the work directory.
    pub container_path: PathBuf,
    /// Whether the task may only read.
    #[serde(default)]
    pub read_only: bool,
    /// How mounts made below the source later are propagated: to the task, never from it, and only below a directory
    /// that [`TaskSpec::late_mounts`] lists. What is asked as shared is given as slave (A1).
    #[serde(default)]
    pub propagation: Propagation,
}

/// Mount propagation, as in mount_namespaces(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are mount(8)'s own")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rslave,
    Slave,
    Rshared,
    Shared,
}

/// Limits of one task; absent means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Processors' worth of time, such as 1.5.
    pub cpus: Option<f64>,
    /// Disk space of the task's own directories in bytes; more ends the task.
    #[serde(default)]
    pub scratch_bytes: Option<u64>,
    /// Files and directories in there; more ends the task.
    #[serde(default)]
    pub scratch_files: Option<u64>,
    /// Size of the log in bytes; what comes after is thrown away.
    #[serde(default)]
    pub log_bytes: Option<u64>,
    /// A full log ends the task.
    #[serde(default)]
    pub log_ends_task: bool,
}

/// The account that a task belongs to. It isn't its Unix id: several accounts may be linked to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Names the account's cgroup on this machine; as a task id is made.
    pub key: String,
    /// The number by which machines know it: root in its tasks is an id of its own by it. Absent in descriptions of earlier
    /// versions, whose tasks' roots are one.
    #[serde(default)]
    pub account: Option<u32>,
    /// What all its tasks may use.
    pub limits: Together,
}

/// What several tasks may use together; absent means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// How the launcher makes the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Mode {
    /// The launcher is root and becomes any user. An identity of uid 0 is mapped to a range that owns nothing.
    Root {
        /// First host id of the range that root in a task and its like are mapped to; the launcher knows how long that is
        /// (`identity::TASK_IDS`). Records of earlier versions say a length, too.
        root_range_base: u32,
    },
    /// The launcher is an ordinary user, and so is every task.
    Unprivileged,
}

impl TaskSpec {
    /// The work directory inside the sandbox.
    #[must_use]
    pub fn work_dir(&self) -> &str {
        self.work_dir.as_deref().unwrap_or(WORK_DIR)
    }

    /// Size of `/dev/shm` in bytes.
    #[must_use]
    pub fn shm_bytes(&self) -> u64 {
        let half = self.limits.memory_bytes.map_or(SHM_BYTES, |n| n / 2);
        self.shm_bytes.unwrap_or(SHM_BYTES.min(half))
    }

    /// Size of `/run` in bytes.
    #[must_use]
    pub fn run_bytes(&self) -> u64 {
        self.run_bytes.unwrap_or(RUN_BYTES)
    }

    /// The environment with its defaults filled in, and the relay at this port of 127.0.0.1.
    #[must_use]
    pub fn full_env(&self, relay_port: u16) -> Vec<(String, String)> {
        let port = relay_port.to_string();
        let relay = self.relay_env.iter().map(|(key, value)| (key, value.replace("{port}", &port)));
        let given = self.env.iter().map(|(key, value)| (key, value.clone()));
        let mut env: Vec<(String, String)> = Vec::with_capacity(self.env.len());
        for (key, value) in given.chain(relay) {
            // One value each (B7), the last one: programs differ in which of two they take.
            match env.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = value,
                None => env.push((key.clone(), value)),
            }
        }
        let defaults = [
            ("PATH", DEFAULT_PATH),
            ("HOME", WORK_DIR),
            ("USER", &self.identity.user),
            ("LOGNAME", &self.identity.user),
            ("SHELL", "/bin/bash"),
        ];
        for (key, value) in defaults {
            if !env.iter().any(|(k, _)| k == key) {
                env.push((key.to_owned(), value.to_owned()));
            }
        }
        env
    }

    /// Whether the description makes sense by itself.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        if !is_task_id(&self.task_id) {
            return Err(InvalidSpec::TaskId(self.task_id.clone()));
        }
        if let Some(owner) = self.owner.as_ref().filter(|owner| !is_task_id(&owner.key)) {
            return Err(InvalidSpec::Owner(owner.key.clone()));
        }
        if self.unfinished {
            return Err(InvalidSpec::Unfinished);
        }
        if let Some(shown) = self.shown.iter().find(|shown| !is_task_id(&shown.name)) {
            return Err(InvalidSpec::Shown(shown.name.clone()));
        }
        let plain = |part| matches!(part, Component::Normal(_));
        if let Some(file) = self.own_files.iter().find(|file| !file.path.components().all(plain)) {
            return Err(InvalidSpec::OwnFile(file.path.clone()));
        }
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(InvalidSpec::NoCommand);
        }
        let has_nul = |s: &String| s.contains('\0');
        if self.argv.iter().any(has_nul)
            || self.env.iter().any(|(k, v)| has_nul(k) || has_nul(v) || k.is_empty() || k.contains('='))
        {
            return Err(InvalidSpec::Nul);
        }
        for (what, name) in [("user", &self.identity.user), ("group", &self.identity.group)] {
            // The names become lines of /etc/passwd and /etc/group.
            if name.is_empty() || name.chars().any(|c| c == ':' || c.is_control()) {
                return Err(InvalidSpec::Name { what, name: name.clone() });
            }
        }
        if !self.work_dir().starts_with('/') {
            return Err(InvalidSpec::WorkDir(self.work_dir().to_owned()));
        }
        if self.limits.cpus.is_some_and(|n| !n.is_finite() || n <= 0.0) {
            return Err(InvalidSpec::Cpus);
        }
        Ok(())
    }
}

/// Why a description makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// It can't name a directory.
    #[error("task id {0:?} is not made of letters, digits, '.', '_' and '-'")]
    TaskId(String),
    /// Its owner can't name a cgroup.
    #[error("the owner {0:?} can't name a cgroup")]
    Owner(String),
    /// Something is still to be added.
    #[error("its description isn't finished")]
    Unfinished,
    /// What it is shown can't be called that.
    #[error("{0:?} can't be a name in /run")]
    Shown(String),
    /// A file of its own is somewhere else.
    #[error("{} is not below {RUN_DIR}", .0.display())]
    OwnFile(PathBuf),
    /// It runs nothing.
    #[error("the task has no command: give an entrypoint")]
    NoCommand,
    /// The kernel takes no such text.
    #[error("the command or an environment variable holds a NUL byte or has a malformed name")]
    Nul,
    /// A name would be more than a name.
    #[error("{what} name {name:?} can't be written to /etc/passwd: link another name")]
    Name {
        /// Of a user or a group.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It begins nowhere.
    #[error("work_dir {0:?} is not an absolute path")]
    WorkDir(String),
    /// No such part of a processor.
    #[error("the processor limit is not a positive number")]
    Cpus,
}

/// Whether `id` is safe as a file and cgroup name.
pub(crate) fn is_task_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 200
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r44_task_ids_are_plain_names() {
        for good in ["a", "trial-7.3_x", "0"] {
            assert!(is_task_id(good), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "a\0", "ä", "a\n"] {
            assert!(!is_task_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn b07_a_variable_has_one_value() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let spec: TaskSpec = serde_json::from_value(serde_json::json!({
            "task_id": "t", "argv": ["true"], "env": pairs(&[("A", "1"), ("HOME", "/"), ("A", "2")]),
            "identity": {"user": "u", "uid": 1, "group": "g", "gid": 1}, "work_dir": null, "bind_mounts": [],
            "limits": {"memory_bytes": null, "pids": null, "cpus": null}, "shm_bytes": null,
            "mode": {"kind": "unprivileged"}, "masked": [], "bind_prefixes": null, "devices": []
        }))
        .expect("a description of an earlier version");
        assert_eq!(spec.full_env(0)[..2], pairs(&[("A", "2"), ("HOME", "/")]));
        assert_eq!(spec.full_env(0).iter().filter(|(key, _)| key == "HOME").count(), 1);
    }

    #[test]
    fn propagation_is_spelt_as_mount_spells_it() {
        assert_eq!(serde_json::to_string(&Propagation::Rshared).unwrap(), "\"rshared\"");
    }
}
