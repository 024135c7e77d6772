//! What still runs of this data directory and has no record in it (P2), because an older copy of the directory was put in its
//! place, or it was lost: found once, when an agent starts. How it is ended is in `run::outlived`.

use std::fs::File;
use std::path::Path;

use launch::Stray;
use rustix::fs::{FlockOperation, flock};

use crate::data_dir::LOCK_FILE;

/// Tasks of an agent's data directory that go on without a record there. Those that now are another agent's, with which their
/// directories went elsewhere, aren't among them.
#[must_use]
pub fn strays(data_dir: &Path) -> Vec<Stray> {
    let Ok(data_dir) = data_dir.canonicalize() else { return Vec::new() };
    match launch::strays(&data_dir.join("tasks")) {
        Ok(mut found) => {
            found.retain(|stray| !is_anothers(stray, &data_dir));
            found
        }
        Err(e) => {
            tracing::warn!("whether tasks run on without a record can't be seen: {e}");
            Vec::new()
        }
    }
}

/// Whether the directory lies in another agent's that is at work.
fn is_anothers(stray: &Stray, data_dir: &Path) -> bool {
    let Some(other) = stray.moved_to.as_deref().and_then(|dir| dir.parent()?.parent()) else { return false };
    if other == data_dir {
        return false;
    }
    let lock = File::open(other.join(LOCK_FILE));
    lock.is_ok_and(|lock| {
        flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}
