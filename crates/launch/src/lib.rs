//! Become a Unix user and run a task: namespaces, mounts, cgroups, and the shim that outlives the agent.
//!
//! The agent writes a task directory ([`create_task_dir`]), runs `muster shim TASKDIR` ([`shim::main`]), follows
//! the [`handle::Shim`], and reads the log ([`record`]) and the exit status ([`exit`]) from the directory. What
//! decides *whether* and *as whom* a task runs is not here but in the master; what ships the log is in the agent.
//!
//! ```text
//! agent ── muster shim TASKDIR          returns as soon as the shim is up
//!            └─ shim                    host namespaces, own session: log, kill, exit.json     (shim::supervise)
//!                 └─ init               pid 1 of the task: composes the root file system       (shim::init, sandbox)
//!                      └─ task          becomes the user, unpacks the context, execs           (shim::task)
//! ```
//!
//! `unsafe` is confined to `sys`, which holds the few system calls that neither rustix nor nix offer safely.

mod apart;
mod cgroup;
pub mod core_files;
pub mod descriptors;
mod devices;
mod empty;
pub mod exit;
mod failure;
pub mod handle;
mod identity;
mod leftover;
mod network;
mod part_locks;
pub mod probe;
pub mod record;
mod sandbox;
mod seccomp;
pub mod shared_numbers;
pub mod shim;
mod shown;
mod sockets;
pub mod spec;
mod stray;
mod sys;
mod task_dir;

pub use cgroup::{CgroupSupport, all_tasks_limits};
pub use exit::{Exit, Limit, read_exit, read_unfinished_exit};
pub use failure::{Failure, Fault, passes};
pub use handle::Shim;
pub use identity::{ACCOUNTS, TASK_IDS};
pub use leftover::leftovers;
pub use probe::{Capabilities, probe};
pub use shim::{Holding, NotUnpacked, holdings};
pub use shown::share;
pub use spec::{InvalidSpec, TaskSpec, WORK_DIR};
pub use stray::{Stray, strays};
pub use task_dir::{create_task_dir, empty_scratch, finish_spec, move_task_dir, read_spec, remove_task_dir};
