//! A task's way to the master (A2, A3): what the task says to the relay's address in its own network is taken to
//! the master, byte for byte, through the channel of crate `link`: encrypted, and never local there. The relay adds
//! nothing, no credentials above all: the task's process sends its own.
//!
//! The listener is the launcher's: while there is no agent connections wait there.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use domain::id::AllocationId;
use link::{Ends, LinkError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use crate::dial::{self, Lost};
use crate::launcher::Run;
use crate::machine::Machine;

/// Connections of one task at a time; more wait (F7). Each is two of the master's, and memory in both.
const MOST: usize = 64;

/// Pause after what may pass: no descriptors, no task yet.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves a live run until it has ended; dropping the future ends its connections.
pub(crate) async fn serve(machine: Arc<Machine>, run: Run) {
    let allocation = run.id;
    let listener = loop {
        let (asked, of) = (Arc::clone(&machine), run.clone());
        match spawn_blocking(move || asked.launcher.door(&of)).await {
            Ok(Ok(Some(listener))) => match TcpListener::from_std(StdListener::from(listener)) {
                Ok(listener) => break listener,
                Err(e) => tracing::warn!("the task can't reach the master yet: {e}"),
            },
            // It has another way to the master, or has gone.
            Ok(Ok(None)) => return,
            Ok(Err(e)) => tracing::warn!("the task can't reach the master yet: {e}"),
            Err(_) => return,
        }
        tokio::time::sleep(PAUSE).await;
    };
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    let mut told = false;
    loop {
        if places.available_permits() == 0 && !told {
            told = true;
            tracing::warn!(%allocation, "the task has {MOST} connections to the master; further ones wait");
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((task, _)) => {
                let machine = Arc::clone(&machine);
                connections.spawn(async move {
                    let _place = place;
                    // Whatever ends it, the task's client sees it end.
                    if let Err(why) = carry(&machine, allocation, task).await {
                        tracing::debug!(%allocation, "a connection of the task to the master ended: {why}");
                    }
                });
            }
            Err(e) => {
                tracing::warn!("a connection of the task to the master wasn't taken: {e}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Why a connection of a task's ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Task(#[from] std::io::Error),
    #[error("{0}")]
    Master(String),
    #[error(transparent)]
    Carried(LinkError),
}

async fn carry(machine: &Machine, allocation: AllocationId, task: TcpStream) -> Result<(), Broken> {
    task.set_nodelay(true)?;
    let channel = dial::http(machine, allocation).await.map_err(|lost| Broken::Master(Lost::why(lost)))?;
    let carried = link::splice(task, channel.sender, channel.receiver, Ends::There).await;
    carried.map_err(Broken::Carried)
}
