//! Room on the disk of a master's logs (A4). Where the agent of `muster up` has the same disk, both are one ledger, and one
//! account gives way for both; else the logs are kept in bounds by themselves.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use agent::room::{self, Doing, Holder, Share, Way};
use agent::{Bound, Options};
use domain::authz::System;
use domain::id::TaskId;
use master::log::{Kept, KeptLog, Of, Removal};
use tokio_util::task::AbortOnDropHandle;

/// A master's logs, and the right to remove some for Muster itself.
struct Logs(Kept, System);

impl Holder for Logs {
    fn shares(&self) -> Doing<'_, Option<Vec<Share>>> {
        Box::pin(async {
            match self.0.all().await {
                Ok(logs) => Some(logs.into_iter().map(share).collect()),
                Err(error) => {
                    tracing::warn!(%error, "nobody can say what logs take of their disk, and whose they are");
                    None
                }
            }
        })
    }

    fn give_back<'a>(&'a self, shares: Vec<&'a Share>) -> Doing<'a, ()> {
        let of = |ends: bool| -> Vec<&Share> {
            shares.iter().filter(|share| matches!(share.way, Way::End(_)) == ends).copied().collect()
        };
        let (living, over) = (ids(&of(true)), of(false));
        Box::pin(async move {
            let bytes = over.iter().fold(0, |sum: u64, share| sum.saturating_add(share.bytes));
            if let Err(error) = self.0.remove(&self.1, &ids(&over), bytes, Removal::NoRoom).await {
                tracing::error!(%error, "logs can't be removed to make room");
            }
            if !living.is_empty() {
                self.0.end(&self.1, &living).await;
            }
        })
    }
}

fn ids(shares: &[&Share]) -> Vec<TaskId> {
    shares.iter().map(|share| share.task).collect()
}

fn share(log: KeptLog) -> Share {
    let KeptLog { allocation, owner, bytes, files, of } = log;
    let way = match of {
        Of::Living => Way::End(allocation),
        Of::Over => Way::Remove,
        Of::Rest => Way::None,
    };
    Share { task: allocation.task, owner: format!("account {owner}"), bytes, files, way }
}

/// Sees to it that a master's logs leave room on their disk, as long as it is held.
pub(super) type Room = AbortOnDropHandle<()>;

/// For a master without an agent on its logs' disk.
pub(super) fn alone((logs, system): (&Kept, &System), least: Bound<u64>) -> Room {
    let (place, logs) = (logs.place().to_owned(), Logs(logs.clone(), system.clone()));
    AbortOnDropHandle::new(tokio::spawn(room::keep(place, least, vec![Arc::new(logs)])))
}

/// For the agent of `muster up`: if its disk is the logs', it sees to both, and there is no other.
pub(super) fn beside((logs, system): (&Kept, &System), options: &mut Options) -> Option<Room> {
    if device(logs.place()) != device(&options.data_dir) {
        return Some(alone((logs, system), options.keep_free));
    }
    options.beside.push(Arc::new(Logs(logs.clone(), system.clone())));
    None
}

/// The file system that a directory is on, or will be.
fn device(place: &Path) -> Option<u64> {
    place.ancestors().find_map(|place| std::fs::metadata(place).ok()).map(|about| about.dev())
}
