//! A run that went on while its directory got an older one's place, was lost, or was copied elsewhere (KP2). Nobody can take it on: what it prints
//! and how it ends go where nobody looks. It is ended as every task is, and told of by what its shim still holds.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Duration;

use domain::log::{Record, Source};
use launch::{Exit, Shim, Stray};
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::LOG_FILE;
use super::disk::{self, killed_early};
use super::follower::{Abandoned, Follower, RETRY, State};
use crate::connection::now;
use crate::descriptor::readable;

/// How long a shim may take with what isn't its task's time to clean up.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why it is ended.
const WHY: &str = "its agent's record of it was older than what ran, or was lost, as when a back-up is restored or a data directory copied";

impl Follower {
    /// Ends it, and knows it as a run that is over from then on.
    pub(super) async fn end_stray(&mut self, stray: Stray) -> Result<State, Abandoned> {
        tracing::warn!("this task runs on, and its directory has no record of that: it is ended ({WHY})");
        self.started = true;
        // An agent that takes over meanwhile doesn't begin it again, whatever the directory has.
        let (machine, id) = (self.machine.clone(), self.id);
        let known = spawn_blocking(move || disk::is_over(&machine.data_dir, id, &told(killed_early()))).await;
        if let Err(e) = known.map_err(io::Error::other).flatten() {
            tracing::error!("that it is over can't be noted: {e}");
        }
        let exited = self.watch_exit(stray.shim()).await?;
        let mut patience = self.machine.kill_grace + PATIENCE;
        for ask in [Shim::kill, Shim::kill_now, Shim::destroy] {
            if let Err(e) = ask(stray.shim()) {
                tracing::error!("the task can't be killed: {e}");
            }
            if self.meanwhile(timeout(patience, exited.readable())).await?.is_ok() {
                break;
            }
            patience = PATIENCE;
        }
        let dir = self.dir.clone();
        let exit = spawn_blocking(move || {
            if let Err(e) = stray.save_log(&dir).and_then(|()| say(&dir)) {
                tracing::warn!("what the task printed isn't all there: {e}");
            }
            stray.exit().unwrap_or_else(killed_early)
        });
        let exit = exit.await.unwrap_or_else(|_| killed_early());
        Ok(self.end_without_shim(told(exit)).await)
    }

    async fn watch_exit(&mut self, shim: &Shim) -> Result<AsyncFd<std::os::fd::OwnedFd>, Abandoned> {
        loop {
            match shim.pidfd().try_clone_to_owned().and_then(readable) {
                Ok(exited) => return Ok(exited),
                Err(e) => tracing::error!("the task's supervisor can't be watched, trying again: {e}"),
            }
            self.meanwhile(tokio::time::sleep(RETRY)).await?;
        }
    }
}

fn told(exit: Exit) -> Exit {
    Exit { killed: true, failure: Some(WHY.to_owned()), ..exit }
}

/// In the log, behind what the task printed.
fn say(dir: &std::path::Path) -> io::Result<()> {
    let line = format!("the task was ended: {WHY}\n");
    let mut bytes = Vec::new();
    Record { at: now(), source: Source::Agent, payload: line.as_bytes() }.encode(&mut bytes);
    OpenOptions::new().append(true).create(true).open(dir.join(LOG_FILE))?.write_all(&bytes)
}
