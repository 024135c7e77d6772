//! Pools, quotas and limits of `master.yaml`; why each task waits and which place it has; and that nobody who only looks waits
//! for what is being changed.

use std::time::Duration;

use domain::log::Source;
use domain::task::Exit;
use domain::time::Timestamp;
use master::Config;
use serde_json::{Value, json};
use testkit::{DEADLINE, Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a_task_runs_in_its_pool_and_an_unknown_one_is_refused,
    who_has_the_slots_of_a_quota_waits_and_is_told,
    a12_nobody_gets_round_a_quota_by_a_name,
    a_run_has_the_time_that_its_pool_gives,
    each_task_knows_its_place_in_the_queue,
    readers_and_logs_wait_for_no_change,
);

async fn configured(database: Database, text: &str) -> TestMaster {
    let given = Config::parse(text, "master.yaml").expect("valid");
    TestMaster::configured(database, |config| {
        config.resource_pools = given.resource_pools;
        config.quotas = given.quotas;
    })
    .await
}

/// A command that needs so many slots in a pool.
fn wants(pool: &str, slots: u32) -> Value {
    json!({"entrypoint": ["true"], "resources": {"resource_pool": pool, "slots": slots}})
}

/// Waits until a command's reason begins so; answers the command.
async fn until_it_waits(user: &User, id: &str, reason: &str) -> Value {
    let waits = async {
        loop {
            let command = user.command(id).await;
            if command["waitingFor"].as_str().is_some_and(|why| why.starts_with(reason)) {
                return command;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waits).await.unwrap_or_else(|_| panic!("it doesn't wait for: {reason}"))
}

async fn a_task_runs_in_its_pool_and_an_unknown_one_is_refused(database: Database) {
    let master = configured(
        database,
        "resource_pools: [{pool_name: gpu, agents: [big], scheduler: {type: fair_share}}]\n",
    )
    .await;
    let alice = master.user("alice").await;
    let mut big = master.agent("big").await;
    let in_default = alice.run(wants("", 1)).await;
    let waits = until_it_waits(&alice, &in_default, "resource pool default has no connected agent").await;
    assert_eq!((&waits["resourcePool"], &waits["jobsAhead"]), (&json!("default"), &json!(0)));

    let in_gpu = alice.run(wants("gpu", 1)).await;
    let start = big.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), in_gpu);
    assert_eq!(alice.command(&in_gpu).await["resourcePool"], "gpu");
    let mut small = master.agent("small").await;
    assert_eq!(small.accept_start().await.allocation.task.to_string(), in_default);

    let config = wants("tpu", 1);
    let refused = alice.post("/api/v1/commands").json(json!({ "config": config })).await.refused(400);
    let text = refused.to_string();
    assert!(text.contains("'tpu' does not exist: leave it out, or use default, gpu"), "{text}");
    let most = json!({"entrypoint": ["true"], "resources": {"slots": 2, "max_slots": 1}});
    let refused = alice.post("/api/v1/commands").json(json!({ "config": most })).await.refused(400);
    assert!(refused.to_string().contains("resources.max_slots is 1"), "{refused:?}");

    let pools = alice.get("/api/v1/resource-pools").await.ok()["resourcePools"].clone();
    let facts = |pool: &Value| {
        let of = |key: &str| pool[key].to_string();
        format!("{} {} {} {}", of("name"), of("numAgents"), of("slotsUsed"), of("schedulerType"))
    };
    let facts: Vec<String> = pools.as_array().expect("a list").iter().map(facts).collect();
    assert_eq!(
        facts,
        ["\"default\" 1 1 \"SCHEDULER_TYPE_PRIORITY\"", "\"gpu\" 1 1 \"SCHEDULER_TYPE_FAIR_SHARE\""]
    );
    let agents = alice.get("/api/v1/agents").await.ok()["agents"].clone();
    let of = |name: &str| {
        let agents = agents.as_array().expect("a list");
        agents.iter().find(|agent| agent["id"] == name).expect("there")["resourcePools"].clone()
    };
    assert_eq!((of("big"), of("small")), (json!(["gpu"]), json!(["default"])));
}

async fn who_has_the_slots_of_a_quota_waits_and_is_told(database: Database) {
    let master = configured(database, "quotas: {slots_per_user: 1, users: {bob: {slots: 2}}}\n").await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let first = alice.run(wants("", 1)).await;
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), first);
    let second = alice.run(wants("", 1)).await;
    let reason = "its owner may have no more slots: 1 of 1 are in use, and it needs 1";
    until_it_waits(&alice, &second, reason).await;
    // Nobody else waits for that.
    let other = bob.run(wants("", 1)).await;
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), other);
    agent.exit(start.allocation, 0).await;
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), second);
}

async fn a_run_has_the_time_that_its_pool_gives(database: Database) {
    let master = configured(database, "resource_pools: [{pool_name: default, time_limit: 1}]\n").await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    agent.expect_kill(task.start.allocation).await;
    agent.exit_as(task.start.allocation, Exit { code: 143, killed: true, ..Exit::default() }).await;
    let over = alice.command(&task.id()).await;
    assert_eq!(
        over["exitStatus"],
        "allocation was killed: it has run for as long as its resource pool allows"
    );
}

async fn each_task_knows_its_place_in_the_queue(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let running = alice.run(wants("", 2)).await;
    let start = agent.accept_start().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let id = alice.run(wants("", 2)).await;
        until_it_waits(&alice, &id, "it waits for 2 slots on one agent: 2 of 2 are in use").await;
        waiting.push(id);
    }
    let places = async || {
        let mut places = Vec::new();
        for id in &waiting {
            places.push(alice.command(id).await["jobsAhead"].clone());
        }
        places
    };
    assert_eq!(places().await, [0, 1, 2]);
    let jobs = alice.get("/api/v1/job-queues-v2").await.ok()["jobs"].clone();
    let told = |job: &Value| {
        let job = &job["full"];
        (job["entityId"].as_str().expect("an id").to_owned(), job["summary"]["jobsAhead"].clone())
    };
    let told: Vec<_> = jobs.as_array().expect("a list").iter().map(told).collect();
    let expected: Vec<_> = std::iter::once((running, json!(0)))
        .chain(waiting.iter().cloned().zip([json!(0), json!(1), json!(2)]))
        .collect();
    assert_eq!(told, expected);

    let path = format!("/api/v1/commands/{}/set_priority", waiting[2]);
    alice.post(&path).json(json!({"priority": 1})).await.ok();
    let moved = async {
        while places().await != [1, 2, 0] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, moved).await.expect("the last one is the first one now");
    agent.exit(start.allocation, 0).await;
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), waiting[2]);
    assert_eq!(alice.command(&waiting[2]).await["jobsAhead"], json!(null));
}

async fn readers_and_logs_wait_for_no_change(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (run, id) = (task.start.allocation, task.id());
    let queued = alice.run(wants("", 2)).await;
    until_it_waits(&alice, &queued, "it waits for 2 slots").await;

    // Whoever writes waits for this one; so does the owner of the scheduler's state, which is to end a task.
    let writes = master.store().write().await.expect("a transaction");
    let killer = tokio::spawn({
        let (alice, path) = (alice.clone(), format!("/api/v1/commands/{id}/kill"));
        async move { alice.post(&path).await.ok() }
    });
    agent.expect_kill(run).await;
    assert!(!killer.is_finished(), "it is written down before it is answered");
    let jobs = alice.get("/api/v1/job-queues-v2").await.ok();
    assert_eq!(jobs["jobs"].as_array().expect("a list").len(), 2);
    assert_eq!(alice.get("/api/v1/agents").await.ok()["agents"][0]["id"], "node");
    assert_eq!(alice.command(&queued).await["jobsAhead"], 0);
    agent.send_log(run, Source::Stdout, Timestamp(1), b"still heard\n").await;
    assert!(alice.log(&id).await.iter().any(|line| line.contains("still heard")));
    assert!(!killer.is_finished());

    drop(writes);
    assert_eq!(killer.await.expect("answered")["command"]["state"], "STATE_TERMINATING");
}

/// MC4: quotas and shares go by names.
async fn a12_nobody_gets_round_a_quota_by_a_name(database: Database) {
    let text = "quotas: {workspaces: {Vision: 2}, users: {bob: {slots: 1}, ghost: {weight: 9}}}\n";
    let master = configured(database, text).await;
    let (bob, carol, admin) = (master.user("bob").await, master.user("carol").await, master.admin().await);
    let rename =
        |who: &User, whom: &User, name: &str| who.patch(&whom.path()).json(json!({ "username": name }));
    let refused = rename(&bob, &bob, "bobby").await.refused(403);
    assert!(refused.contains("the name bob has a quota"), "{refused}");
    rename(&carol, &carol, "Ghost").await.refused(403);
    // Her personal workspace would be called as she is.
    rename(&carol, &carol, "vision").await.refused(403);
    let code = master.code().await;
    let wish = json!({"username": "Vision", "email": "v@lab.example", "password": "a quiet lake", "invitation": code});
    let refused = master.anon().post("/api/v1/users/register").json(wish).await.refused(403);
    assert!(refused.contains("has a quota"), "{refused}");
    rename(&carol, &carol, "caroline").await.ok();
    rename(&admin, &carol, "ghost").await.ok();
    let made = |who: &User, name: &str| who.post("/api/v1/workspaces").json(json!({ "name": name }));
    made(&bob, "vision").await.refused(403);
    let own = made(&bob, "sound").await.ok();
    let own = format!("/api/v1/workspaces/{}", own["workspace"]["id"]);
    let call = |who: &User, name: &str| who.patch(&own).json(json!({ "name": name }));
    call(&bob, "vision").await.refused(403);
    call(&admin, "vision").await.ok();
    call(&bob, "sound").await.refused(403);
}
