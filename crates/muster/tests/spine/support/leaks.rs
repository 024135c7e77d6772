//! What a test may not leave on the machine: processes, mounts, cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait::eventually;

/// Panics if anything is left that has to do with the installation in `dir`.
pub(crate) fn assert_none(dir: &Path) {
    eventually(&format!("nothing is left of {}", dir.display()), || {
        let left = processes(dir).is_empty() && mounts(dir).is_empty() && cgroups(dir).is_empty();
        left.then_some(())
    });
}

/// Command lines that name the directory: all of Muster's own processes do.
fn processes(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("text");
    let entries = fs::read_dir("/proc").expect("proc is mounted").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(dir)).collect()
}

fn mounts(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("text");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    mounts.lines().filter(|line| line.contains(dir)).map(str::to_owned).collect()
}

/// Cgroups of the tasks that the master in `dir` knows: each has a log there.
fn cgroups(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let logs = list(&dir.join("data/logs")).flat_map(|shelf| list(&shelf).collect::<Vec<_>>());
    let ids: Vec<_> = logs.filter_map(|log| Some(log.file_stem()?.to_str()?.to_owned())).collect();
    let controllers = list(Path::new("/sys/fs/cgroup"));
    let made = controllers.flat_map(|controller| {
        let (accounts, tasks): (Vec<_>, Vec<_>) =
            list(&controller.join("muster")).partition(|cgroup| has_prefix(cgroup, "owner-"));
        accounts.iter().flat_map(|account| list(account).collect::<Vec<_>>()).chain(tasks).collect::<Vec<_>>()
    });
    let ours = |cgroup: &PathBuf| {
        let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix("muster-").is_some_and(|name| ids.iter().any(|id| name.starts_with(id.as_str())))
    };
    made.filter(ours).collect()
}

fn has_prefix(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}
