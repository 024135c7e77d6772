//! What tasks hold of their agent's disk, and ending them to make room (A4).

use std::fs;
use std::path::{Path, PathBuf};

use domain::id::AllocationId;
use launch::Shim;
use tokio::task::spawn_blocking;

use super::{Doing, Holder, Share, Way};

/// The tasks of an agent, in a directory of its.
#[derive(Debug)]
pub(crate) struct Tasks(pub(crate) PathBuf);

impl Holder for Tasks {
    fn shares(&self) -> Doing<'_, Option<Vec<Share>>> {
        let dir = self.0.clone();
        Box::pin(async { spawn_blocking(move || shares(&dir)).await.ok() })
    }

    fn give_back<'a>(&'a self, shares: Vec<&'a Share>) -> Doing<'a, ()> {
        let dir = self.0.clone();
        let shares: Vec<Share> = shares.into_iter().cloned().collect();
        // An error means that the runtime shuts down.
        Box::pin(async {
            drop(spawn_blocking(move || shares.iter().for_each(|share| end(&dir, share))).await)
        })
    }
}

/// What each task has. Of those that are over it is what the master hasn't yet of their logs.
fn shares(dir: &Path) -> Vec<Share> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let share = |id: AllocationId| {
        let dir = dir.join(id.to_string());
        let over = launch::read_exit(&dir).ok()?.is_some();
        // What can't be read yet, or any more, holds nothing.
        let holding = launch::holding(&dir).ok()?;
        let owner = holding.owner.unwrap_or_else(|| id.to_string());
        let way = if over { Way::Soon } else { Way::End(id) };
        Some(Share { task: id.task, owner, bytes: holding.bytes, files: holding.files, way })
    };
    ids.filter_map(share).collect()
}

fn end(dir: &Path, share: &Share) {
    let Way::End(id) = share.way else { return };
    let asked = match Shim::open(&dir.join(id.to_string())) {
        Ok(Some(shim)) => shim.end_for_room(),
        // It has just ended.
        Ok(None) => return,
        Err(e) => Err(e),
    };
    if let Err(e) = asked {
        tracing::error!("task {id} can't be ended to make room: {e}");
    }
}
