//! What tasks that are over have left on the disk and nobody can remove, for somebody on the machine holds it (MJ2). It is
//! their account's, and while it is there the account begins nothing new: else it could have all of the disk that way, one
//! task's worth after the other, and no task would be there to end (ML1).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::spec::TaskSpec;
use crate::task_dir::{EXIT_FILE, SCRATCH_DIR, empty_scratch, read_spec};

/// Of the tasks' directories in `parent`, those of an owner's that are over and can't be emptied, after one more try. The
/// first time that takes some seconds for each.
#[must_use]
pub fn leftovers(parent: &Path, owner: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let is_its =
        |spec: io::Result<TaskSpec>| spec.is_ok_and(|spec| spec.owner.is_some_and(|of| of.key == owner));
    let is_held = |dir: &Path| {
        let emptied = empty_scratch(dir);
        emptied.is_err_and(|e| e.kind() == io::ErrorKind::ResourceBusy)
    };
    let dirs = entries.map(|entry| entry.path());
    dirs.filter(|dir| has_something(dir) && is_its(read_spec(dir)) && is_held(dir)).collect()
}

/// Whether something of its own is left of a task that is over: seen without a lock that anybody could hold.
fn has_something(dir: &Path) -> bool {
    dir.join(EXIT_FILE).exists()
        && fs::metadata(dir.join(SCRATCH_DIR)).is_ok_and(|scratch| scratch.nlink() != 2)
}
