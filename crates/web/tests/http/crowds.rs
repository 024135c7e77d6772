//! Accounts and tasks that hold more connections than they need (W4, F7): everybody else still gets in.

use std::io;

use domain::log::Source;
use futures_util::future::join_all;
use testkit::{Database, FakeAgent, Requests as _, Task, TestMaster, User, on_sqlite, soon};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;

on_sqlite!(
    a07_followers_keep_nobody_out,
    a07_a_tasks_connections_keep_nobody_out,
    a07_an_account_has_a_number_of_connections,
    a07_what_goes_on_for_those_who_left_is_counted,
);

async fn small(database: Database) -> TestMaster {
    TestMaster::configured(database, |config| config.connections.max = 32).await
}

/// Sends a request, and waits for the beginning of its answer.
async fn asking<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    path: &str,
    credential: &str,
) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 15];
    soon("an answer", stream.read_exact(&mut answer)).await?;
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    Ok(())
}

fn bearer(user: &User) -> String {
    format!("Authorization: Bearer {}", user.token)
}

/// A follower of a log that reads nothing more of it.
async fn follower(master: &TestMaster, who: &User, task: &Task) -> TcpStream {
    let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
    let path = format!("/api/v1/tasks/{}/logs?follow=true", task.id());
    asking(&mut stream, &path, &bearer(who)).await.expect("an answer");
    stream
}

/// A connection of a task's by its agent's relay, on which one request was answered.
async fn relayed(agent: &FakeAgent, task: &Task) -> DuplexStream {
    let mut stream = agent.http(task.start.allocation).await.expect("let in");
    let credential = format!("Grpc-Metadata-x-allocation-token: Bearer {}", task.start.token);
    asking(&mut stream, "/api/v1/me", &credential).await.expect("an answer");
    stream
}

/// Whether the other side has ended it.
async fn is_over(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // However it ended.
    let _ = soon("the end of the oldest", stream.read_to_end(&mut rest)).await;
}

/// What must go on for everybody else.
async fn others_get_in(master: &TestMaster, task: &Task, round: usize) {
    let bob = master.user(&format!("bob{round}")).await;
    bob.get("/api/v1/workspaces").await.ok();
    let (admin, name) = (master.admin().await, format!("node{round}"));
    admin.get("/api/v1/users").await.ok();
    drop(master.agent(&name).await);
    let mut own = master.own_socket().await;
    asking(&mut own, "/api/v1/me", &bearer(&bob)).await.expect("the machine's own socket");
    master.anon().get("/health").await.expect(200);
    assert_eq!(admin.command(&task.id()).await["state"], "STATE_RUNNING");
}

async fn a07_followers_keep_nobody_out(database: Database) {
    let master = small(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (carol, dave, erin) =
        (master.user("carol").await, master.user("dave").await, master.user("erin").await);
    let mut crowd = Vec::new();
    for round in 0..3 {
        for _ in 0..12 {
            for who in [&alice, &carol, &dave, &erin] {
                crowd.push(follower(&master, who, &task).await);
            }
        }
        others_get_in(&master, &task, round).await;
    }
    is_over(&mut crowd[0]).await;
    master.admin().await.post(&format!("/api/v1/commands/{}/kill", task.id())).await.ok();
    agent.expect_kill(task.start.allocation).await;
}

async fn a07_a_tasks_connections_keep_nobody_out(database: Database) {
    let master = small(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let (first, second) = (master.task(&alice, &mut agent).await, master.task(&alice, &mut agent).await);
    let mut log = alice.follow(&first.id()).await;
    log.until("have started").await;
    let mut crowd = Vec::new();
    for round in 0..2 {
        for _ in 0..20 {
            crowd.push(relayed(&agent, &first).await);
            crowd.push(relayed(&agent, &second).await);
        }
        others_get_in(&master, &first, round).await;
    }
    is_over(&mut crowd[0]).await;
    // A person doesn't lose what is open to what a task does.
    agent.send_log(first.start.allocation, Source::Stdout, domain::time::Timestamp(0), b"still here\n").await;
    log.until("still here").await;
    master.admin().await.post(&format!("/api/v1/commands/{}/kill", first.id())).await.ok();
    agent.expect_kill(first.start.allocation).await;
}

async fn a07_an_account_has_a_number_of_connections(database: Database) {
    let configure = |config: &mut master::Config| config.connections.max_per_account = 8;
    let master = TestMaster::configured(database, configure).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let mut others = bob.follow(&task.id()).await;
    others.until("have started").await;
    let mut crowd = Vec::new();
    for _ in 0..10 {
        crowd.push(follower(&master, &alice, &task).await);
    }
    is_over(&mut crowd[0]).await;
    agent.send_log(task.start.allocation, Source::Stdout, domain::time::Timestamp(0), b"still here\n").await;
    others.until("still here").await;
    let mut rest = [0; 1 << 12];
    let read = soon("the last one goes on", crowd[9].read(&mut rest)).await.expect("open");
    assert!(read > 0);
}

/// Asks for a change.
async fn changing(master: &TestMaster, who: &User) -> TcpStream {
    let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
    let (path, credential, body) = (who.path(), bearer(who), r#"{"displayName": "A"}"#);
    let length = body.len();
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// What changes something is carried out to its end, so that no limit of connections is one for it.
async fn a07_what_goes_on_for_those_who_left_is_counted(database: Database) {
    const MOST: usize = 4;
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let under_way = || master.services().unbroken.under_way();
    let until = async |number| {
        while under_way() != number {
            bob.get("/api/v1/me").await.ok();
        }
    };
    // Nothing can be changed for a while.
    let tx = master.store().write().await.expect("a transaction");
    for _ in 0..3 {
        let crowd = join_all((0..MOST + 8).map(|_| changing(&master, &alice))).await;
        soon("as many as may be under way", until(MOST)).await;
        drop(crowd);
        for _ in 0..50 {
            bob.get("/api/v1/me").await.ok();
            assert_eq!(under_way(), MOST, "what had begun goes on, and nothing more begins");
        }
    }
    drop(tx);
    soon("the end of what had begun", until(0)).await;
}
