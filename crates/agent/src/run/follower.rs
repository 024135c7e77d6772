//! The loop that drives one run: waits for its log, its shim, the master and its turn on the connection, and does what
//! is next. How it begins is in `begin`; what is next is decided in `shipping`; what stands on disk is in `disk`.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use api::agent::{LogChunk, Start, ToMaster};
use domain::id::AllocationId;
use domain::task::{Exit, Limit};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::disk;
use super::log_file::{LogFile, Piece};
use super::shipping::{MAX_PIECE, Next, Shipping};
use super::waiting::{self, Waiting};
use crate::launcher::{Found, Kill, Outlived, Process, Run};
use crate::lost;
use crate::machine::Machine;
use crate::outbox::{Outbox, Turn};
use crate::watch::Watched;

/// How long the master may take to answer before everything unanswered is sent again.
const OVERDUE: Duration = Duration::from_secs(15);

/// How long a log rests for which the master has no space, so that the end is known soon after there is some.
const REST: Duration = Duration::from_secs(3);

/// Pause before something that the machine refused is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Where a run comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The master wants it now.
    Start(Box<Start>),
    /// An earlier agent had it.
    Adopted,
    /// It goes on, and its directory has no record of that.
    Outlived(Box<dyn Outlived>),
}

/// What a run is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// There is a connection. `from` is set for a run that the master can have nothing of.
    Connected { outbox: Outbox, from: Option<u64> },
    /// There is none any more.
    Disconnected,
    /// The master has the log up to `offset`, up to `kept` for certain, and no space for more when it's `full`.
    Received { offset: u64, kept: u64, full: bool },
    /// End it; at once, or with time to clean up.
    Kill { now: bool },
    /// The master needs it no more.
    Forget,
    /// The master has no record of it.
    Disown,
}

/// A run that is over, that somebody sees through, or that is to be started.
#[derive(Debug)]
pub(super) enum State {
    /// Its Python is being made.
    Waiting(Box<Waiting>),
    Live(Live),
    Ended(Exit),
}

#[derive(Debug)]
pub(super) struct Live {
    /// Sees it through.
    pub(super) process: Box<dyn Process>,
    /// `None` when the machine has no more watches to give.
    pub(super) log: Option<Watched>,
    /// It was asked to end its task.
    pub(super) killed: bool,
    /// Takes the task's connections to the master; dropping it ends them.
    pub(super) _relay: AbortOnDropHandle<()>,
}

/// The end of the agent's work with all runs: whoever held the other end is gone.
pub(super) struct Abandoned;

/// Drives one run.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(super) run: Run,
    pub(super) machine: Arc<Machine>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    outbox: Option<Outbox>,
    shipping: Shipping,
    /// The run was started, now or earlier.
    pub(super) started: bool,
    /// Somebody wants its end.
    pub(super) kill: bool,
    /// At once.
    kill_now: bool,
    /// It ended because somebody wanted that, or for room on the disk.
    hurried: bool,
    /// Nobody wants to hear of it.
    forget: bool,
    /// The master has no record of it: what there is of it is kept.
    disowned: bool,
    /// The master has the log up to here for certain.
    kept: u64,
    /// It was said that there is something else in the log than records.
    unreadable: bool,
}

impl Follower {
    pub(crate) fn new(
        machine: Arc<Machine>,
        id: AllocationId,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            run: Run::new(&machine.data_dir.tasks(), id),
            machine,
            commands,
            outbox: None,
            shipping: Shipping::default(),
            started: false,
            kill: false,
            kill_now: false,
            hurried: false,
            forget: false,
            disowned: false,
            kept: 0,
            unreadable: false,
        }
    }

    /// Sees the run through until it is forgotten.
    #[tracing::instrument(skip_all, fields(allocation = %self.run.id))]
    pub(crate) async fn run(mut self, origin: Origin) {
        if self.drive(origin).await.is_err() {
            return;
        }
        let (dir, machine, disowned) = (self.run.dir.clone(), Arc::clone(&self.machine), self.disowned);
        let removed = spawn_blocking(move || {
            if disowned {
                keep(&machine, &dir)
            } else {
                remove(&machine, &dir)
            }
            machine.reserve.adjust();
        });
        if let Err(e) = removed.await {
            tracing::error!("{e}");
        }
    }

    async fn drive(&mut self, origin: Origin) -> Result<(), Abandoned> {
        let state = match origin {
            Origin::Start(start) => self.begin(*start).await?,
            Origin::Adopted => self.adopt().await?,
            Origin::Outlived(stray) => self.end_outlived(stray).await?,
        };
        if self.started {
            self.tell(&ToMaster::Started { allocation: self.run.id });
        }
        self.follow(state).await
    }

    pub(super) fn ended(&mut self, exit: Exit) -> State {
        self.shipping.ended();
        self.hurried = exit.killed || exit.limit == Some(Limit::Scratch);
        State::Ended(exit)
    }

    /// Does `work` and takes note of commands meanwhile.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Abandoned> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => self.note(command.ok_or(Abandoned)?),
            }
        }
    }

    /// The same, and tells who works when the run is to be killed.
    pub(super) async fn unless_stopped<T>(
        &mut self,
        work: impl Future<Output = T>,
        stop: &CancellationToken,
    ) -> Result<T, Abandoned> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => self.note(command.ok_or(Abandoned)?),
            }
            if self.kill {
                stop.cancel();
            }
        }
    }

    /// The same, but gives up when the run is to be killed.
    pub(super) async fn unless_killed<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, Abandoned> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(Some(done)),
                command = self.commands.recv() => self.note(command.ok_or(Abandoned)?),
            }
            if self.kill {
                return Ok(None);
            }
        }
    }

    pub(super) fn note(&mut self, command: Command) {
        match command {
            Command::Connected { outbox, from } => {
                self.outbox = Some(outbox);
                self.shipping.connected(from);
                if self.started {
                    self.tell(&ToMaster::Started { allocation: self.run.id });
                }
            }
            Command::Disconnected => self.disconnected(),
            Command::Received { offset, kept, full } => {
                self.kept = self.kept.max(kept);
                match (&self.outbox, full) {
                    (None, _) => {}
                    (Some(_), false) => self.shipping.received(offset),
                    (Some(_), true) => self.shipping.refused(offset, self.kill || self.hurried),
                }
            }
            Command::Kill { now } => (self.kill, self.kill_now) = (true, self.kill_now || now),
            Command::Disown => {
                if !std::mem::replace(&mut self.disowned, true) {
                    tracing::warn!("{}: it is ended, and its directory kept", NO_RECORD);
                }
                self.kill = true;
            }
            // Forgetting what still runs ends it: nobody would ever hear of it again.
            Command::Forget => (self.kill, self.kill_now, self.forget) = (true, true, true),
        }
    }

    fn disconnected(&mut self) {
        self.outbox = None;
        self.shipping.disconnected();
    }

    pub(super) fn tell(&self, message: &ToMaster) {
        if let Some(outbox) = &self.outbox {
            outbox.send(message);
        }
    }

    /// Ships the log and the end until the run is forgotten.
    async fn follow(&mut self, mut state: State) -> Result<(), Abandoned> {
        let mut log = LogFile::in_dir(&self.run.dir);
        // Kept over the rounds: a new wait would begin at the end of the queue.
        let mut turn: Option<Pin<Box<dyn Future<Output = Option<Turn>> + Send>>> = None;
        let mut asked_at = Instant::now();
        loop {
            if let State::Live(live) = &mut state
                && std::mem::take(&mut self.kill)
            {
                live.killed = true;
                let how = if self.kill_now { Kill::Now } else { Kill::WithGrace };
                if let Err(e) = live.process.kill(how) {
                    tracing::error!("the task can't be killed: {e}");
                }
            }
            if matches!(state, State::Waiting(_)) && std::mem::take(&mut self.kill) {
                state = self.end_unattended(disk::killed_early()).await;
            }
            if self.forget && matches!(state, State::Ended(_)) {
                return Ok(());
            }
            if turn.is_none()
                && self.shipping.next() != Next::Wait
                && let Some(outbox) = &self.outbox
            {
                turn = Some(Box::pin(outbox.clone().turn()));
            }
            let patience = self.patience();
            tokio::select! {
                command = self.commands.recv() => {
                    let command = command.ok_or(Abandoned)?;
                    if matches!(command, Command::Connected { .. } | Command::Disconnected) {
                        turn = None;
                    }
                    if !matches!(command, Command::Kill { .. }) {
                        asked_at = Instant::now();
                    }
                    self.note(command);
                    log.give_back(self.kept).await;
                }
                news = waiting::news(&state) => {
                    if let Some(next) = self.hear(&state, news).await? {
                        state = next;
                    }
                    self.shipping.grew();
                }
                () = grown(&state) => self.shipping.grew(),
                () = exited(&state) => {
                    let killed = matches!(&state, State::Live(live) if live.killed);
                    state = match self.inspect().await? {
                        Found::Ended { exit, .. } => self.ended(exit),
                        // The request can reach a shim that isn't ready to obey it and dies of it instead.
                        _ if killed => self.end_unattended(disk::killed_early()).await,
                        _ => self.end_unattended(disk::supervisor_ended()).await,
                    };
                }
                got = wait(&mut turn) => {
                    turn = None;
                    asked_at = Instant::now();
                    match got {
                        Some(got) => self.ship(got, &mut log, &state).await,
                        None => self.disconnected(),
                    }
                }
                () = tokio::time::sleep_until(asked_at + patience), if self.shipping.awaits_answer() => {
                    asked_at = Instant::now();
                    self.shipping.repeat();
                }
            }
        }
    }

    /// How long the master may take to answer, or its disk to get space.
    fn patience(&self) -> Duration {
        if self.shipping.is_resting() { REST } else { OVERDUE }
    }

    /// Uses the run's turn.
    async fn ship(&mut self, turn: Turn, log: &mut LogFile, state: &State) {
        match (self.shipping.next(), state) {
            (Next::Piece(offset), _) => match log.read(offset, MAX_PIECE).await {
                Ok(Piece::Records(records)) => {
                    self.shipping.sent(offset, records.len());
                    if !records.is_empty() {
                        turn.send_chunk(&LogChunk { allocation: self.run.id, offset, records });
                    }
                }
                Ok(Piece::Gone(to)) => {
                    self.shipping.sent(offset, usize::try_from(to - offset).unwrap_or(usize::MAX));
                    tracing::warn!(
                        "bytes {offset} to {to} of the task's log aren't here any more: the master is told"
                    );
                    turn.send(&ToMaster::LogMissing { allocation: self.run.id, from: offset, to });
                }
                Err(e) => {
                    // The rest can't be had. The run's end is worth telling all the same.
                    if !std::mem::replace(&mut self.unreadable, true) {
                        tracing::error!("the task's log can't be read: {e}");
                    }
                    self.shipping.sent(offset, 0);
                }
            },
            (Next::End(log_bytes), State::Ended(exit)) => {
                self.shipping.end_sent();
                turn.send(&ToMaster::Exited { allocation: self.run.id, exit: exit.clone(), log_bytes });
            }
            (Next::EarlyEnd, State::Ended(exit)) => {
                self.shipping.early_end_sent();
                let log_bytes = log.len().await;
                turn.send(&ToMaster::Exited { allocation: self.run.id, exit: exit.clone(), log_bytes });
            }
            _ => {}
        }
    }
}

/// Why a directory is kept.
const NO_RECORD: &str =
    "the master has no record of this task, as after a back-up of its database was restored";

/// Keeps the directory of a run that the master has no record of.
fn keep(machine: &Machine, dir: &Path) {
    let why = format!("{NO_RECORD} ({}). It was ended. What it printed is beside this.", machine.master);
    match lost::keep(machine.launcher.as_ref(), &machine.data_dir.lost(), dir, &why) {
        Ok(kept) => tracing::warn!("what there is of it is in {}", kept.display()),
        // The next agent finds it, and the master says it again.
        Err(e) => tracing::warn!("{} couldn't be moved to lost/, and stays: {e}", dir.display()),
    }
}

/// Removes the directory of a run, or leaves it for that to be tried again (S7).
fn remove(machine: &Machine, dir: &Path) {
    let Err(e) = machine.launcher.forget(dir) else { return tracing::debug!("forgotten") };
    tracing::warn!("{} couldn't be removed, and will be tried again: {e}", dir.display());
    // Else the next agent finds it and offers it to the master again.
    // What is held may be what the disk lacks.
    if let Err(e) = machine.reserve.spend(|| lost::leave(dir)) {
        tracing::warn!("{} couldn't be marked as left: {e}", dir.display());
    }
}

async fn grown(state: &State) {
    match state {
        State::Live(Live { log: Some(log), .. }) => log.grown().await,
        State::Live(_) => tokio::time::sleep(RETRY).await,
        State::Waiting(_) | State::Ended(_) => std::future::pending().await,
    }
}

async fn exited(state: &State) {
    match state {
        State::Live(live) => live.process.ended().await,
        State::Waiting(_) | State::Ended(_) => std::future::pending().await,
    }
}

async fn wait<T>(turn: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match turn {
        Some(turn) => turn.await,
        None => std::future::pending().await,
    }
}
