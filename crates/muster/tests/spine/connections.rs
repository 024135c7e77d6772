//! What strangers' connections cost a server with few descriptors (A7). The time-outs and limits by themselves are
//! tested in `web`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Muster, Setup};

/// `nofile`, hard and soft, as in the finding.
const DESCRIPTORS: &str = "256";

/// How long an answer may take while the crowd is there; the finding's server gave none in 45 s.
const SOON: Duration = Duration::from_secs(5);

fn up() -> Muster {
    // A test that holds hundreds of connections, some of them ended, is no person to the server.
    let setup = Setup::default().config("security: {blank_passwords: allow}");
    setup.wrapped(&["prlimit", &format!("--nofile={DESCRIPTORS}")]).up()
}

fn health(address: &str) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("an option of every socket");
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in time");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    start.elapsed()
}

#[test]
fn a07_half_open_connections_stop_nobody_when_descriptors_are_few() {
    let muster = up();
    let address = muster.url.trim_start_matches("http://").to_owned();
    let alice = muster.user("alice");
    let heads: [&[u8]; 3] = [
        b"",
        b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
    ];
    let mut crowd = Vec::new();
    for head in heads {
        for _ in 0..300 {
            let mut stream = TcpStream::connect(&address).expect("connected");
            // The server may have ended it already.
            let _ = stream.write_all(head);
            crowd.push(stream);
        }
        assert!(health(&address) < SOON);
        alice.muster("user whoami").exits(0);
        muster.person("somebody").muster("user login alice").exits(0);
        alice.muster("command run true").exits(0);
    }
    drop(crowd);
}

#[test]
fn a07_descriptors_are_raised_for_the_server_and_not_for_tasks() {
    let muster = Setup::default().wrapped(&["prlimit", "--nofile=512:4096"]).up();
    let pid = muster.server().pid();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("readable");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["4096", "4096"]);
    let alice = muster.user("alice");
    assert_eq!(alice.script("", "ulimit -Sn").ok(), "512");
}
