//! What the contract is tried in: a master, somebody's tasks, and a place where they run, of either kind.

use api::agent::Start;
use domain::id::{AllocationId, TaskId};
use domain::log::Source;
use domain::task::Exit;
use domain::time::Timestamp;
use master::config::{Pool, Scheduler};
use serde_json::{Value, json};
use testkit::{Batch, Database, FakeAgent, TestMaster, User, soon};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Agents,
    Batch,
}

/// Who gives the places, which are two slots of one machine.
pub(super) enum Place {
    Agents(FakeAgent),
    /// And an agent of the same name as its node, which nothing of this is the business of.
    Batch(Batch, FakeAgent),
}

pub(super) struct World {
    pub(super) master: TestMaster,
    pub(super) alice: User,
    pub(super) place: Place,
    pub(super) pool: &'static str,
}

impl World {
    pub(super) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Agents => {
                let scheduler = Scheduler { preemption: true, ..Scheduler::default() };
                let pool = Pool { scheduler, ..Pool::default() };
                let master =
                    TestMaster::configured(Database::Sqlite, |config| config.resource_pools = vec![pool]);
                let master = master.await;
                let (alice, place) =
                    (master.user("alice").await, Place::Agents(master.agent("node-1").await));
                Self { master, alice, place, pool: "default" }
            }
            Kind::Batch => {
                let batch = Batch::new(&[("node-1", 2)]);
                let master = TestMaster::with_batch(Database::Sqlite, "batch", &batch).await;
                let (alice, agent) = (master.user("alice").await, master.agent("node-1").await);
                Self { master, alice, place: Place::Batch(batch, agent), pool: "batch" }
            }
        }
    }

    pub(super) async fn submit(&self, slots: u32) -> String {
        self.submit_at(slots, 42).await
    }

    pub(super) async fn submit_at(&self, slots: u32, priority: i64) -> String {
        let resources = json!({"resource_pool": self.pool, "slots": slots, "priority": priority});
        self.alice.run(json!({"entrypoint": ["true"], "resources": resources})).await
    }

    /// Waits for the next run to be started there, and has it begin.
    pub(super) async fn begins(&mut self) -> Start {
        match &mut self.place {
            Place::Agents(agent) => agent.accept_start().await,
            Place::Batch(batch, _) => batch.begin().await,
        }
    }

    pub(super) async fn prints(&mut self, run: AllocationId, text: &str) {
        match &mut self.place {
            Place::Agents(agent) => {
                agent.send_log(run, Source::Stdout, Timestamp(1), text.as_bytes()).await;
                // Once more, from the beginning.
                agent.push_log(run).await;
            }
            Place::Batch(batch, _) => batch.print(run, text.as_bytes()),
        }
    }

    pub(super) async fn ends(&mut self, run: AllocationId, exit: Exit) {
        match &mut self.place {
            Place::Agents(agent) => {
                agent.say_exit(run, exit.clone()).await;
                agent.exit_as(run, exit).await;
            }
            Place::Batch(batch, _) => batch.end(run, exit),
        }
    }

    pub(super) async fn is_told_to_end(&mut self, run: AllocationId) {
        match &mut self.place {
            Place::Agents(agent) => agent.expect_kill(run).await,
            Place::Batch(batch, _) => batch.told_to_end(run).await,
        }
    }

    /// Waits until a task has arrived in the other's queue, if it has one.
    pub(super) async fn arrives(&self, task: &str) {
        if let Place::Batch(batch, _) = &self.place {
            batch.queued(run_of(task)).await;
        }
    }

    /// How often a run's process began.
    pub(super) fn is_begun_once(&self, run: AllocationId) {
        if let Place::Batch(batch, _) = &self.place {
            assert_eq!(batch.begun(run), 1);
        }
    }

    /// The master dies and comes again; `meanwhile` happens.
    pub(super) async fn restart(&mut self, meanwhile: impl AsyncFnOnce(&mut Place)) {
        self.master.stop().await;
        meanwhile(&mut self.place).await;
        self.master.boot().await;
        match &mut self.place {
            Place::Agents(agent) | Place::Batch(_, agent) => agent.reconnect().await,
        }
    }

    /// Waits until the command is so.
    pub(super) async fn until(&self, task: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let looks = async {
            loop {
                let command = self.alice.command(task).await;
                if is_so(&command) {
                    return command;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(what, looks).await
    }

    pub(super) async fn until_it_is(&self, task: &str, state: &str) -> Value {
        self.until(task, state, |command| command["state"] == state).await
    }

    pub(super) async fn is_over(&self, task: &str) -> Value {
        let command = self.until_it_is(task, "STATE_TERMINATED").await;
        assert_eq!(self.master.services().disagreements().await.expect("asked"), Vec::<String>::new());
        command
    }

    /// Nothing is left there.
    pub(super) async fn is_empty(&self) {
        if let Place::Batch(batch, _) = &self.place {
            batch.has_jobs(0).await;
        }
    }
}

pub(super) fn run_of(task: &str) -> AllocationId {
    AllocationId::first(TaskId(task.parse().expect("an id")))
}
