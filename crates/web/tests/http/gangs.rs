//! Runs on several agents: they end together, for what failed first, and write one log; and tasks that run again.

use std::collections::BTreeSet;

use domain::allocation::Allocation;
use domain::config::TaskConfig;
use domain::id::{AllocationId, TaskId};
use domain::kind::Kind;
use domain::log::Source;
use domain::task::{Exit, Task};
use domain::time::Timestamp;
use serde_json::{Value, json};
use testkit::{Database, FakeAgent, Requests as _, TestMaster, User, on_both_databases, soon};

on_both_databases!(
    the_first_that_fails_ends_the_others_and_is_why_the_run_did,
    a_run_whose_parts_all_succeed_succeeds_with_the_last,
    the_next_run_goes_on_in_the_same_log,
    a_part_that_is_lost_ends_the_others,
);

/// A task on four slots, which are two agents' together, and those agents.
struct Gang {
    master: TestMaster,
    alice: User,
    id: String,
    a: FakeAgent,
    b: FakeAgent,
}

impl Gang {
    async fn new(database: Database, max_restarts: u32) -> Self {
        let mut master = TestMaster::start(database).await;
        let alice = master.user("alice").await;
        let like = alice.run_true().await;
        alice.post(&format!("/api/v1/commands/{like}/kill")).await.ok();
        let mut tx = master.store().write().await.expect("a transaction");
        let like = store::task::by_id(&mut tx, like.parse().expect("an id")).await.expect("read");
        let like = like.expect("there");
        let id = TaskId(uuid::Uuid::from_u128(4));
        let latest = Allocation::waiting(AllocationId::first(id), like.created_at);
        let standing = domain::task::Standing::Active;
        let task = Task { id, kind: Kind::Trial, slots: 4, max_restarts, latest, standing, ..like };
        let config = TaskConfig::resolve(&json!({}), json!({"entrypoint": ["true"]}));
        store::task::insert(&mut tx, task, &config.expect("valid")).await.expect("inserted");
        tx.commit_unaudited("a test").await.expect("committed");
        master.restart().await;
        let (a, b) = (master.agent("a").await, master.agent("b").await);
        Self { master, alice, id: id.to_string(), a, b }
    }

    /// Both parts are started and run; which run it is.
    async fn begins(&mut self) -> AllocationId {
        let (a, b) = (self.a.accept_start().await, self.b.accept_start().await);
        assert_eq!((a.allocation, &a.slots, &a.token), (b.allocation, &b.slots, &b.token));
        a.allocation
    }

    /// The runs as people are told, the latest first.
    async fn runs(&self) -> Vec<Value> {
        let task = self.alice.get(&format!("/api/v1/tasks/{}", self.id)).await.ok();
        task["task"]["allocations"].as_array().expect("a list").clone()
    }

    async fn until_it_is(&self, state: &str) -> Value {
        let looks = async {
            loop {
                let runs = self.runs().await;
                if runs[0]["state"] == state {
                    return runs[0].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        soon(state, looks).await
    }

    /// Which rank wrote each line of the tasks' own.
    async fn lines(&self, filter: &str) -> BTreeSet<(Option<u64>, String)> {
        let path = format!("/api/v1/tasks/{}/logs?sources=task{filter}", self.id);
        let (mut stream, mut lines) = (self.alice.get(&path).stream().await, BTreeSet::new());
        while let Some(line) = stream.next().await {
            let text = line["log"].as_str().expect("a text").to_owned();
            assert!(lines.insert((line["rankId"].as_u64(), text)), "it comes once: {line}");
        }
        lines
    }

    async fn agrees(&self) {
        assert_eq!(self.master.services().disagreements().await.expect("asked"), Vec::<String>::new());
    }
}

fn killed() -> Exit {
    Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }
}

async fn prints(agent: &mut FakeAgent, run: AllocationId, text: &str) {
    agent.send_log(run, Source::Stdout, Timestamp(1), text.as_bytes()).await;
}

fn line(rank: u64, text: &str) -> (Option<u64>, String) {
    (Some(rank), text.to_owned())
}

async fn the_first_that_fails_ends_the_others_and_is_why_the_run_did(database: Database) {
    let mut gang = Gang::new(database, 0).await;
    let run = gang.begins().await;
    // A line of one isn't torn by the other's, and each sends its own from the beginning.
    prints(&mut gang.a, run, "half of ").await;
    prints(&mut gang.b, run, "from b\n").await;
    prints(&mut gang.a, run, "a\n").await;
    gang.b.push_log(run).await;
    gang.a.exit(run, 3).await;
    gang.b.expect_kill(run).await;
    let told = gang.until_it_is("STATE_RUNNING").await;
    let failed = json!({
        "agentId": "a", "statusCode": 3,
        "exitReason": "resources failed with non-zero exit code: container failed with non-zero exit code: 3 (exit code 3)",
        "exitFault": "task",
    });
    assert_eq!(told["exits"], json!([failed]));
    gang.agrees().await;

    gang.master.restart().await;
    gang.a.reconnect().await;
    gang.b.reconnect().await;
    gang.b.expect_kill(run).await;
    prints(&mut gang.b, run, "bye\n").await;
    gang.b.exit_as(run, killed()).await;
    let over = gang.until_it_is("STATE_TERMINATED").await;
    let reason = format!("{} on agent a", failed["exitReason"].as_str().expect("a text"));
    assert_eq!((&over["statusCode"], &over["exitReason"]), (&json!(3), &json!(reason)));
    assert_eq!(over["exitFault"], "task");
    let ended = json!({
        "agentId": "b", "statusCode": 137, "exitSignal": 9, "exitFault": "ended",
        "exitReason": "allocation was killed: another part of it failed",
    });
    assert_eq!(over["exits"], json!([failed, ended]));
    gang.agrees().await;
    let (a, b) = ([line(0, "half of a")], [line(1, "bye"), line(1, "from b")]);
    assert_eq!(gang.lines("").await, a.iter().chain(&b).cloned().collect());
    let both = [&a[..], &b].concat();
    for (filter, lines) in [
        ("&rankIds=0", &a[..]),
        ("&rankIds=1", &b),
        ("&rankIds=1&rankIds=0", &both),
        ("&agentIds=b", &b),
        ("&agentIds=a&rankIds=1", &[]),
        ("&rankIds=2", &[]),
        ("&rankIds=-1", &[]),
    ] {
        assert_eq!(gang.lines(filter).await, lines.iter().cloned().collect(), "{filter}");
    }
}

async fn a_run_whose_parts_all_succeed_succeeds_with_the_last(database: Database) {
    let mut gang = Gang::new(database, 0).await;
    let run = gang.begins().await;
    gang.a.exit(run, 0).await;
    // Again: its answer was lost.
    gang.a.exit(run, 0).await;
    gang.master.restart().await;
    gang.a.reconnect().await;
    gang.b.reconnect().await;
    assert_eq!(gang.until_it_is("STATE_RUNNING").await["exits"].as_array().map(Vec::len), Some(1));
    gang.b.exit(run, 0).await;
    let over = gang.until_it_is("STATE_TERMINATED").await;
    let told = (&over["statusCode"], &over["exitReason"]);
    assert_eq!(told, (&json!(0), &json!("allocation exited successfully")));
    gang.agrees().await;
}

async fn the_next_run_goes_on_in_the_same_log(database: Database) {
    let mut gang = Gang::new(database, 1).await;
    let first = gang.begins().await;
    prints(&mut gang.a, first, "one\n").await;
    prints(&mut gang.b, first, "a long line of the first run\n").await;
    gang.b.exit(first, 1).await;
    gang.a.expect_kill(first).await;
    gang.a.exit_as(first, killed()).await;
    let second = gang.begins().await;
    assert_eq!((first.run, second.run, first.task), (1, 2, second.task));
    prints(&mut gang.a, second, "two\n").await;
    gang.master.restart().await;
    gang.a.reconnect().await;
    gang.b.reconnect().await;
    assert_eq!(gang.a.wanted_from(second).await, gang.a.written(second));
    assert_eq!(gang.b.wanted_from(second).await, 0);
    prints(&mut gang.a, second, "three\n").await;
    prints(&mut gang.b, second, "four\n").await;
    gang.a.exit(second, 0).await;
    gang.b.exit(second, 0).await;
    gang.until_it_is("STATE_TERMINATED").await;
    let lines = [
        line(0, "one"),
        line(1, "a long line of the first run"),
        line(0, "two"),
        line(0, "three"),
        line(1, "four"),
    ];
    let all = |lines: &[_]| lines.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(gang.lines("").await, all(&lines));
    for (run, lines) in [(first, &lines[..2]), (second, &lines[2..])] {
        for filter in ["allocationIds", "containerIds"] {
            assert_eq!(gang.lines(&format!("&{filter}={run}")).await, all(lines), "{run}");
        }
    }
    assert_eq!(gang.lines(&format!("&allocationIds={second}&rankIds=1")).await, all(&lines[4..]));
    let runs = gang.runs().await;
    assert_eq!((runs.len(), &runs[1]["statusCode"], &runs[0]["statusCode"]), (2, &json!(1), &json!(0)));
    gang.agrees().await;
}

async fn a_part_that_is_lost_ends_the_others(database: Database) {
    let mut gang = Gang::new(database, 0).await;
    let first = gang.begins().await;
    gang.until_it_is("STATE_RUNNING").await;
    gang.a.disconnect();
    gang.a.lose_everything();
    gang.a.reconnect().await;
    gang.b.expect_kill(first).await;
    gang.b.exit_as(first, killed()).await;
    // That was nobody's failure.
    let second = gang.begins().await;
    assert_eq!(second.run, 2);
    let before = &gang.runs().await[1];
    let reason = "resources failed with non-zero exit code: agent a lost the task";
    assert_eq!((&before["statusCode"], &before["exitReason"]), (&Value::Null, &json!(reason)));
    assert_eq!(before["exits"][0], json!({"agentId": "a", "exitReason": reason, "exitFault": "lost"}));
    assert_eq!(before["exitFault"], "lost");
    gang.a.exit(second, 0).await;
    gang.b.exit(second, 0).await;
    gang.until_it_is("STATE_TERMINATED").await;
    gang.agrees().await;
}
