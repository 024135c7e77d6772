//! A2, A3: a task's network by way of the whole product: its own, with a way to the master, and no more than the
//! administrator allows.

use std::net::TcpListener;

use crate::support::{Muster, Setup};

/// Asks the master who the task is, at the address that the task was given.
const WHO_AM_I: &str = r#"/usr/bin/python3 -c '
import json, os, urllib.request as u
for name in "DET_MASTER", "MUSTER_MASTER":
    ask = u.Request(os.environ[name] + "/api/v1/me", headers={"Authorization": "Bearer " + os.environ["DET_SESSION_TOKEN"]})
    me = json.load(u.urlopen(ask, timeout=30)); print(me.get("user", me)["username"])
print(os.environ["DET_MASTER_HOST"], os.environ["DET_MASTER_PORT"])'"#;

/// Whether a port of 127.0.0.1 answers.
fn connect(port: u16) -> String {
    format!(
        "/usr/bin/python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 10)' 2>/dev/null \
         && echo reached || echo closed"
    )
}

#[test]
fn a03_a_task_finds_the_master_and_nothing_else_of_the_machine() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    // Before this process serves anybody: what such a one starts is no person's (R15).
    let me = muster.person("me");
    me.muster("user whoami").exits(0);
    let service = TcpListener::bind("127.0.0.1:0").expect("a port");
    let service = service.local_addr().expect("bound").port();
    let own = muster.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    for options in ["", "--config network=none"] {
        let said = alice.script(options, &format!("{WHO_AM_I}; {}; {}", connect(own), connect(service))).ok();
        assert_eq!(said, "alice\nalice\n127.0.0.1 808\nclosed\nclosed", "{options}");
    }
    // As root in a task, too.
    let said = me.script("", &connect(own)).ok();
    assert_eq!(said, "closed");
}

#[test]
fn a02_a_configuration_asks_for_less_never_for_more() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let refused = alice.script("--config network=host", "true");
    refused.exits(125).says("network: host is more than").says("agent.network: host");
    alice.script("--config network=bridge", "true").exits(1).says("`bridge`");

    let muster = Setup::default().config("agent: {network: host}").up();
    let alice = muster.linked_user("alice", 5001);
    let service = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = service.local_addr().expect("bound").port();
    let said = alice.script("", &format!("{WHO_AM_I} | head -2; {}", connect(port))).exits(0);
    assert_eq!(said.out(), "alice\nalice\nreached\n");
    let log = String::from_utf8_lossy(&said.stdout).into_owned() + said.err();
    assert!(log.contains("shares the machine's network"), "{log}");
    let said = alice.script("--config network=private", &connect(port)).ok();
    assert_eq!(said, "closed");
}
