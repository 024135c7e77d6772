//! Agents of other versions than the master's: what they can is agreed on by name.

use api::agent::{PROTOCOL, Start, ToAgent};
use domain::capability::{Capabilities, Capability};
use serde_json::{Value, json};
use testkit::agent::{Key, Wire};
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    an_agent_of_the_version_before_works,
    an_agent_of_the_next_version_works,
    nothing_is_placed_where_it_can_not_be_carried_out,
);

/// What an agent of the version before says, byte for byte.
fn before(name: &str) -> Value {
    let path = format!("{}/../api/tests/agents/before/of_agents/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON")
}

/// An enrolled agent that says what it is in words of its own version.
async fn arrive(master: &TestMaster, control: &Value, register: &Value) -> Wire {
    let key = Key::generate();
    let invitation = master.invitation(None).await;
    key.enrol(master.address(), &invitation, "node").await.expect("enrolled");
    let opening = serde_json::from_value(control.clone()).expect("an opening");
    let public = master.services().agents.key().public();
    let mut wire = Wire::open(master.address(), &key, public, &opening).await.expect("the master");
    wire.say(register).await;
    let welcome = wire.receive().await;
    let Some(ToAgent::Welcome(welcome)) = welcome else { panic!("in place of a welcome: {welcome:?}") };
    assert_eq!(welcome.can, Some(Capabilities::ALL), "the master says what it knows");
    wire
}

async fn started(wire: &mut Wire) -> Start {
    loop {
        match wire.receive().await.expect("a message") {
            ToAgent::Start(start) => return *start,
            ToAgent::LogsReceived { .. } => {}
            other => panic!("in place of a start: {other:?}"),
        }
    }
}

/// Says that a run has begun and is over, in the words of the version before; waits until that is recorded.
async fn ends(wire: &mut Wire, start: &Start) {
    for name in ["started", "exited"] {
        let mut said = before(name);
        said["allocation"] = json!(start.allocation);
        if name == "exited" {
            (said["log_bytes"], said["exit"]) =
                (json!(0), json!({"code": 3, "killed": false, "failure": null}));
        }
        wire.say(&said).await;
    }
    loop {
        match wire.receive().await.expect("a message") {
            ToAgent::Forget { allocation } if allocation == start.allocation => return,
            ToAgent::LogsReceived { .. } => {}
            other => panic!("in place of its being forgotten: {other:?}"),
        }
    }
}

fn register(held: &Value) -> Value {
    let mut register = before("register");
    (register["held"], register["given"]) = (held.clone(), json!({}));
    register
}

async fn an_agent_of_the_version_before_works(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut wire = arrive(&master, &before("opening_control"), &register(&json!([]))).await;
    let node = admin.get("/api/v1/agents/node").await.ok()["agent"].clone();
    assert_eq!(node["musterVersion"], "0.1.0");
    let missing = Capabilities::ALL.beyond(Capabilities::UNNAMED).names();
    assert_eq!(node["missingCapabilities"], json!(missing), "{node}");

    let id = admin.run(json!({"entrypoint": ["true"], "resources": {"slots": 1, "shm_size": "1g"}})).await;
    let start = started(&mut wire).await;
    assert_eq!(start.shm_bytes, Some(1 << 30));
    ends(&mut wire, &start).await;
    assert_eq!(admin.command(&id).await["exitCode"], 3);

    // What it may not know waits, and says so; it holds nobody up.
    let hooked = admin.run(json!({"entrypoint": ["true"], "startup_hook": "true"})).await;
    let why = "queued: no connected agent can do all that it needs: agent node can't do startup_hook";
    admin.follow(&hooked).await.until(why).await;
    let other = admin.run_true().await;
    let start = started(&mut wire).await;
    assert_eq!(start.allocation.task.to_string(), other);
    let waits = admin.command(&hooked).await;
    assert!(waits["waitingFor"].as_str().is_some_and(|why| why.contains("can't do startup_hook")), "{waits}");
}

async fn an_agent_of_the_next_version_works(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let (mut control, mut register) = (before("opening_control"), register(&json!([])));
    (control["protocol"], control["new"]) = (json!(PROTOCOL + 1), json!({"deep": 1}));
    (register["can"], register["new"]) = (json!(["startup_hook", "teleport"]), json!([1]));
    register["devices"][0]["kind"] = json!("quantum");
    let mut wire = arrive(&master, &control, &register).await;
    wire.say(&json!({"type": "teleported", "to": "elsewhere"})).await;
    let node = admin.get("/api/v1/agents/node").await.ok()["agent"].clone();
    assert_eq!(node["slots"].as_object().map(|slots| slots.len()), Some(1), "that it understands: {node}");
    let missing = Capabilities::ALL.without(Capability::StartupHook).names();
    assert_eq!(node["missingCapabilities"], json!(missing));
    let hooked = admin.run(json!({"entrypoint": ["true"], "startup_hook": "true"})).await;
    let start = started(&mut wire).await;
    assert_eq!(start.allocation.task.to_string(), hooked);
    ends(&mut wire, &start).await;
}

async fn nothing_is_placed_where_it_can_not_be_carried_out(database: Database) {
    let mut master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut old = master.agent("old").await;
    old.about.can = Capabilities::UNNAMED.without(Capability::ShmSize);
    old.reconnect().await;
    let sized = admin.run(json!({"entrypoint": ["true"], "resources": {"shm_size": "64m"}})).await;
    admin.follow(&sized).await.until("agent old can't do shm_size").await;
    // It holds nobody up.
    let plain = admin.run_true().await;
    let start = old.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), plain);
    old.exit(start.allocation, 0).await;
    // After a restart, too: it is in the configuration.
    master.restart().await;
    old.reconnect().await;
    admin.follow(&sized).await.until("agent old can't do shm_size").await;
    let mut new = master.agent("new").await;
    let node = admin.get("/api/v1/agents/new").await.ok()["agent"].clone();
    assert_eq!(node.get("missingCapabilities"), None, "{node}");
    let start = new.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), sized);
}
