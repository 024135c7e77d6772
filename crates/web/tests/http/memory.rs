//! What requests hold of the master's memory (W10, W16): a budget for what is sent, pieces of what is given.

use std::fs;
use std::time::Duration;

use domain::log::Source;
use domain::time::Timestamp;
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, User, on_sqlite, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::logs::memory;

on_sqlite!(
    a06_launches_that_are_held_back_leave_room_for_others,
    a07_held_bodies_keep_nobody_from_a_change,
    a07_held_bodies_keep_nobody_from_a_change_where_there_is_little_room,
    a05_a_context_directory_is_not_held_for_each_reader,
    a05_answers_that_nobody_reads_share_the_memory,
    a05_logs_that_nobody_reads_are_held_in_small_pieces,
    a05_mc7_long_lines_that_nobody_reads_are_paid_for,
    a05_mf3_steps_of_lists_that_nobody_reads_are_paid_for,
);

/// A request whose body is announced and doesn't come.
async fn announced(master: &TestMaster, who: &User, size: u64) -> TcpStream {
    let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
    let head = format!(
        "POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n",
        who.token
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
}

/// The beginning of the answer.
async fn answer(stream: &mut TcpStream) -> String {
    let mut beginning = [0; 4096];
    let read = soon("an answer", stream.read(&mut beginning)).await.expect("an answer");
    String::from_utf8_lossy(&beginning[..read]).to_ascii_lowercase()
}

async fn a06_launches_that_are_held_back_leave_room_for_others(database: Database) {
    let configure = |config: &mut master::Config| config.limits.bodies_bytes = 256 << 20;
    let master = TestMaster::configured(database, configure).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut held = announced(&master, &alice, 100 << 20).await;
    assert!(answer(&mut held).await.starts_with("http/1.1 100 "));
    // One whole launch is an account's share: nothing else of hers is read before it is over.
    let mut second = announced(&master, &alice, 100 << 20).await;
    let refused = answer(&mut second).await;
    assert!(refused.starts_with("http/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    bob.run_true().await;
    drop(held);
    alice.run_true().await;
    let mut third = announced(&master, &alice, 100 << 20).await;
    assert!(answer(&mut third).await.starts_with("http/1.1 100 "), "room again");
}

/// Launches of accounts `0..crowd` that take all the room there is, small ones and large ones, and never come.
async fn all_held(master: &TestMaster, crowd: &[User], each: usize, size: u64) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for who in crowd {
        for _ in 0..each {
            let mut stream = announced(master, who, size).await;
            assert!(answer(&mut stream).await.starts_with("http/1.1 100 "));
            held.push(stream);
        }
        // Some of these wait for room.
        held.push(announced(master, who, 100 << 20).await);
        held.push(chunked(master, who).await);
    }
    held
}

/// A launch that doesn't say how long it is.
async fn chunked(master: &TestMaster, who: &User) -> TcpStream {
    let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
    let head = format!(
        "POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        who.token
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
}

/// An administrator's change of a holder, and another account's, are answered before anybody's patience is over.
async fn changes_go_on(master: &TestMaster, crowd: &[User], bob: &User) {
    let admin = master.admin().await;
    let changes = async {
        admin.patch(&crowd[0].path()).json(json!({"active": false})).await.ok();
        bob.patch(&bob.path()).json(json!({"displayName": "Bob"})).await.ok();
        bob.run_true().await;
        admin.run_true().await;
    };
    tokio::time::timeout(Duration::from_secs(4), changes).await.expect("at once");
    // Files go on, too.
    let mut upload = announced(master, &admin, 5 << 20).await;
    assert!(answer(&mut upload).await.starts_with("http/1.1 100 "));
}

async fn a07_held_bodies_keep_nobody_from_a_change(database: Database) {
    let master = TestMaster::start(database).await;
    let mut crowd = Vec::new();
    for n in 0..7 {
        crowd.push(master.user(&format!("holder{n}")).await);
    }
    let bob = master.user("bob").await;
    let held = all_held(&master, &crowd, 8, 1 << 20).await;
    changes_go_on(&master, &crowd, &bob).await;
    drop(held);
}

async fn a07_held_bodies_keep_nobody_from_a_change_where_there_is_little_room(database: Database) {
    let configure = |config: &mut master::Config| config.limits.bodies_bytes = 16 << 20;
    let master = TestMaster::configured(database, configure).await;
    let mut crowd = Vec::new();
    for n in 0..7 {
        crowd.push(master.user(&format!("holder{n}")).await);
    }
    let bob = master.user("bob").await;
    let held = all_held(&master, &crowd, 1, 512 << 10).await;
    changes_go_on(&master, &crowd, &bob).await;
    drop(held);
}

async fn a05_a_context_directory_is_not_held_for_each_reader(database: Database) {
    const SIZE: usize = 48 << 20;
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let files = json!([{"path": "a", "type": 48, "content": "", "mode": 0o644}]);
    let body = json!({"config": {"entrypoint": ["true"]}, "files": files});
    let made = alice.post("/api/v1/commands").json(body).await.ok();
    let id = made["command"]["id"].as_str().expect("an id");
    let packed = master.storage().data_dir().join("contexts").join(&id[..2]).join(format!("{id}.tar.gz"));
    fs::write(packed, vec![b'x'; SIZE]).expect("as large as they may be");
    let path = format!("/api/v1/tasks/{id}/context_directory");
    let before = memory().0;
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
            alice.token
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        assert!(answer(&mut stream).await.starts_with("http/1.1 200 "));
        readers.push(stream);
    }
    let (_, peak) = memory();
    assert!(peak.saturating_sub(before) < 32 << 20, "{} MiB for 8 readers", (peak - before) >> 20);
    drop(readers);
    let whole = alice.get(&path).await.expect(200);
    assert_eq!(whole.body.len(), SIZE.div_ceil(3) * 4 + 13);
    assert!(whole.body.starts_with(b"{\"b64Tgz\":\"eHh4") && whole.body.ends_with(b"eHh4\"}"));
}

/// What each of so many connections costs that begin to read this and go no further, in bytes; meanwhile
/// somebody else reads all of it, which is so long or longer.
async fn each_unread(master: &TestMaster, who: &User, path: &str, readers: u64, whole: usize) -> u64 {
    let admin = master.admin().await;
    let before = memory().0;
    let mut unread = Vec::new();
    for _ in 0..readers {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("small");
        let mut stream = soon("a connection", socket.connect(master.address())).await.expect("connected");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {0}\r\nCookie: auth={0}\r\n\r\n",
            who.token
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        unread.push(stream);
    }
    for reader in &mut unread {
        let mut beginning = [0; 64];
        // For whom there is no room any more is cut off.
        let read = soon("an answer", reader.read(&mut beginning)).await.unwrap_or(0);
        assert!(read == 0 || beginning.starts_with(b"HTTP/1.1 200 "));
    }
    let peak = memory().1;
    let path = path.replace("follow=true", "follow=false");
    let read = admin.in_browser().get(&path).await.expect(200);
    assert!(read.body.len() >= whole, "{} bytes", read.body.len());
    peak.saturating_sub(before) / readers
}

/// MB5: a log on a page was a megabyte of text, six as HTML, for each who reads nothing of it.
async fn a05_logs_that_nobody_reads_are_held_in_small_pieces(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let line = format!("{}\n", "<&>".repeat(60));
    for _ in 0..20 {
        agent
            .send_log(task.start.allocation, Source::Stdout, Timestamp(0), line.repeat(300).as_bytes())
            .await;
    }
    for (path, whole) in [
        (format!("/commands/{}/log", task.id()), 0),
        (format!("/api/v1/tasks/{}/logs?follow=true", task.id()), 20 * 300 * 180),
    ] {
        let each = each_unread(&master, &alice, &path, 40, whole).await;
        assert!(each < 768 << 10, "{path}: {} KiB each", each >> 10);
    }
}

/// MF3: a step of a list has so many rows, however long they are.
async fn a05_mf3_steps_of_lists_that_nobody_reads_are_paid_for(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for _ in 0..260 {
        let config = json!({"entrypoint": ["true"], "description": "\"".repeat(1000)});
        alice.post("/api/v1/commands").json(json!({ "config": config })).await.ok();
    }
    let each = each_unread(&master, &alice, "/api/v1/commands?limit=0", 60, 260 * 2000).await;
    assert!(each < 448 << 10, "{} KiB each", each >> 10);
}

/// MC7: each byte of a long line may be twelve of JSON, which are paid for.
async fn a05_mc7_long_lines_that_nobody_reads_are_paid_for(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let line = format!("{}\n", "\u{1}".repeat((64 << 10) - 1));
    for _ in 0..20 {
        agent.send_log(task.start.allocation, Source::Stdout, Timestamp(0), line.as_bytes()).await;
    }
    for query in ["follow=true", "orderBy=ORDER_BY_DESC&limit=1000"] {
        let path = format!("/api/v1/tasks/{}/logs?{query}", task.id());
        let each = each_unread(&master, &alice, &path, 100, 20 * 12 * (60 << 10)).await;
        assert!(each < 512 << 10, "{path}: {} KiB each", each >> 10);
    }
}

/// Asks for a list and takes no more than its beginning.
async fn unread(master: &TestMaster, who: &User, path: &str) -> (TcpStream, String) {
    let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", who.token);
    stream.write_all(head.as_bytes()).await.expect("written");
    let beginning = answer(&mut stream).await;
    (stream, beginning)
}

async fn a05_answers_that_nobody_reads_share_the_memory(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let config = json!({"environment": {"environment_variables": [format!("A={}", "x ".repeat(3_900_000))]}});
    alice.post("/api/v1/templates/t").json(json!({"config": {}})).await.ok();
    let mut tx = master.store().write().await.expect("a transaction");
    let made = store::template::by_name(&mut tx, "t").await.expect("read").expect("there");
    let large = domain::place::Template { config: domain::config::secrets::Layer::new(config), ..made };
    store::template::update(&mut tx, "t", &large).await.expect("changed");
    tx.commit_unaudited("a test").await.expect("committed");
    let list = "/api/v1/templates/t";
    let whole = alice.get(list).await;
    let size = whole.body.len();
    assert_eq!(whole.header("content-length"), size.to_string());
    assert_eq!(whole.json()["template"]["name"], "t");
    // An account's share, of which nobody takes anything.
    let mut held = Vec::new();
    let refused = loop {
        let (stream, beginning) = unread(&master, &alice, list).await;
        if !beginning.starts_with("http/1.1 200 ") {
            break beginning;
        }
        held.push(stream);
        assert!(held.len() * size <= 16 << 20, "{}", held.len());
    };
    assert!(refused.starts_with("http/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    assert!(!held.is_empty());
    bob.get(list).await.ok();
    alice.get("/api/v1/me").await.ok();
    drop(held);
    let again = async {
        while alice.get(list).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("room again", again).await;
}
