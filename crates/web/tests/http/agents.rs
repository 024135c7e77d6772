//! Letting agents in: invitations, proof of the key, service (R28, R29, X8).

use std::time::Duration;

use api::agent::{Register, ToAgent, ToMaster, challenge_text};
use domain::agent::Power;
use serde_json::json;
use testkit::agent::{FakeAgent, Key, Wire};
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    r28_an_invitation_is_good_once_for_its_name_and_an_hour,
    r28_only_the_holder_of_the_key_comes_in,
    r28_a_signature_is_good_for_its_challenge_only,
    r29_a_second_connection_with_another_key_is_refused,
    r29_nothing_is_heard_before_the_proof,
    x08_agents_and_slots_are_taken_out_of_service,
    an_agent_that_is_back_replaces_its_old_connection,
    b09_what_is_wrong_with_a_machine_is_shown,
);

const USED: &str = "the invitation is not valid, was used, or has expired";
const REFUSED: &str = "this agent is not enrolled here, or its key is another one";

async fn r28_an_invitation_is_good_once_for_its_name_and_an_hour(database: Database) {
    let master = TestMaster::start(database).await;
    let anon = master.anon();
    let key = Key::generate();
    let named = master.invitation(Some("node")).await;
    assert_eq!(key.enrol(&anon, &named, "other").await.refused(401), USED);
    for bad in ["", "mai_", "x", &named[1..]] {
        assert_eq!(key.enrol(&anon, bad, "node").await.refused(401), USED, "{bad:?}");
    }
    for name in ["", "../x", "a b", "-x"] {
        assert!(key.enrol(&anon, &named, name).await.refused(400).contains("letters, digits"), "{name:?}");
    }
    let body = json!({"invitation": named, "name": "node", "publicKey": "AAAA"});
    assert!(anon.post("/api/v1/agents/enroll").json(body).await.refused(400).contains("no Ed25519 key"));
    let enrolled = key.enrol(&anon, &named, "node").await.ok();
    assert_eq!(enrolled["agentId"], "node");
    // The answer may get lost: the same key may ask again, and nobody else.
    assert_eq!(key.enrol(&anon, &named, "node").await.ok(), enrolled);
    assert_eq!(Key::generate().enrol(&anon, &named, "node").await.refused(401), USED);

    let open = master.invitation(None).await;
    let taken = Key::generate().enrol(&anon, &open, "node").await.refused(409);
    assert!(taken.contains("already enrolled"), "{taken}");
    assert_eq!(key.enrol(&anon, &open, "twin").await.status, 409, "a key belongs to one agent");
    Key::generate().enrol(&anon, &open, "other").await.ok();

    let (early, late) = (master.invitation(None).await, master.invitation(None).await);
    master.clock.advance(Duration::from_secs(3599));
    Key::generate().enrol(&anon, &early, "early").await.ok();
    master.clock.advance(Duration::from_secs(2));
    assert_eq!(Key::generate().enrol(&anon, &late, "late").await.refused(401), USED);
}

/// What the master answers to a hello.
async fn answer(wire: &mut Wire) -> Option<String> {
    match wire.receive().await {
        Some(ToAgent::Refused { reason }) => Some(reason),
        None => None,
        other => panic!("in place of a refusal: {other:?}"),
    }
}

async fn r28_only_the_holder_of_the_key_comes_in(database: Database) {
    let master = TestMaster::start(database).await;
    let agent = master.agent("node").await;
    let stranger = Key::generate();
    for name in ["node", "unknown"] {
        let (mut wire, nonce, master_id) = Wire::dial(master.address()).await;
        let text = challenge_text(&master_id, &name.parse().expect("a name"), &nonce);
        wire.hello(name, stranger.sign(&text)).await;
        assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED), "{name}");
        assert!(wire.receive().await.is_none(), "and the connection is closed");
    }
    for signature in ["", "AAAA", "no base64!"] {
        let (mut wire, ..) = Wire::dial(master.address()).await;
        wire.hello("node", signature.to_owned()).await;
        assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED), "{signature:?}");
    }
    drop(agent);
}

async fn r28_a_signature_is_good_for_its_challenge_only(database: Database) {
    let master = TestMaster::start(database).await;
    let key = Key::generate();
    let invitation = master.invitation(None).await;
    key.enrol(&master.anon(), &invitation, "node").await.ok();
    let name = "node".parse().expect("a name");
    let (mut wire, nonce, master_id) = Wire::dial(master.address()).await;
    let signature = key.sign(&challenge_text(&master_id, &name, &nonce));
    wire.hello("node", signature.clone()).await;

    let (mut replay, other, _) = Wire::dial(master.address()).await;
    assert_ne!(nonce, other);
    replay.hello("node", signature).await;
    assert_eq!(answer(&mut replay).await.as_deref(), Some(REFUSED));
    let (mut wire, nonce, _) = Wire::dial(master.address()).await;
    wire.hello("node", key.sign(&challenge_text("another-master", &name, &nonce))).await;
    assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED));
    let (mut wire, nonce, master_id) = Wire::dial(master.address()).await;
    let other = "other".parse().expect("a name");
    wire.hello("node", key.sign(&challenge_text(&master_id, &other, &nonce))).await;
    assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED));
}

async fn r29_a_second_connection_with_another_key_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let (mut wire, nonce, master_id) = Wire::dial(master.address()).await;
    wire.hello("node", Key::generate().sign(&challenge_text(&master_id, &agent.name, &nonce))).await;
    wire.send(&ToMaster::Register(Box::new(agent.about.clone()))).await;
    assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED));
    // The real one is still the one that gets the work.
    master.task(&alice, &mut agent).await;
}

async fn r29_nothing_is_heard_before_the_proof(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let allocation = task.start.allocation;
    let about: Register = agent.about.clone();
    for message in [ToMaster::Register(Box::new(about)), ToMaster::Started { allocation }] {
        let (mut wire, ..) = Wire::dial(master.address()).await;
        wire.send(&message).await;
        assert_eq!(answer(&mut wire).await.as_deref(), Some("the first message must be hello"));
    }
    // An enrolled agent speaks for its own tasks only.
    let mut other = master.agent("other").await;
    other.send_log(allocation, domain::log::Source::Stdout, domain::time::Timestamp(0), b"forged\n").await;
    other.exit(allocation, 0).await;
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
    assert!(!alice.log(&task.id()).await.iter().any(|line| line.contains("forged")));
}

async fn x08_agents_and_slots_are_taken_out_of_service(database: Database) {
    let mut master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    let list = admin.get("/api/v1/agents").await.ok();
    let node = &list["agents"][0];
    assert_eq!(
        (&node["id"], &node["enabled"], &node["connected"]),
        (&json!("node"), &json!(true), &json!(true))
    );
    assert_eq!(node["slots"].as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(node["slots"]["1"]["device"]["type"], "TYPE_CPU");

    admin.post("/api/v1/agents/node/slots/0/disable").await.ok();
    let slot = admin.post("/api/v1/agents/node/slots/1/disable").await.ok();
    assert_eq!((&slot["slot"]["id"], &slot["slot"]["enabled"]), (&json!("1"), &json!(false)));
    let waits = admin.run_true().await;
    admin.follow(&waits).await.until("queued: it needs 1 slots on one agent").await;
    admin.post("/api/v1/agents/node/slots/1/enable").await.ok();
    let start = agent.accept_start().await;
    assert_eq!(start.slots, [1]);
    agent.exit(start.allocation, 0).await;

    let drained = admin.post("/api/v1/agents/node/disable").json(json!({"drain": true})).await.ok();
    assert_eq!((&drained["agent"]["draining"], &drained["agent"]["enabled"]), (&json!(true), &json!(true)));
    let waits = admin.run_true().await;
    admin.follow(&waits).await.until("queued: no agent is connected").await;
    admin.post("/api/v1/agents/node/disable").await.ok();
    master.restart().await;
    let after = admin.get("/api/v1/agents/node").await.ok();
    assert_eq!((&after["agent"]["enabled"], &after["agent"]["connected"]), (&json!(false), &json!(false)));
    agent.reconnect().await;
    admin.post("/api/v1/agents/node/enable").await.ok();
    agent.accept_start().await;
    for slot in ["x", "-1", "4294967296"] {
        admin.post(&format!("/api/v1/agents/node/slots/{slot}/disable")).await.refused(404);
    }
}

async fn an_agent_that_is_back_replaces_its_old_connection(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let key = Key::generate();
    let invitation = master.invitation(None).await;
    key.enrol(&master.anon(), &invitation, "node").await.ok();
    let old = FakeAgent::connect(master.address(), "node", key.clone()).await;
    let mut new = FakeAgent::connect(master.address(), "node", key).await;
    new.about.power = Power::Root;
    // The end of the old connection doesn't take the new one's place away.
    drop(old);
    for _ in 0..3 {
        let task = master.task(&alice, &mut new).await;
        new.exit(task.start.allocation, 0).await;
    }
}

async fn b09_what_is_wrong_with_a_machine_is_shown(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    assert!(admin.get("/api/v1/agents").await.ok()["agents"][0].get("trouble").is_none());
    agent.about.devices.clear();
    agent.about.trouble = Some("GPU 0 is lost\u{1b}[2J\nagent other: fine".to_owned());
    agent.reconnect().await;
    let node = &admin.get("/api/v1/agents").await.ok()["agents"][0];
    // In one line, and nothing that a terminal obeys.
    assert_eq!(node["trouble"], "GPU 0 is lost[2Jagent other: fine");
    assert_eq!(node["slots"], json!({}));
}
