//! What a task has of the agent's disk, asked from outside of its shim: by the agent, when the disk is nearly full (A4).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::usage::{self, Usage};
use crate::cgroup;
use crate::spec::TaskSpec;
use crate::sys::mount::open_host;
use crate::task_dir::{CONTEXT_FILE, LOG_FILE, PID_FILE, SCRATCH_DIR, read_spec};

/// What a task has of the disk, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The key of the account that the task belongs to, when that is known.
    pub owner: Option<String>,
    /// Bytes: of its own directories, its files that have no name, its context, and of its log what is still here.
    pub bytes: u64,
    /// Files and directories in its own ones.
    pub files: u64,
}

/// Counts what this directory's task has. Blocks; millions of files take seconds.
///
/// # Errors
/// When the directory can't be read.
pub fn holding(task_dir: &Path) -> io::Result<Holding> {
    let spec = read_spec(task_dir)?;
    let owner = spec.owner.as_ref().map(|owner| owner.key.clone());
    let scratch = open_host(&task_dir.join(SCRATCH_DIR))?;
    // Who has more than anybody looks at hides it: taken for all there is.
    let all = |_| Usage { bytes: u64::MAX, files: u64::MAX };
    let used = usage::count(&scratch, &processes(&spec, task_dir)).unwrap_or_else(all);
    let context = fs::metadata(task_dir.join(CONTEXT_FILE)).map_or(0, |file| file.len());
    // What the master has of it takes no space here any more, whatever its length.
    let log = fs::metadata(task_dir.join(LOG_FILE)).map_or(0, |file| file.blocks() * 512);
    let beside = context.saturating_add(log);
    Ok(Holding { owner, bytes: used.bytes.saturating_add(beside), files: used.files })
}

/// The task's processes, as directories of `/proc`; they may hold files that have no name any more.
fn processes(spec: &TaskSpec, task_dir: &Path) -> Vec<PathBuf> {
    if let Some((_, cgroup)) = cgroup::dirs(spec).next() {
        return usage::processes(Some(&cgroup.join("cgroup.procs")), 0);
    }
    let pid = fs::read_to_string(task_dir.join(PID_FILE)).unwrap_or_default();
    let Some(shim) = pid.split_whitespace().next() else { return vec![] };
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let own = namespace("self");
    // The shim's other children, such as the helper of the network, are in the machine's own namespace.
    let init = |child: &&str| namespace(child) != own;
    let inits = children.split_whitespace().filter(init).filter_map(|child| child.parse().ok());
    inits.flat_map(|init| usage::processes(None, init)).collect()
}
