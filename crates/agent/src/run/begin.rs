//! How a run begins: at the master's word, or found on disk by a new agent, with whatever a crash left undone. What
//! happens from then on is in `follower`.

use std::sync::Arc;

use api::agent::Start;
use launch::{Exit, Shim};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::disk::{self, Found};
use super::follower::{Abandoned, Follower, Live, RETRY, State};
use super::shim;
use crate::context;
use crate::descriptor::readable;
use crate::identity;
use crate::relay;
use crate::task_spec::task_spec;

impl Follower {
    /// Begins a run that the master asked for.
    pub(super) async fn begin(&mut self, start: Start) -> Result<State, Abandoned> {
        let (machine, of) = (Arc::clone(&self.machine), start.identity.clone());
        let groups = self.meanwhile(async move { identity::groups(&machine, &of).await }).await?;
        let spec = match task_spec(&self.machine, &start, groups) {
            Ok(spec) => spec,
            Err(why) => return Ok(self.end_without_shim(disk::never_began(why)).await),
        };
        if start.has_context {
            let machine = Arc::clone(&self.machine);
            let file = disk::incoming_context(&machine.data_dir, self.id);
            let fetch = context::fetch(&machine, self.id, &start.token, &file);
            match self.unless_killed(fetch).await? {
                Some(Ok(())) => {}
                Some(Err(why)) => return Ok(self.end_without_shim(disk::never_began(why)).await),
                None => return Ok(self.end_without_shim(disk::killed_early()).await),
            }
        }
        // A kill that came by now is cheaper to obey here than after the shim is up.
        while let Ok(command) = self.commands.try_recv() {
            self.note(command);
        }
        if self.kill {
            return Ok(self.end_without_shim(disk::killed_early()).await);
        }
        let given = start.given.clone();
        let (spec, python) = self.with_python(spec, start).await;
        let (machine, id, whole) = (Arc::clone(&self.machine), self.id, spec.clone());
        let made = spawn_blocking(move || shim::make_dir(&machine, id, &whole, &given)).await;
        let why = match made {
            Ok(Ok(_)) if spec.unfinished => return Ok(self.wait_for_python(spec)),
            Ok(Ok(_)) => {
                let up = self.start_shim().await;
                // By now the shim has a lock of its own.
                drop(python);
                return up;
            }
            Ok(Err(why)) => why,
            Err(e) => e.to_string(),
        };
        Ok(self.end_without_shim(disk::never_began(why)).await)
    }

    /// Takes on a run of an earlier agent, and repairs what a crash interrupted.
    pub(super) async fn adopt(&mut self) -> Result<State, Abandoned> {
        match self.inspect().await? {
            Found::Unstarted => {
                let (machine, id) = (Arc::clone(&self.machine), self.id);
                let placed = spawn_blocking(move || disk::place_context(&machine.data_dir, id)).await;
                if let Ok(Err(e)) = placed {
                    let why = format!("the context directory couldn't be stored: {e}");
                    return Ok(self.end_without_shim(disk::never_began(why)).await);
                }
                match launch::read_spec(&self.dir) {
                    Ok(spec) if spec.unfinished => Ok(self.wait_for_python(spec)),
                    _ => self.start_shim().await,
                }
            }
            found => {
                self.started = disk::ever_started(&self.dir);
                self.settle(found).await
            }
        }
    }

    pub(super) async fn start_shim(&mut self) -> Result<State, Abandoned> {
        let machine = Arc::clone(&self.machine);
        let up = self.meanwhile(shim::start_shim(&machine, self.dir.clone())).await?;
        let found = self.inspect().await?;
        match (up, found) {
            // What the directory says counts, whatever the command said.
            (Err(why), Found::Unstarted | Found::Gone) => {
                Ok(self.end_without_shim(disk::never_began(why)).await)
            }
            (_, found) => {
                self.started = true;
                self.settle(found).await
            }
        }
    }

    /// Looks at the run's directory until it can be read: an agent that is out of descriptors for a moment must not
    /// take a living run for a dead one.
    pub(super) async fn inspect(&mut self) -> Result<Found, Abandoned> {
        loop {
            let dir = self.dir.clone();
            let why = match spawn_blocking(move || disk::inspect(&dir)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(e)) => e,
                Err(e) => e.into(),
            };
            tracing::error!("{} can't be read, trying again: {why}", self.dir.display());
            self.meanwhile(tokio::time::sleep(RETRY)).await?;
        }
    }

    async fn settle(&mut self, found: Found) -> Result<State, Abandoned> {
        match found {
            Found::Ended(exit) => Ok(self.ended(exit)),
            Found::Live(shim) => Ok(State::Live(self.watch(shim).await?)),
            Found::Gone | Found::Unstarted => Ok(self.end_without_shim(disk::supervisor_ended()).await),
        }
    }

    async fn watch(&mut self, shim: Shim) -> Result<Live, Abandoned> {
        let exited = loop {
            match shim.pidfd().try_clone_to_owned().and_then(readable) {
                Ok(exited) => break exited,
                Err(e) => tracing::error!("the task's supervisor can't be watched, trying again: {e}"),
            }
            self.meanwhile(tokio::time::sleep(RETRY)).await?;
        };
        let log = match self.machine.watch.log_of(&self.dir) {
            Ok(log) => Some(log),
            Err(e) => {
                tracing::warn!(
                    "the task's log can't be watched and is read every {RETRY:?}: {e}; raise fs.inotify.max_user_watches"
                );
                None
            }
        };
        let relay = tokio::spawn(relay::serve(Arc::clone(&self.machine), self.id, self.dir.clone()));
        Ok(Live { shim, exited, log, killed: false, _relay: AbortOnDropHandle::new(relay) })
    }

    /// Ends a run for which no shim will, and remembers it.
    pub(super) async fn end_without_shim(&mut self, exit: Exit) -> State {
        let (machine, id, end) = (Arc::clone(&self.machine), self.id, exit.clone());
        let recorded = spawn_blocking(move || {
            let dir = machine.data_dir.tasks().join(id.to_string());
            if let Err(e) = launch::empty_scratch(&dir) {
                tracing::warn!("{} can't be emptied: {e}", dir.display());
            }
            machine.reserve.adjust();
            disk::drop_context(&machine.data_dir, id);
            disk::record_end(&machine.data_dir, id, &end)
        });
        match recorded.await {
            Ok(Ok(())) => {}
            // It is still told to the master; only a restart before that would forget it.
            Ok(Err(e)) => tracing::error!("the task's end couldn't be written: {e}"),
            Err(e) => tracing::error!("{e}"),
        }
        self.ended(exit)
    }
}
