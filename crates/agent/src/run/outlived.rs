//! A run that went on while its directory got an older one's place, was lost, or was copied elsewhere (KP2). Nobody can take it on: what it prints
//! and how it ends go where nobody looks. It is ended as every task is, and told of by what is still held of it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Duration;

use domain::log::{Record, Source};
use domain::task::{Exit, Fault};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::disk::killed_early;
use super::follower::{Abandoned, Follower, State};
use crate::connection::now;
use crate::launcher::{Kill, LOG_FILE, Outlived};

/// How long the end may take beyond the task's own time to clean up.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why it is ended.
const WHY: &str = "its agent's record of it was older than what ran, or was lost, as when a back-up is restored or a data directory copied";

impl Follower {
    /// Ends it, and knows it as a run that is over from then on.
    pub(super) async fn end_outlived(&mut self, outlived: Box<dyn Outlived>) -> Result<State, Abandoned> {
        tracing::warn!("this task runs on, and its directory has no record of that: it is ended ({WHY})");
        self.started = true;
        // An agent that takes over meanwhile doesn't begin it again, whatever the directory has.
        let (machine, run) = (self.machine.clone(), self.run.clone());
        let known = spawn_blocking(move || machine.launcher.conclude(&run, &told(killed_early()))).await;
        if let Err(e) = known.map_err(io::Error::other).flatten() {
            tracing::error!("that it is over can't be noted: {e}");
        }
        let mut patience = self.machine.launcher.grace() + PATIENCE;
        for how in [Kill::WithGrace, Kill::Now, Kill::Destroy] {
            if let Err(e) = outlived.kill(how) {
                tracing::error!("the task can't be killed: {e}");
            }
            if self.meanwhile(timeout(patience, outlived.ended())).await?.is_ok() {
                break;
            }
            patience = PATIENCE;
        }
        let dir = self.run.dir.clone();
        let exit = spawn_blocking(move || {
            if let Err(e) = outlived.save_log(&dir).and_then(|()| say(&dir)) {
                tracing::warn!("what the task printed isn't all there: {e}");
            }
            outlived.exit().unwrap_or_else(killed_early)
        });
        let exit = exit.await.unwrap_or_else(|_| killed_early());
        Ok(self.end_unattended(told(exit)).await)
    }
}

fn told(exit: Exit) -> Exit {
    Exit { killed: true, failure: Some(WHY.into()), fault: Some(Fault::Ended), ..exit }
}

/// In the log, behind what the task printed.
fn say(dir: &std::path::Path) -> io::Result<()> {
    let line = format!("the task was ended: {WHY}\n");
    let mut bytes = Vec::new();
    Record { at: now(), source: Source::Agent, rank: None, payload: line.as_bytes() }.encode(&mut bytes);
    OpenOptions::new().append(true).create(true).open(dir.join(LOG_FILE))?.write_all(&bytes)
}
