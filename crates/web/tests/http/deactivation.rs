//! What goes on, waits and ends when an owner is deactivated (A14).

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{DEADLINE, Database, Requests as _, TestMaster, User, on_both_databases};
use tokio::time::Instant;

on_both_databases!(
    a14_what_runs_goes_on_with_its_own_data_and_what_waits_waits,
    a14_deactivating_can_end_all_of_an_owners_work,
    a14_what_waits_starts_only_where_its_owner_may_still_start_it,
);

/// Waits until a command says so.
async fn until(user: &User, id: &str, what: &str, says: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let command = user.command(id).await;
        if says(&command) {
            return command;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: {command}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a14_what_runs_goes_on_with_its_own_data_and_what_waits_waits(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let [task, other] = [master.task(&alice, &mut agent).await, master.task(&alice, &mut agent).await];
    let queued = alice.run_true().await;
    task.get("/api/v1/me").await.ok();
    admin.patch(&alice.path()).json(json!({"active": false})).await.ok();

    assert_eq!(task.get("/api/v1/me").await.refused(403), "user is not active");
    task.get(&format!("/api/v1/tasks/{}", task.id())).await.ok();
    task.get(&format!("/api/v1/tasks/{}/context_directory", task.id())).await.ok();
    alice.get("/api/v1/me").await.refused(401);
    let reason = |command: &Value| command["waitingFor"] == "its owner is deactivated";
    until(&admin, &queued, "the reason to wait", reason).await;

    // It runs out, and what another one queues later passes by.
    agent.exit(task.start.allocation, 0).await;
    let later = admin.run_true().await;
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), later, "nobody is held up");
    agent.exit(other.start.allocation, 0).await;
    until(&admin, &other.id(), "its end", |command| command["exitCode"] == 0).await;
    assert_eq!(admin.command(&queued).await["state"], "STATE_QUEUED");

    admin.patch(&alice.path()).json(json!({"active": true})).await.ok();
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), queued, "and it goes on");
}

async fn a14_deactivating_can_end_all_of_an_owners_work(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let [task, of_admin] = [master.task(&alice, &mut agent).await, master.task(&admin, &mut agent).await];
    let queued = alice.run_true().await;
    let refused = admin.patch(&alice.path()).json(json!({"killTasks": true})).await.refused(400);
    assert_eq!(refused, "killTasks goes with active: false alone");
    alice.patch(&alice.path()).json(json!({"active": false, "killTasks": true})).await.refused(403);
    assert_eq!(admin.command(&queued).await["state"], "STATE_QUEUED");

    admin.patch(&alice.path()).json(json!({"active": false, "killTasks": true})).await.ok();
    assert_eq!(admin.command(&queued).await["state"], "STATE_TERMINATED");
    agent.expect_kill(task.start.allocation).await;
    assert_eq!(admin.command(&task.id()).await["state"], "STATE_TERMINATING");
    assert_eq!(admin.command(&of_admin.id()).await["state"], "STATE_RUNNING", "others' go on");
    let entries = admin.get("/api/v1/audit?action=task.kill").await.ok();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(2), "{entries}");

    // Also later, of who is deactivated already.
    let bob = master.user("bob").await;
    let waits = bob.run_true().await;
    admin.patch(&bob.path()).json(json!({"active": false})).await.ok();
    assert_eq!(admin.command(&waits).await["state"], "STATE_QUEUED");
    admin.patch(&bob.path()).json(json!({"active": false, "killTasks": true})).await.ok();
    assert_eq!(admin.command(&waits).await["state"], "STATE_TERMINATED");
}

/// Without the role, in an archived workspace, as somebody else: what was queued before waits, says why, and goes on when
/// it may again.
async fn a14_what_waits_starts_only_where_its_owner_may_still_start_it(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "team", "private": true})).await.ok();
    let id = made["workspace"]["id"].clone();
    let team = format!("/api/v1/workspaces/{id}");
    let identity = |uid: u32| {
        let all = json!({"agentUid": uid, "agentGid": uid, "agentUser": "team", "agentGroup": "team"});
        json!({ "agentUserGroup": all })
    };
    admin.patch(&team).json(identity(7001)).await.ok();
    let editor = json!({"userId": bob.id, "role": "editor"});
    alice.put(&format!("{team}/members")).json(editor.clone()).await.ok();
    let new = json!({"config": {"entrypoint": ["true"]}, "workspaceId": id});
    let made = bob.post("/api/v1/commands").json(new).await.ok();
    let queued = made["command"]["id"].as_str().expect("an id").to_owned();
    let waits = |text: &'static str| {
        move |command: &Value| command["waitingFor"].as_str().is_some_and(|why| why.contains(text))
    };

    alice.delete(&format!("{team}/members?userId={}", bob.id)).await.ok();
    let mut agent = master.agent("node").await;
    let text = "its owner may not start tasks in its workspace any more";
    until(&admin, &queued, "shut out", waits(text)).await;
    let log = admin.get(&format!("/api/v1/tasks/{queued}/output")).await.expect(200).text();
    let logged = bob.get(&format!("/api/v1/tasks/{queued}/logs")).await.expect(200).text();
    assert!(logged.contains(&format!("queued: {text}")), "{log}{logged}");

    alice.put(&format!("{team}/members")).json(editor).await.ok();
    alice.post(&format!("{team}/archive")).await.ok();
    until(&admin, &queued, "archived", waits("its workspace is archived")).await;
    admin.patch(&team).json(identity(7002)).await.ok();
    alice.post(&format!("{team}/unarchive")).await.ok();
    let text = "it was made to run as team:7001:team:7001";
    until(&admin, &queued, "another identity", waits(text)).await;
    // Nobody is held up.
    let other = admin.run_true().await;
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), other);

    admin.patch(&team).json(identity(7001)).await.ok();
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), queued, "and it goes on");
}
