//! The runs that the agent holds, by id: passing on what the master says. What a run does with it is in `run`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::agent::Start;
use domain::id::AllocationId;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::launcher::Outlived;
use crate::machine::Machine;
use crate::outbox::Outbox;
use crate::run::{self, Command, Follower, Origin};

/// All held runs. Dropping it ends the agent's work with them; the runs go on.
#[derive(Debug)]
pub(crate) struct Runs {
    machine: Arc<Machine>,
    held: Mutex<BTreeMap<AllocationId, Held>>,
}

#[derive(Debug)]
struct Held {
    /// By what the master knows that it gave it to this agent; empty when that isn't known here.
    given: String,
    commands: mpsc::UnboundedSender<Command>,
    _follower: AbortOnDropHandle<()>,
}

impl Runs {
    pub(crate) fn new(machine: Arc<Machine>) -> Arc<Self> {
        Arc::new(Self { machine, held: Mutex::default() })
    }

    /// Takes on a run of an earlier agent.
    pub(crate) fn adopt(self: &Arc<Self>, id: AllocationId) {
        self.hold(id, run::given(&self.machine.data_dir, id), Origin::Adopted, None);
    }

    /// Takes on a run that goes on without a record (KP2).
    pub(crate) fn end_outlived(self: &Arc<Self>, id: AllocationId, outlived: Box<dyn Outlived>) {
        self.hold(id, run::given(&self.machine.data_dir, id), Origin::Outlived(outlived), None);
    }

    /// Begins a run. One that is held already is left alone.
    pub(crate) fn start(self: &Arc<Self>, start: Box<Start>, outbox: &Outbox) {
        let id = start.allocation;
        // The master can have nothing of a run that it only now asks for.
        let connected = Command::Connected { outbox: outbox.clone(), from: Some(0) };
        self.hold(id, start.given.clone(), Origin::Start(start), Some(connected));
    }

    fn hold(self: &Arc<Self>, id: AllocationId, given: String, origin: Origin, first: Option<Command>) {
        let mut held = self.lock();
        if held.contains_key(&id) {
            return;
        }
        let (commands, received) = mpsc::unbounded_channel();
        if let Some(command) = first {
            // The receiver is at hand.
            let _ = commands.send(command);
        }
        let follower = Follower::new(Arc::clone(&self.machine), id, received);
        // Weak: a follower must not keep alive what ends it.
        let runs = Arc::downgrade(self);
        let follower = tokio::spawn(async move {
            follower.run(origin).await;
            if let Some(runs) = runs.upgrade() {
                // This drops the follower's own handle, as its last act.
                runs.lock().remove(&id);
            }
        });
        held.insert(id, Held { given, commands, _follower: AbortOnDropHandle::new(follower) });
    }

    /// All held runs, each with what shows that the master gave it to this agent.
    pub(crate) fn given(&self) -> BTreeMap<AllocationId, String> {
        self.lock().iter().map(|(id, held)| (*id, held.given.clone())).collect()
    }

    /// Tells one run something; one that isn't held doesn't mind.
    pub(crate) fn tell(&self, id: AllocationId, command: Command) {
        if let Some(run) = self.lock().get(&id) {
            // A run that is just being removed needs nothing any more.
            let _ = run.commands.send(command);
        }
    }

    /// Gives all runs a connection.
    pub(crate) fn connected(&self, outbox: &Outbox) {
        for run in self.lock().values() {
            let _ = run.commands.send(Command::Connected { outbox: outbox.clone(), from: None });
        }
    }

    /// Takes the connection away.
    pub(crate) fn disconnected(&self) {
        for run in self.lock().values() {
            let _ = run.commands.send(Command::Disconnected);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AllocationId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
