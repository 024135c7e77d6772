//! What still runs of this data directory and has no record in it (KP2), because an older copy of the directory was put in its
//! place, it was lost, or it was copied elsewhere: found once, when an agent starts. How it is ended is in `run::outlived`.

use std::fs::{self, File};
use std::path::Path;

use launch::Stray;
use rustix::fs::{FlockOperation, flock};

use crate::data_dir::{KEY_FILE, LOCK_FILE};

/// Tasks of an agent's data directory that go on without a record there. Those that now are another agent's, with which their
/// directories went elsewhere, aren't among them.
#[must_use]
pub fn strays(data_dir: &Path) -> Vec<Stray> {
    let Ok(data_dir) = data_dir.canonicalize() else { return Vec::new() };
    match launch::strays(&data_dir.join("tasks")) {
        Ok(mut found) => {
            found.retain(|stray| is_ours(stray, &data_dir) && !is_anothers(stray, &data_dir));
            found
        }
        Err(e) => {
            tracing::warn!("whether tasks run on without a record can't be seen: {e}");
            Vec::new()
        }
    }
}

/// Whether it was begun from this data directory, or from one that this is a copy of, whatever path it had then (KP2): what
/// led to its task's directory leads here now, that task is one of this directory's, or what it writes to lies in a
/// directory that has this agent's key.
fn is_ours(stray: &Stray, data_dir: &Path) -> bool {
    let tasks = data_dir.join("tasks");
    let was_in = stray.started_for.parent();
    if was_in == Some(&*tasks)
        || was_in.and_then(|dir| dir.canonicalize().ok()).is_some_and(|dir| dir == tasks)
    {
        return true;
    }
    // Ids are drawn at random: nobody else has this one.
    let key = |dir: &Path| fs::read(dir.join(KEY_FILE)).ok().filter(|key| !key.is_empty());
    tasks.join(&stray.task_id).is_dir()
        || root_of(stray).and_then(key).is_some_and(|theirs| key(data_dir) == Some(theirs))
}

/// The data directory that the one lies in that it writes to.
fn root_of(stray: &Stray) -> Option<&Path> {
    stray.moved_to.as_deref()?.parent()?.parent()
}

/// Whether the directory lies in another agent's that is at work.
fn is_anothers(stray: &Stray, data_dir: &Path) -> bool {
    let Some(other) = root_of(stray) else { return false };
    if other == data_dir {
        return false;
    }
    let lock = File::open(other.join(LOCK_FILE));
    lock.is_ok_and(|lock| {
        flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}
