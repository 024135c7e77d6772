//! Tasks that go on later: they are paused and resumed, what runs of them hears in time that it is to end, and answers.

use domain::allocation::{Allocation, Cause};
use domain::audit::By;
use domain::config::TaskConfig;
use domain::id::{AllocationId, TaskId, UserId};
use domain::kind::Kind;
use domain::setting::Setting;
use domain::task::{Exit, Standing, Task};
use domain::time::Timestamp;
use master::system::Clock as _;
use serde_json::{Value, json};
use testkit::{Database, FakeAgent, Requests as _, Response, TestMaster, User, on_both_databases, soon};

on_both_databases!(
    what_listens_is_told_to_save_what_it_has_and_goes_on_later,
    what_does_not_listen_is_ended_and_a_paused_task_can_be_killed,
    what_waits_is_paused_at_once,
    who_takes_too_long_is_ended,
    a_command_cannot_go_on_later_and_says_so,
    signals_are_for_the_running_task_alone,
    a05_mm2_what_is_done_is_written_down_whatever_its_doer_may_still_write,
);

/// A task that can go on later, and an agent.
struct Trial {
    master: TestMaster,
    alice: User,
    id: String,
    agent: FakeAgent,
}

impl Trial {
    async fn new(database: Database) -> Self {
        Self::on(TestMaster::start(database).await).await
    }

    async fn on(mut master: TestMaster) -> Self {
        let alice = master.user("alice").await;
        let like = alice.run_true().await;
        alice.post(&format!("/api/v1/commands/{like}/kill")).await.ok();
        let mut tx = master.store().write().await.expect("a transaction");
        let like = store::task::by_id(&mut tx, like.parse().expect("an id")).await.expect("read");
        let id = TaskId(uuid::Uuid::from_u128(4));
        let like = like.expect("there");
        let latest = Allocation::waiting(AllocationId::first(id), like.created_at);
        let task = Task { id, kind: Kind::Trial, standing: Standing::Active, latest, ..like };
        let config = TaskConfig::resolve(&json!({}), json!({"entrypoint": ["true"]}));
        store::task::insert(&mut tx, task, &config.expect("valid")).await.expect("inserted");
        tx.commit_unaudited("a test").await.expect("committed");
        master.restart().await;
        let agent = master.agent("node").await;
        Self { master, alice, id: id.to_string(), agent }
    }

    async fn pause(&self) -> Response {
        self.alice.post(&format!("/api/v1/tasks/{}/pause", self.id)).await
    }

    async fn unpause(&self) -> Response {
        self.alice.post(&format!("/api/v1/tasks/{}/unpause", self.id)).await
    }

    /// The latest run, when it is so far.
    async fn until_it_is(&self, state: &str) -> Value {
        let looks = async {
            loop {
                let task = self.alice.get(&format!("/api/v1/tasks/{}", self.id)).await.ok();
                let run = &task["task"]["allocations"][0];
                if run["state"] == state {
                    return run.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        soon(state, looks).await
    }

    async fn agrees(&self) {
        assert_eq!(self.master.services().disagreements().await.expect("asked"), Vec::<String>::new());
    }
}

fn signals(run: AllocationId, what: &str) -> String {
    format!("/api/v1/allocations/{run}/signals/{what}")
}

fn killed() -> Exit {
    Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }
}

async fn what_listens_is_told_to_save_what_it_has_and_goes_on_later(database: Database) {
    let mut trial = Trial::new(database).await;
    let start = trial.agent.accept_start().await;
    let run = start.allocation;
    trial.until_it_is("STATE_RUNNING").await;
    let inside = trial.master.task_of(start);
    let now = signals(run, "preemption?timeout_seconds=0");
    assert_eq!(inside.get(&now).await.ok(), json!({"preempt": false}));
    let path = signals(run, "preemption?timeoutSeconds=60");
    let hears = async { inside.get(&path).await };
    let (heard, paused) = tokio::join!(hears, trial.pause());
    assert_eq!((heard.ok(), paused.ok()), (json!({"preempt": true}), json!({})));
    trial.until_it_is("STATE_TERMINATING").await;
    assert_eq!(inside.get(&now).await.ok(), json!({"preempt": true}), "whoever asks later, too");
    trial.pause().await.refused(400);
    trial.unpause().await.refused(400);
    // It has its time, also after both came back.
    trial.master.restart().await;
    trial.agent.reconnect().await;
    assert_eq!(inside.get(&now).await.ok(), json!({"preempt": true}));
    inside.post(&signals(run, "ack_preemption")).await.ok();
    trial.agent.exit(run, 0).await;
    let over = trial.until_it_is("STATE_TERMINATED").await;
    assert_eq!(over["statusCode"], 0);
    let log = trial.alice.log(&trial.id).await;
    assert!(log.iter().any(|line| line.contains("gracefully terminating")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("forcibly")), "{log:?}");
    inside.get(&now).await.refused(401);
    trial.agrees().await;

    trial.unpause().await.ok();
    let next = trial.agent.accept_start().await;
    assert_eq!((next.allocation.run, next.allocation.task), (2, run.task));
    let inside = trial.master.task_of(next.clone());
    // What was asked of the run before isn't asked of this one.
    for run in [run, next.allocation] {
        let path = signals(run, "preemption?timeout_seconds=0");
        assert_eq!(inside.get(&path).await.ok(), json!({"preempt": false}));
    }
    inside.post(&signals(next.allocation, "pending_preemption")).await.ok();
    let now = signals(next.allocation, "preemption");
    assert_eq!(inside.get(&now).await.ok(), json!({"preempt": true}));
    inside.post(&signals(next.allocation, "ack_preemption")).await.ok();
    // Whatever it ends with from then on is no failure (MK4).
    trial.agent.exit(next.allocation, 5).await;
    // That wasn't anybody's wish.
    let last = trial.agent.accept_start().await.allocation;
    assert_eq!(last.run, 3);
    let log = trial.alice.log(&trial.id).await;
    assert!(log.iter().any(|line| line.contains("allocation was preempted")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("crashed")), "{log:?}");
    trial.agent.exit(last, 0).await;
    trial.until_it_is("STATE_TERMINATED").await;
    trial.unpause().await.refused(400);
    trial.agrees().await;
}

async fn what_does_not_listen_is_ended_and_a_paused_task_can_be_killed(database: Database) {
    let mut trial = Trial::new(database).await;
    let run = trial.agent.accept_start().await.allocation;
    trial.until_it_is("STATE_RUNNING").await;
    trial.pause().await.ok();
    trial.agent.expect_kill(run).await;
    trial.agent.exit_as(run, killed()).await;
    trial.until_it_is("STATE_TERMINATED").await;
    trial.agrees().await;
    trial.alice.post(&format!("/api/v1/commands/{}/kill", trial.id)).await.ok();
    trial.agrees().await;
    let told = trial.unpause().await.refused(400);
    assert!(told.contains("as it is in state 'OVER'"), "{told}");
    assert_eq!(trial.master.services().tasks.count_living(), 0);
}

/// Where a pause was refused by what its owner had used up meanwhile, nothing was started any more, of anybody's.
async fn a05_mm2_what_is_done_is_written_down_whatever_its_doer_may_still_write(database: Database) {
    let configure = |config: &mut master::Config| config.limits.stored_bytes_per_day = 1 << 20;
    let mut trial = Trial::on(TestMaster::configured(database, configure).await).await;
    let run = trial.agent.accept_start().await.allocation;
    trial.until_it_is("STATE_RUNNING").await;
    let mut tx = trial.master.store().write().await.expect("a transaction");
    let (alice, id) = (trial.alice.clone(), trial.id.clone());
    let pause = tokio::spawn(async move { alice.post(&format!("/api/v1/tasks/{id}/pause")).await });
    trial.agent.expect_kill(run).await;
    let owner = UserId(trial.alice.id);
    let by = By::Task { task: run.task, owner, username: "alice".to_owned(), address: None };
    let large = Setting { path: String::new(), key: "large".to_owned(), value: "x".repeat(1 << 20) };
    store::setting::replace(&mut tx, owner, &[], &[large]).await.expect("replaced");
    let now = trial.master.clock.now();
    tx.commit_unaudited_by(&by, "a test", now).await.expect("committed");
    trial.alice.patch(&trial.alice.path()).json(json!({"displayName": "Not now"})).await.refused(429);
    soon("the pause", pause).await.expect("no panic").ok();
    trial.agent.exit_as(run, killed()).await;
    trial.until_it_is("STATE_TERMINATED").await;
    let bob = trial.master.user("bob").await;
    let next = bob.run_true().await;
    assert_eq!(trial.agent.accept_start().await.allocation.task.to_string(), next);
    trial.agrees().await;
}

async fn what_waits_is_paused_at_once(database: Database) {
    let mut trial = Trial::new(database).await;
    let run = trial.agent.accept_start().await.allocation;
    trial.until_it_is("STATE_RUNNING").await;
    trial.pause().await.ok();
    trial.agent.exit_as(run, killed()).await;
    trial.until_it_is("STATE_TERMINATED").await;
    trial.agent.disconnect();
    trial.unpause().await.ok();
    trial.until_it_is("STATE_QUEUED").await;
    trial.pause().await.ok();
    let over = trial.until_it_is("STATE_TERMINATED").await;
    assert_eq!(over["exitReason"], "allocation was paused before it started");
    trial.agrees().await;
    trial.unpause().await.ok();
    trial.agent.reconnect().await;
    let run = trial.agent.accept_start().await.allocation;
    assert_eq!(run.run, 3);
    trial.agent.exit(run, 0).await;
    trial.until_it_is("STATE_TERMINATED").await;
    trial.agrees().await;
}

async fn who_takes_too_long_is_ended(database: Database) {
    let mut trial = Trial::new(database).await;
    let run = trial.agent.accept_start().await.allocation;
    trial.until_it_is("STATE_RUNNING").await;
    // It was told an hour ago.
    let mut tx = trial.master.store().write().await.expect("a transaction");
    let until = Some(Timestamp(1));
    store::task::set_asked(&mut tx, run, Cause::Preempted, until).await.expect("noted");
    tx.commit_unaudited("a test").await.expect("committed");
    trial.master.restart().await;
    trial.agent.reconnect().await;
    trial.agent.expect_kill(run).await;
    trial.agent.exit_as(run, killed()).await;
    let next = trial.agent.accept_start().await.allocation;
    assert_eq!(next.run, 2, "it goes on, and that was no failure");
    trial.agent.exit(next, 0).await;
    trial.until_it_is("STATE_TERMINATED").await;
    trial.agrees().await;
}

async fn a_command_cannot_go_on_later_and_says_so(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    for what in ["pause", "unpause"] {
        let told = alice.post(&format!("/api/v1/tasks/{}/{what}", task.id())).await.refused(400);
        assert!(told.contains("a command can't go on later"), "{told}");
    }
    let run = task.start.allocation;
    let told = task.post(&signals(run, "pending_preemption")).await.refused(400);
    assert!(told.contains("a command can't go on later"), "{told}");
    assert_eq!(task.get(&signals(run, "preemption")).await.ok(), json!({"preempt": false}));
    task.post(&signals(run, "ack_preemption")).await.ok();
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
}

async fn signals_are_for_the_running_task_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let (task, other) = (master.task(&alice, &mut agent).await, master.task(&bob, &mut agent).await);
    let run = task.start.allocation;
    for what in ["ack_preemption", "pending_preemption"] {
        alice.post(&signals(run, what)).await.refused(403);
        other.post(&signals(run, what)).await.refused(404);
    }
    alice.get(&signals(run, "preemption")).await.refused(403);
    other.get(&signals(run, "preemption")).await.refused(404);
    for none in ["x", "x.1", "00000000-0000-0000-0000-000000000009.1"] {
        task.get(&format!("/api/v1/allocations/{none}/signals/preemption")).await.refused(404);
    }
    bob.post(&format!("/api/v1/tasks/{}/pause", task.id())).await.refused(403);
}
