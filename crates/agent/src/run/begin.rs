//! How a run begins: at the master's word, or found on disk by a new agent, with whatever a crash left undone. What
//! happens from then on is in `follower`.

use std::io;
use std::sync::Arc;

use api::agent::Start;
use domain::task::{self, Exit};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::disk;
use super::follower::{Abandoned, Follower, Live, RETRY, State};
use crate::context;
use crate::environment::Prepared;
use crate::launcher::{Fault, Found, LaunchError, Order, Process, Python};
use crate::relay;

impl Follower {
    /// Begins a run that the master asked for.
    pub(super) async fn begin(&mut self, start: Start) -> Result<State, Abandoned> {
        if let Err(why) = self.machine.launcher.check(&start) {
            return Ok(self.fail(&why).await);
        }
        if start.has_context {
            let machine = Arc::clone(&self.machine);
            let file = disk::incoming_context(&machine.data_dir, self.run.id);
            let fetch = context::fetch(&machine, self.run.id, &start.token, &file);
            match self.unless_killed(fetch).await? {
                Some(Ok(())) => {}
                Some(Err(why)) => return Ok(self.fail(&why.into()).await),
                None => return Ok(self.end_unattended(disk::killed_early()).await),
            }
        }
        // A kill that came by now is cheaper to obey here than after the task is up.
        while let Ok(command) = self.commands.try_recv() {
            self.note(command);
        }
        if self.kill {
            return Ok(self.end_unattended(disk::killed_early()).await);
        }
        let (waits, python) = self.python_for(&start).await;
        let prepared = self.prepare(&start, waits, python.as_ref()).await?;
        if self.kill {
            return Ok(self.end_unattended(disk::killed_early()).await);
        }
        match prepared {
            Err(why) => Ok(self.fail(&why).await),
            Ok(()) if waits => Ok(self.wait_for_python()),
            Ok(()) => {
                let up = self.start().await;
                // By now whoever sees the task through has a lock of their own.
                drop(python);
                up
            }
        }
    }

    /// Makes everything ready on the disk.
    async fn prepare(
        &mut self,
        start: &Start,
        waits: bool,
        python: Option<&Prepared>,
    ) -> Result<Result<(), LaunchError>, Abandoned> {
        let (machine, run, stop) = (Arc::clone(&self.machine), self.run.clone(), CancellationToken::new());
        let master = machine.enrolment().map(|enrolment| enrolment.master.to_string()).unwrap_or_default();
        let python = match python {
            Some(python) => Python::Now(python),
            None if waits => Python::Later,
            None => Python::None,
        };
        let order = Order { start, master: &master, python };
        let prepared = self.unless_stopped(machine.launcher.prepare(&run, order, &stop), &stop).await?;
        if prepared.is_err() {
            return Ok(prepared);
        }
        let (machine, given) = (Arc::clone(&self.machine), start.given.clone());
        let placed = spawn_blocking(move || {
            machine.reserve.spend(|| {
                disk::place_context(&machine.data_dir, run.id)?;
                disk::keep_given(&run.dir, &given)
            })
        });
        Ok(placed.await.map_err(io::Error::from).flatten().map_err(LaunchError::Directory))
    }

    /// Takes on a run of an earlier agent, and repairs what a crash interrupted.
    pub(super) async fn adopt(&mut self) -> Result<State, Abandoned> {
        match self.inspect().await? {
            Found::Unstarted { incomplete } => {
                let (machine, id) = (Arc::clone(&self.machine), self.run.id);
                let placed = spawn_blocking(move || disk::place_context(&machine.data_dir, id)).await;
                if let Ok(Err(e)) = placed {
                    return Ok(self.fail(&LaunchError::Context(e)).await);
                }
                if incomplete { Ok(self.wait_for_python()) } else { self.start().await }
            }
            found => {
                self.started = !matches!(found, Found::Ended { began: false, .. });
                self.settle(found).await
            }
        }
    }

    pub(super) async fn start(&mut self) -> Result<State, Abandoned> {
        let (machine, run) = (Arc::clone(&self.machine), self.run.clone());
        let up = self.meanwhile(machine.launcher.start(&run)).await?;
        let found = self.inspect().await?;
        match (up, found) {
            // What is found counts, whatever was said.
            (Err(why), Found::Unstarted { .. } | Found::Gone) => Ok(self.fail(&why).await),
            (_, found) => {
                self.started = true;
                self.settle(found).await
            }
        }
    }

    /// Looks for the run until it can be seen: an agent that is out of descriptors for a moment must not take a living run for
    /// a dead one.
    pub(super) async fn inspect(&mut self) -> Result<Found, Abandoned> {
        let (machine, run) = (Arc::clone(&self.machine), self.run.clone());
        loop {
            let why = match machine.launcher.adopt(&run).await {
                Ok(found) => return Ok(found),
                Err(e) => e,
            };
            tracing::error!("{} can't be read, trying again: {why}", run.dir.display());
            self.meanwhile(tokio::time::sleep(RETRY)).await?;
        }
    }

    async fn settle(&mut self, found: Found) -> Result<State, Abandoned> {
        match found {
            Found::Ended { exit, .. } => Ok(self.ended(exit)),
            Found::Live(process) => Ok(State::Live(self.watch(process))),
            Found::Gone | Found::Unstarted { .. } => Ok(self.end_unattended(disk::supervisor_ended()).await),
        }
    }

    fn watch(&self, process: Box<dyn Process>) -> Live {
        let log = match self.machine.watch.log_of(&self.run.dir) {
            Ok(log) => Some(log),
            Err(e) => {
                tracing::warn!(
                    "the task's log can't be watched and is read every {RETRY:?}: {e}; raise fs.inotify.max_user_watches"
                );
                None
            }
        };
        let relay = tokio::spawn(relay::serve(Arc::clone(&self.machine), self.run.clone()));
        Live { process, log, killed: false, _relay: AbortOnDropHandle::new(relay) }
    }

    /// Ends a run that can't be begun.
    pub(super) async fn fail(&mut self, why: &LaunchError) -> State {
        let fault = match why.fault() {
            Fault::Task => {
                tracing::info!("the task is refused: {why}");
                task::Fault::Task
            }
            Fault::Machine => {
                tracing::error!("the task can't be begun, which is this machine's fault: {why}");
                task::Fault::Launch
            }
            Fault::Passing => {
                tracing::warn!("the task can't be begun now: {why}");
                task::Fault::Launch
            }
        };
        self.end_unattended(disk::never_began(why, fault)).await
    }

    /// Ends a run that nobody sees through, and remembers it.
    pub(super) async fn end_unattended(&mut self, exit: Exit) -> State {
        let (machine, run, end) = (Arc::clone(&self.machine), self.run.clone(), exit.clone());
        let recorded = spawn_blocking(move || {
            if let Err(e) = machine.launcher.empty(&run) {
                tracing::warn!("{} can't be emptied: {e}", run.dir.display());
            }
            machine.reserve.adjust();
            disk::drop_context(&machine.data_dir, run.id);
            machine.launcher.conclude(&run, &end)
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
