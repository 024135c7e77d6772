//! What an agent is told at start. Where the values come from (flags, files, defaults) is the binary's business.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::config::Network;
use domain::id::AgentId;
use domain::system_ids::AllowedIds;
use link::Invitation;

use crate::environment;
use crate::launcher::Launcher;
use crate::launcher::sandbox::{AccountLimits, Bound, Seccomp, TaskLimits};
use crate::room::Holder;

/// What an agent is told at start.
#[derive(Clone)]
pub struct Options {
    /// The master, as `http://host:port` or `https://host:port`.
    pub master: String,
    /// Where the agent keeps its key and the runs that it holds. Made when it isn't there.
    pub data_dir: PathBuf,
    /// The agent's name in the installation.
    pub name: AgentId,
    /// Number of CPU slots; the machine's cores when absent. GPUs are always counted by themselves.
    pub slots: Option<u32>,
    /// The GPUs that it offers, by number, serial number or the beginning of that; when absent those that
    /// `CUDA_VISIBLE_DEVICES` of its environment names, or else all (B19).
    pub devices: Option<Vec<String>>,
    /// An invitation, needed once, and again when the master doesn't know this agent any more.
    pub invitation: Option<Invitation>,
    /// The executable whose command `shim TASKDIR` starts a shim.
    pub shim_exe: PathBuf,
    /// An agent without root takes tasks of every account.
    pub shared: bool,
    /// First host id of the range that root in a task is mapped to.
    pub root_range_base: u32,
    /// When set, bind mounts must lie under one of these.
    pub bind_prefixes: Option<Vec<PathBuf>>,
    /// Directories below which a task that asks for it sees what the machine mounts there later (A1).
    pub late_mounts: Vec<PathBuf>,
    /// Ids of the system that tasks may have all the same (A11).
    pub allowed_ids: AllowedIds,
    /// Whether tasks are in the groups that the machine gives their user (B8).
    pub machine_groups: bool,
    /// The most that a task's network may be, and what it is unless the task asks for less.
    pub network: Network,
    /// Addresses of the cloud's that say who the machine is, and that tasks reach all the same.
    pub reach: Vec<IpAddr>,
    /// What one task may use.
    pub limits: TaskLimits,
    /// What all tasks of one account may use together.
    pub account_limits: AccountLimits,
    /// How many bytes of the disk are to be free: the account that holds most of it gives way for that. Usually a twentieth of
    /// it, or a gigabyte.
    pub keep_free: Bound<u64>,
    /// Who else has something of accounts' on the disk of `data_dir`: a master beside it.
    pub beside: Vec<Arc<dyn Holder>>,
    /// Size of a task's `/run` in bytes; `launch`'s default when absent.
    pub run_bytes: Option<u64>,
    /// Size of a task's `/dev/shm` in bytes when it asks for none; `launch`'s default when absent.
    pub shm_bytes: Option<u64>,
    /// Between SIGTERM and SIGKILL when a task is to end (B15).
    pub kill_grace: Duration,
    /// What tasks may ask of the kernel (A14).
    pub seccomp: Seccomp,
    /// The Python that tasks have.
    pub environment: environment::Settings,
    /// What no task that is this agent's own user may write to, besides its program's directory and `data_dir`.
    pub guarded: Vec<PathBuf>,
    /// Paths that no task sees, besides `data_dir`.
    pub masked: Vec<PathBuf>,
    /// What starts tasks; the sandbox when absent, which the rest is about.
    pub launcher: Option<Arc<dyn Launcher>>,
    /// Told to the master.
    pub version: String,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The invitation is a secret.
        f.debug_struct("Options")
            .field("master", &self.master)
            .field("data_dir", &self.data_dir)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
