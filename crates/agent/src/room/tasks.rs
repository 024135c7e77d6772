//! What tasks hold of their agent's disk, and ending them to make room (A4).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::id::AllocationId;
use tokio::task::spawn_blocking;

use super::{Doing, Holder, Share, Way};
use crate::data_dir::DataDir;
use crate::launcher::{Holding, Kill, Launcher, Run};

/// The tasks of an agent.
#[derive(Debug)]
pub(crate) struct Tasks {
    /// What started them.
    launcher: Arc<dyn Launcher>,
    /// Where they have their directories.
    dir: PathBuf,
}

impl Tasks {
    pub(crate) fn new(launcher: &Arc<dyn Launcher>, data_dir: &DataDir) -> Self {
        Self { launcher: Arc::clone(launcher), dir: data_dir.tasks() }
    }
}

impl Holder for Tasks {
    fn shares(&self) -> Doing<'_, Option<Vec<Share>>> {
        let (launcher, dir) = (Arc::clone(&self.launcher), self.dir.clone());
        Box::pin(async { spawn_blocking(move || shares(launcher.as_ref(), &dir)).await.ok() })
    }

    fn give_back<'a>(&'a self, shares: Vec<&'a Share>) -> Doing<'a, ()> {
        Box::pin(async move {
            for share in shares {
                let Way::End(id) = share.way else { continue };
                let run = Run::new(&self.dir, id);
                if let Err(e) = self.launcher.kill(&run, Kill::ForRoom).await {
                    tracing::error!("task {id} can't be ended to make room: {e}");
                }
            }
        })
    }
}

/// What each task has. Of those that are over it is what the master hasn't yet of their logs, and what nobody can remove: that
/// is still its account's (ML1).
fn shares(launcher: &dyn Launcher, dir: &Path) -> Vec<Share> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let (ids, runs): (Vec<AllocationId>, Vec<Run>) = ids.map(|id| (id, Run::new(dir, id))).unzip();
    let share = |(id, holding): (AllocationId, io::Result<Holding>)| {
        // What can't be read yet, or any more, holds nothing.
        let holding = holding.ok()?;
        let owner = holding.owner.unwrap_or_else(|| id.to_string());
        let way = if holding.over { Way::Soon } else { Way::End(id) };
        Some(Share { task: id.task, owner, bytes: holding.bytes, files: holding.files, way })
    };
    ids.into_iter().zip(launcher.holdings(&runs)).filter_map(share).collect()
}
