//! Connections that are silent, slow or too many (A7): they end, and who is logged in doesn't feel them.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use domain::log::Source;
use master::system::Clock as _;
use testkit::{Database, Requests as _, TestMaster, on_sqlite, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::MissedTickBehavior;

on_sqlite!(
    a07_silent_slow_and_idle_connections_end,
    a07_a_stream_that_has_nothing_to_say_goes_on,
    a07_a_long_header_is_refused,
    a07_one_address_full_of_silence_keeps_nobody_out,
    a07_strangers_leave_room_for_people_who_are_logged_in,
    a07_a_newcomer_has_time_to_say_what_they_want,
    an_answer_says_when_nobody_reads_what_comes_next,
);

const HEAD: &str = "GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n";

async fn impatient(database: Database) -> TestMaster {
    let configure = |config: &mut master::Config| {
        config.connections.head_timeout = 1;
        config.connections.body_timeout = 1;
        config.connections.idle_timeout = 1;
    };
    TestMaster::configured(database, configure).await
}

async fn connect(master: &TestMaster) -> TcpStream {
    soon("a connection", TcpStream::connect(master.address())).await.expect("connected")
}

async fn saying(master: &TestMaster, words: &str) -> TcpStream {
    let mut stream = connect(master).await;
    stream.write_all(words.as_bytes()).await.expect("written");
    stream
}

/// All that comes until the other side is done.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = soon("the connection's end", stream.read_to_end(&mut all)).await;
    if let Err(error) = read {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&all).into_owned()
}

async fn a07_silent_slow_and_idle_connections_end(database: Database) {
    let master = impatient(database).await;
    let mut silent = connect(&master).await;
    assert_eq!(rest(&mut silent).await, "");
    let mut half = saying(&master, HEAD).await;
    assert_eq!(rest(&mut half).await, "");
    let body = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{\"user";
    let mut half_body = saying(&master, body).await;
    assert!(!rest(&mut half_body).await.contains("200 OK"));
    let mut idle = saying(&master, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200 OK"), "answered, then closed");
    // A byte now and then doesn't help.
    for start in [HEAD, body] {
        let stream = saying(&master, start).await;
        let (mut incoming, mut out) = stream.into_split();
        let dribble = async {
            let mut often = tokio::time::interval(Duration::from_millis(100));
            often.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                often.tick().await;
                if out.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        let ended = async { incoming.read_to_end(&mut Vec::new()).await.map(drop) };
        soon("the end of a slow one", async { tokio::join!(dribble, ended) }).await.1.unwrap_or(());
    }
    master.anon().get("/health").await.expect(200);
}

/// A client would send its next request to where nobody reads it, and be told that the connection broke.
async fn an_answer_says_when_nobody_reads_what_comes_next(database: Database) {
    let master = TestMaster::start(database).await;
    let post = |path: &str, length: usize, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        format!("{head}{body}")
    };
    let mut refused = saying(&master, &post("/api/v1/commands", 50_000, "{")).await;
    let answer = rest(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let login = r#"{"username":"nobody","password":"wrong"}"#;
    let next = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let both = post("/api/v1/auth/login", login.len(), login) + next;
    let answers = rest(&mut saying(&master, &both).await).await;
    let codes: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(codes, ["401", "200"], "what was read is no reason to end: {answers}");
}

async fn a07_a_stream_that_has_nothing_to_say_goes_on(database: Database) {
    let master = impatient(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("a1").await;
    let task = master.task(&alice, &mut agent).await;
    let allocation = task.start.allocation;
    let mut log = alice.follow(&allocation.task.to_string()).await;
    // Three connections come and are ended by the time-outs, one after the other, while the stream is silent.
    for _ in 0..3 {
        assert_eq!(rest(&mut connect(&master).await).await, "");
    }
    agent.send_log(allocation, Source::Stdout, master.clock.now(), b"still here\n").await;
    log.until("still here").await;
}

async fn a07_a_long_header_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    for size in [20_000, 500_000] {
        let mut stream = saying(&master, HEAD).await;
        let long = format!("X-Long: {}\r\n\r\n", "x".repeat(size));
        // The server may have said all that it has to say before it has heard this out.
        let _ = stream.write_all(long.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{size}: {answer:?}");
    }
    let long = "x".repeat(12_000);
    master.anon().get("/health").header("x-long", &long).await.expect(200);
}

async fn a07_one_address_full_of_silence_keeps_nobody_out(database: Database) {
    let configure = |config: &mut master::Config| config.connections.max_per_address = 8;
    let master = TestMaster::configured(database, configure).await;
    let alice = master.user("alice").await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(connect(&master).await);
        crowd.push(saying(&master, HEAD).await);
    }
    // The same address: fresh connections come through, and the ones that are known stay.
    for _ in 0..20 {
        master.anon().get("/health").await.expect(200);
        alice.get("/api/v1/me").await.ok();
        master.log_in("alice").await;
    }
    // The oldest had to go.
    assert_eq!(rest(&mut crowd[0]).await, "");
}

async fn a07_strangers_leave_room_for_people_who_are_logged_in(database: Database) {
    let configure = |config: &mut master::Config| {
        config.connections.max = 16;
        config.connections.max_per_address = 100;
    };
    let master = TestMaster::configured(database, configure).await;
    let alice = master.user("alice").await;
    let token = alice.token.clone();
    let request = format!("{HEAD}Authorization: Bearer {token}\r\n\r\n");
    let mut known = saying(&master, &request).await;
    let mut answer = [0; 15];
    known.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(saying(&master, "GET").await);
    }
    master.anon().get("/health").await.expect(200);
    known.write_all(request.as_bytes()).await.expect("it is still there");
    let mut more = vec![0; 64];
    assert!(soon("an answer", known.read(&mut more)).await.expect("an answer") > 0);
    assert_eq!(rest(&mut crowd[0]).await, "");
}

/// A stranger's connection from another address of this machine, on which one request was answered.
async fn idle_from(master: &TestMaster, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("an address of this machine");
    let mut stream = soon("a connection", socket.connect(master.address())).await.expect("connected");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut answer = [0; 15];
    soon("an answer", stream.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stream
}

async fn a07_a_newcomer_has_time_to_say_what_they_want(database: Database) {
    let configure = |config: &mut master::Config| {
        config.connections.max = 64;
        config.connections.max_per_address = 8;
    };
    let master = TestMaster::configured(database, configure).await;
    let alice = master.user("alice").await;
    let request = format!("{HEAD}Authorization: Bearer {}\r\nConnection: close\r\n\r\n", alice.token);
    let mut crowd = VecDeque::new();
    for round in 0..5_u8 {
        // As many as there are places, from many addresses …
        for address in 1..=60 {
            crowd.push_back(idle_from(&master, [127, 3, round, address]).await);
        }
        let mut newcomer = connect(&master).await;
        // … and one after the other is replaced while the newcomer's words are on their way.
        let (begun, mut address) = (Instant::now(), 61_u8);
        while begun.elapsed() < Duration::from_millis(100) {
            crowd.push_back(idle_from(&master, [127, 3, round, address]).await);
            crowd.pop_front();
            address = address.wrapping_add(1).max(1);
        }
        newcomer.write_all(request.as_bytes()).await.expect("written");
        let answer = rest(&mut newcomer).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{round}: {answer:?}");
    }
}
