//! What is open ends when its reader loses the right to read (W3, W6, W15; R22, R25).

use std::time::Duration;

use domain::audit::{Entry, Who};
use domain::authz::System;
use domain::log::Source;
use domain::time::Timestamp;
use serde_json::json;
use testkit::log::Stream;
use testkit::{
    Database, FakeAgent, Requests as _, Task, TestMaster, User, on_both_databases, on_sqlite, soon,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::places::{private_place, set_role};

on_both_databases!(
    r22_streams_end_when_a_membership_ends,
    r22_streams_end_when_a_workspace_becomes_private,
    r22_streams_end_when_an_administrator_is_demoted,
    r22_streams_end_when_a_token_is_revoked,
    r22_streams_end_when_a_token_ends_by_its_time,
    p02_the_default_users_page_ends_when_a_password_is_set,
);
on_sqlite!(r22_an_export_that_is_read_slowly_ends_with_the_right_to_it);

/// How soon an open stream must be over.
const SOON: Duration = Duration::from_secs(2);

/// A running task of `owner`'s in a workspace.
async fn task_in(master: &TestMaster, owner: &User, agent: &mut FakeAgent, workspace: i64) -> Task {
    let body = json!({"config": {"entrypoint": ["true"]}, "workspaceId": workspace});
    owner.post("/api/v1/commands").json(body).await.ok();
    let start = agent.accept_start().await;
    owner.follow(&start.allocation.task.to_string()).await.until("have started").await;
    master.task_of(start)
}

/// The three ways to follow a log.
async fn open(who: &User, task: &Task) -> [Stream; 3] {
    let mut lines = who.follow(&task.id()).await;
    lines.until("have started").await;
    let output = who.get(&format!("/api/v1/tasks/{}/output?follow=true", task.id())).stream().await;
    let page = who.in_browser().get(&format!("/commands/{}/log", task.id()));
    let mut page = page.header("accept", "text/event-stream").stream().await;
    page.read_until("have started").await;
    [lines, output, page]
}

async fn all_end(mut open: [Stream; 3]) {
    open[0]
        .read_until(r#"{"error":{"grpcCode":7,"httpCode":403,"message":"you may not read this log any more"#)
        .await;
    for stream in open {
        assert!(stream.closes_within(SOON).await);
    }
}

/// What is said from now on, `who` still hears.
async fn goes_on(agent: &mut FakeAgent, task: &Task, open: &mut [Stream; 3]) {
    agent.send_log(task.start.allocation, Source::Stdout, Timestamp(0), b"still here\n").await;
    open[0].until("still here").await;
    open[2].read_until("still here").await;
}

async fn r22_streams_end_when_a_membership_ends(database: Database) {
    let master = TestMaster::start(database).await;
    let [alice, bob, carol] =
        [master.user("alice").await, master.user("bob").await, master.user("carol").await];
    let mut agent = master.agent("node").await;
    let (workspace, _) = private_place(&alice, "w").await;
    let place = format!("workspaces/{workspace}");
    for member in [&bob, &carol] {
        set_role(&alice, &place, member, "viewer").await;
    }
    let task = task_in(&master, &alice, &mut agent, workspace).await;
    let (bobs, mut carols) = (open(&bob, &task).await, open(&carol, &task).await);
    alice.delete(&format!("/api/v1/{place}/members?userId={}", bob.id)).await.ok();
    all_end(bobs).await;
    goes_on(&mut agent, &task, &mut carols).await;
}

async fn r22_streams_end_when_a_workspace_becomes_private(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "open"})).await.ok();
    let workspace = made["workspace"]["id"].as_i64().expect("an id");
    let task = task_in(&master, &alice, &mut agent, workspace).await;
    let (bobs, mut own) = (open(&bob, &task).await, open(&alice, &task).await);
    let private = json!({"private": true});
    alice.patch(&format!("/api/v1/workspaces/{workspace}")).json(private).await.ok();
    all_end(bobs).await;
    goes_on(&mut agent, &task, &mut own).await;
}

async fn r22_streams_end_when_an_administrator_is_demoted(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, boss) = (master.user("alice").await, master.user("boss").await);
    let admin = master.admin().await;
    admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();
    let mut agent = master.agent("node").await;
    let (workspace, _) = private_place(&alice, "w").await;
    let task = task_in(&master, &alice, &mut agent, workspace).await;
    let bosss = open(&boss, &task).await;
    admin.patch(&boss.path()).json(json!({"admin": false})).await.ok();
    all_end(bosss).await;
}

async fn r22_streams_end_when_a_token_is_revoked(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (reader, id) = alice.by_token(json!({"scope": "read"})).await;
    let mut lines = reader.follow(&task.id()).await;
    lines.until("have started").await;
    alice.patch(&format!("/api/v1/tokens/{id}")).json(json!({"setRevoked": true})).await.ok();
    assert!(lines.closes_within(SOON).await);
}

/// MK3: it went on for up to a minute.
async fn r22_streams_end_when_a_token_ends_by_its_time(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (reader, _) = alice.by_token(json!({"scope": "read", "lifespan": "1h"})).await;
    master.clock.advance(Duration::from_secs(3599));
    let mut lines = reader.follow(&task.id()).await;
    lines.until("have started").await;
    master.clock.advance(Duration::from_secs(1));
    assert!(lines.closes_within(Duration::from_secs(10)).await);
}

async fn p02_the_default_users_page_ends_when_a_password_is_set(database: Database) {
    let master = TestMaster::start(database).await;
    let default = master.default_user().await;
    let mut agent = master.agent("node").await;
    let task = master.task(&default, &mut agent).await;
    let page = master.anon().get(&format!("/commands/{}/log", task.id()));
    let mut page = page.header("accept", "text/event-stream").stream().await;
    page.read_until("have started").await;
    let form = "new=a+quiet+lake+at+night&again=a+quiet+lake+at+night";
    let set = master.anon().post("/account/password").body(form).header("sec-fetch-site", "same-origin");
    set.header("content-type", "application/x-www-form-urlencoded").await.expect(303);
    assert!(page.closes_within(SOON).await, "nobody comes in without a password any more");
}

async fn r22_an_export_that_is_read_slowly_ends_with_the_right_to_it(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, boss) = (master.admin().await, master.user("boss").await);
    admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();
    // More than fits into the buffers on the way.
    let long = "x".repeat(480);
    for _ in 0..5000 {
        let by = System::at_start().by("a test");
        let entry = Entry::done(&by, "test.fill", Who::named("test", &"", ""))
            .made(json!({ "a": long, "b": long, "c": long }));
        let tx = master.store().write().await.expect("a transaction");
        tx.commit(&entry, Timestamp(0)).await.expect("committed");
    }
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("set");
    let mut slow = soon("a connection", socket.connect(master.address())).await.expect("connected");
    let request = format!(
        "GET /api/v1/audit/export HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        boss.token
    );
    slow.write_all(request.as_bytes()).await.expect("written");
    let mut read = vec![0; 1 << 16];
    slow.read_exact(&mut read).await.expect("a beginning");
    admin.patch(&boss.path()).json(json!({"admin": false})).await.ok();
    master.user("marker-of-what-came-later").await;
    soon("the end", slow.read_to_end(&mut read)).await.map(drop).unwrap_or(());
    let text = String::from_utf8_lossy(&read);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{}", &text[..100]);
    assert!(!text.contains("marker-of-what-came-later"), "what was noted after it");
    assert!(!text.ends_with("0\r\n\r\n"), "and it doesn't look whole");
    assert!(read.len() < 5000 * 1500, "{}", read.len());
}
