//! `agent:` in `master.yaml`, which is all of an `agent.yaml`: what an agent offers, and how it holds its tasks.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use domain::identity::TASK_IDS;
use domain::system_ids::AllowedIds;
use serde::{Deserialize, Serialize};

use super::{BadConfig, is_blank};

pub use domain::config::Network;

/// The agent that `muster up` starts; the same keys stand at the top of an `agent.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Without root: takes root-identity tasks of every account.
    pub shared: bool,
    /// First of the uids and gids that stand for users of tasks without a link.
    pub root_range_base: u32,
    /// The only places that bind mounts may come from; none is everywhere.
    pub bind_prefixes: Option<Vec<PathBuf>>,
    /// Directories such as `/net` or `/home`: a bind mount from there that asks for `rslave` sees what the machine mounts
    /// there later, which is judged by nobody (A1).
    pub late_mounts: Vec<PathBuf>,
    /// Ids of the system that tasks may have all the same (A11).
    pub allowed_ids: AllowedIds,
    /// Which groups a task is in besides the one that its account is linked to (B8).
    pub groups: Groups,
    /// What a task can reach at most, and unless it asks for less.
    pub network: Network,
    /// Addresses of the cloud's that say who the machine is, and that tasks reach all the same: link-local ones and other
    /// metadata services.
    pub reach: Vec<IpAddr>,
    /// Limits of each task.
    pub task_limits: TaskLimits,
    /// Limits of all tasks of one account together.
    pub account_limits: AccountLimits,
    /// How much of the disk that the agent's data directory is on is to be free, such as `1G`: with less, the task that holds
    /// most of the account that holds most is ended (A4). A twentieth of the disk or 1 GiB; `none` ends nobody's.
    pub keep_free: Option<String>,
    /// The GPUs that it offers: numbers as `nvidia-smi` has them, or serial numbers; all by default, none if empty. Two
    /// agents on a machine share its GPUs by it (B19).
    pub devices: Option<Vec<DeviceName>>,
    /// Size of each task's `/run`, such as `64M`.
    pub run_size: Option<String>,
    /// Size of each task's `/dev/shm` when it asks for none, such as `2G`.
    pub shm_size: Option<String>,
    /// Seconds between SIGTERM and SIGKILL when a task is to end (B15).
    pub kill_grace: u64,
    /// What tasks may ask of the kernel (A14).
    pub seccomp: Seccomp,
    /// The Python of tasks: `managed` (made by Muster when a task first needs it), the absolute path of a prefix that has
    /// `bin/python3` (a virtual or conda environment), `module:NAME`, or `none` for the machine's own.
    pub task_environment: TaskEnvironment,
    /// Where managed environments are kept, which agents of one machine may share; in the agent's data directory by default.
    pub environment_dir: Option<PathBuf>,
}

/// The Python of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TaskEnvironment {
    /// One of Muster's making.
    #[default]
    Managed,
    /// The one in this directory.
    Prefix(PathBuf),
    /// That of an environment module.
    Module(String),
    /// The machine's own.
    Off,
}

impl TryFrom<String> for TaskEnvironment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
        match text.strip_prefix("module:") {
            Some(name) if !name.is_empty() && !name.starts_with('-') && name.chars().all(plain) => {
                Ok(Self::Module(name.to_owned()))
            }
            None if text == "managed" => Ok(Self::Managed),
            None if text == "none" => Ok(Self::Off),
            None if Path::new(&text).is_absolute() => Ok(Self::Prefix(text.into())),
            _ => Err(format!(
                "task_environment: '{text}' is neither managed, none, module:NAME nor the absolute path of a prefix"
            )),
        }
    }
}

impl From<TaskEnvironment> for String {
    fn from(value: TaskEnvironment) -> Self {
        match value {
            TaskEnvironment::Managed => "managed".to_owned(),
            TaskEnvironment::Off => "none".to_owned(),
            TaskEnvironment::Prefix(path) => path.to_string_lossy().into_owned(),
            TaskEnvironment::Module(name) => format!("module:{name}"),
        }
    }
}

/// What an administrator calls a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DeviceName {
    /// Its number.
    Number(u32),
    /// Its serial number, or the beginning of that; a number with quotes is one, too.
    Serial(String),
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Serial(serial) => serial.fmt(f),
        }
    }
}

/// Which groups a task is in besides the one that its account is linked to (B8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// Those that the agent's machine gives its user, when name and uid are that user's there; none of the system's.
    #[default]
    OfMachine,
    /// None.
    LinkedOnly,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            shared: false,
            root_range_base: 1 << 31,
            bind_prefixes: None,
            late_mounts: Vec::new(),
            allowed_ids: AllowedIds::default(),
            groups: Groups::default(),
            network: Network::default(),
            reach: Vec::new(),
            task_limits: TaskLimits::default(),
            account_limits: AccountLimits::default(),
            keep_free: None,
            devices: None,
            run_size: None,
            shm_size: None,
            kill_grace: 10,
            seccomp: Seccomp::default(),
            task_environment: TaskEnvironment::default(),
            environment_dir: None,
        }
    }
}

/// What tasks may ask of the kernel (A14), from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Nothing that no training needs, and neither filters nor namespaces of their own.
    #[default]
    Default,
    /// Nothing that no training needs, and no namespaces; filters, for programs that shut themselves in by them.
    Filters,
    /// Nothing that no training needs; filters and namespaces, for containers inside tasks.
    Namespaces,
    /// Anything.
    Off,
}

/// Limits of each task on an agent (A4, A12). What isn't set has a limit that fits the machine; `none` is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskLimits {
    /// Memory such as `8G`; all but a reserve of the machine's.
    pub memory: Option<String>,
    /// Processes and threads.
    pub pids: Option<Bound<u64>>,
    /// Processors, parts allowed; all of them.
    pub cpus: Option<Bound<f64>>,
    /// Disk space of the task's own directories; half of the disk that the agent's data directory is on.
    pub scratch: Option<String>,
    /// Files and directories in there; two million, or half of what that disk can have. The task's end waits until they
    /// are removed.
    pub scratch_files: Option<Bound<u64>>,
    /// Size of the log.
    pub log: Option<String>,
    /// What a full log does.
    pub on_full_log: OnFullLog,
}

/// Limits of all tasks of one account on an agent together (A12, I5), so that others' have theirs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountLimits {
    /// Memory such as `48G`; three quarters of what all tasks may use.
    pub memory: Option<String>,
    /// Processes and threads; half of what all tasks may have.
    pub pids: Option<Bound<u64>>,
}

/// A limit in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bound<T> {
    /// This much and no more.
    At(T),
    /// None at all.
    Unlimited(Unlimited),
}

/// The word for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlimited {
    /// `none`
    None,
}

/// What happens when a task's log is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFullLog {
    /// The task goes on, and what it writes is thrown away.
    #[default]
    Drop,
    /// The task is ended.
    End,
}

/// The word for no limit, where sizes stand.
pub const UNLIMITED: &str = "none";

/// Longest time between SIGTERM and SIGKILL, in seconds; who ends everything waits for it.
pub const MAX_KILL_GRACE: u64 = 600;

impl Agent {
    /// Reads an `agent.yaml`.
    ///
    /// # Errors
    /// The file, the line and the reason.
    #[expect(clippy::disallowed_methods, reason = "it is an administrator's own")]
    pub fn read(file: &Path) -> Result<Self, BadConfig> {
        let name = file.display().to_string();
        let bad = |reason: String| BadConfig { file: name.clone(), reason };
        let text = std::fs::read_to_string(file).map_err(|e| bad(format!("can't be read: {e}")))?;
        let agent: Self = if is_blank(&text) {
            super::tell_if_empty(&text, &name);
            Self::default()
        } else {
            serde_saphyr::from_str(&text).map_err(|e| bad(super::renamed::told(&e)))?
        };
        agent.check().map_err(bad)?;
        Ok(agent)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let TaskLimits { memory, scratch, log, cpus, .. } = &self.task_limits;
        for (key, size) in [("run_size", &self.run_size), ("shm_size", &self.shm_size)] {
            // The kernel takes 0 for no limit.
            if let Some(size) = size
                && domain::config::parse_size(size).is_none_or(|bytes| bytes < LEAST_TMPFS)
            {
                return Err(format!("{key}: '{size}' is not a size such as 8G, of 64K at least"));
            }
        }
        if let Some(prefix) = self.bind_prefixes.iter().flatten().find(|prefix| !prefix.is_absolute()) {
            return Err(format!("bind_prefixes: '{}' is not an absolute path", prefix.display()));
        }
        if let Some(dir) = self.environment_dir.as_ref().filter(|dir| !dir.is_absolute()) {
            return Err(format!("environment_dir: '{}' is not an absolute path", dir.display()));
        }
        if let Some(directory) = self.late_mounts.iter().find(|directory| !directory.is_absolute()) {
            return Err(format!("late_mounts: '{}' is not an absolute path", directory.display()));
        }
        // The kernel's own, and what all else is below.
        let machine = |directory: &&PathBuf| {
            let kernels = ["/proc", "/sys", "/dev"].iter().any(|own| directory.starts_with(own));
            let up = directory.components().any(|part| part == std::path::Component::ParentDir);
            kernels || up || directory.components().count() == 1
        };
        if let Some(directory) = self.late_mounts.iter().find(machine) {
            let told = directory.display();
            return Err(format!(
                "late_mounts: '{told}' would give tasks the machine: name a directory such as /net"
            ));
        }
        if let Some(Bound::At(pids)) = self.task_limits.pids
            && pids < LEAST_PIDS
        {
            return Err(format!(
                "task_limits.pids: {pids} is too little for any program: give {LEAST_PIDS} at least"
            ));
        }
        let highest = u32::MAX - TASK_IDS - 1;
        if !(1_000_000..=highest).contains(&self.root_range_base) {
            return Err(format!(
                "root_range_base: give the first of {TASK_IDS} free ids, 1000000 to {highest}"
            ));
        }
        let accounts = &self.account_limits.memory;
        for (key, size) in [
            ("task_limits.memory", memory),
            ("task_limits.scratch", scratch),
            ("task_limits.log", log),
            ("account_limits.memory", accounts),
            ("keep_free", &self.keep_free),
        ] {
            if let Some(size) = size.as_deref().filter(|size| *size != UNLIMITED)
                && domain::config::parse_size(size).is_none()
            {
                return Err(format!("{key}: '{size}' is not a size such as 8G, and not none"));
            }
        }
        if let Some(Bound::At(cpus)) = cpus
            && !(cpus.is_finite() && *cpus > 0.0)
        {
            return Err(format!("task_limits.cpus: {cpus} is not a number of processors such as 1.5"));
        }
        for (key, memory) in [("task_limits", memory), ("account_limits", accounts)] {
            if let Some(memory) = memory.as_deref().filter(|memory| *memory != UNLIMITED)
                && domain::config::parse_size(memory).is_some_and(|bytes| bytes < LEAST_MEMORY)
            {
                return Err(format!(
                    "{key}.memory: '{memory}' is too little for any program: give 16M at least"
                ));
            }
        }
        if self.kill_grace > MAX_KILL_GRACE {
            return Err(format!("kill_grace: give 0 to {MAX_KILL_GRACE} seconds"));
        }
        Ok(())
    }
}

/// Least size of a task's `/run` and `/dev/shm`, in bytes.
const LEAST_TMPFS: u64 = 64 << 10;

/// Least number of a task's processes and threads.
const LEAST_PIDS: u64 = 16;

/// Least memory of a task, in bytes.
const LEAST_MEMORY: u64 = 16 << 20;
