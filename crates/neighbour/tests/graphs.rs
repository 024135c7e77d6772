//! Forwarders aren't a list of tools: chains of processes by channels of every kind, chosen by a seed, between one that
//! is connected to the master and one that is abroad (Y1, R15, A3).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use neighbour::Neighbours;

/// How many chains.
const CHAINS: u32 = 44;

#[test]
fn a03_r15_whoever_is_connected_with_one_abroad_is_no_person() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphs.py");
    let mut python = Command::new("/usr/bin/python3");
    let maker = python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut maker = maker.expect("started");
    let mut asked = maker.stdin.take().expect("a pipe");
    let mut said = BufReader::new(maker.stdout.take().expect("a pipe")).lines();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let neighbours = Neighbours::new(0..0);
    let mut wrong = Vec::new();
    for seed in 0..CHAINS {
        for abroad in [false, true] {
            writeln!(asked, "{seed} {} {port}", u8::from(abroad)).expect("it listens");
            let chain = said.next().expect("it answers").expect("readable");
            let (connection, peer) = listener.accept().expect("accepted");
            let verdict = neighbours.at_tcp(peer, connection.local_addr().expect("bound"));
            if verdict.is_err() != abroad {
                wrong.push(format!("{seed}: {chain}, abroad {abroad}: {verdict:?}"));
            }
            writeln!(asked, "end").expect("it listens");
        }
    }
    drop(asked);
    assert!(maker.wait().expect("over").success());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
