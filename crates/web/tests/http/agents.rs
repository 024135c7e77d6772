//! Letting agents in: invitations, proof of the key, service (R28, R29, X8).

use std::time::Duration;

use api::agent::{MAX_DEVICES, MAX_HELD, OLDEST_PROTOCOL, Opening, Register, ToAgent, ToMaster};
use domain::agent::{Device, Power};
use domain::time::Timestamp;
use link::{Invitation, Kind, LinkError, Secret};
use serde_json::json;
use testkit::agent::{FakeAgent, Key, Wire, carrier, control};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

on_both_databases!(
    r28_an_invitation_is_good_once_for_its_name_and_an_hour,
    r28_an_invitation_names_the_masters_key,
    r28_only_the_holder_of_the_key_comes_in,
    a02_who_asks_for_another_master_gets_no_answer,
    r29_a_second_connection_with_another_key_is_refused,
    r29_nothing_is_heard_before_the_proof,
    r28_the_masters_key_is_kept_and_its_loss_is_noticed,
    r09_no_page_opens_an_agents_channel,
    x08_agents_and_slots_are_taken_out_of_service,
    b23_what_runs_on_what_is_disabled_is_ended_or_runs_out,
    an_agent_that_is_back_replaces_its_old_connection,
    b09_what_is_wrong_with_a_machine_is_shown,
    a14_a_revoked_agent_is_out_at_once_and_for_ever,
    a14_a_revoked_name_is_given_away_by_a_later_invitation_that_names_it_alone,
    a14_who_was_shut_out_or_demoted_has_invited_nobody,
    a14_a_key_is_replaced_by_an_invitation_that_says_so,
    a14_administrators_see_keys_and_where_agents_are,
    b05_a_second_process_is_refused_while_the_first_lives,
    b05_what_is_dead_is_replaced,
    b20_the_skew_of_a_clock_is_shown,
    a03_http_through_an_agent_is_never_local,
    a02_http_is_served_for_runs_that_the_agent_holds,
    a02_what_is_open_for_a_run_ends_with_it_or_with_its_agent,
    a05_an_agent_that_invents_runs_costs_nobody_else,
    a05_others_go_on_while_all_that_an_agent_had_is_ended,
);

const USED: &str = "the invitation is not valid, was used, has expired, or is for another name (see --name)";
const REFUSED: &str = "this agent is not enrolled here, or its key is another one";

async fn r28_an_invitation_is_good_once_for_its_name_and_an_hour(database: Database) {
    let master = TestMaster::start(database).await;
    let at = master.address();
    let key = Key::generate();
    let named = master.invitation(Some("node")).await;
    assert_eq!(key.enrol(at, &named, "other").await, Err(USED.to_owned()));
    let (secret, public) = named.split_once('.').expect("two parts");
    for bad in ["mai_", "x", &secret[1..]] {
        assert_eq!(key.enrol(at, &format!("{bad}.{public}"), "node").await, Err(USED.to_owned()), "{bad:?}");
    }
    for name in ["", "../x", "a b", "-x"] {
        let refused = key.enrol(at, &named, name).await.expect_err("no name");
        assert!(refused.contains("letters, digits"), "{name:?}");
    }
    let enrolled = key.enrol(at, &named, "node").await;
    assert!(enrolled.is_ok(), "{enrolled:?}");
    // The answer may get lost: the same key may ask again, and nobody else.
    assert_eq!(key.enrol(at, &named, "node").await, enrolled);
    assert_eq!(Key::generate().enrol(at, &named, "node").await, Err(USED.to_owned()));

    let open = master.invitation(None).await;
    let taken = Key::generate().enrol(at, &open, "node").await.expect_err("taken");
    assert!(taken.contains("already enrolled"), "{taken}");
    key.enrol(at, &open, "twin").await.expect_err("a key belongs to one agent");
    Key::generate().enrol(at, &open, "other").await.expect("good");

    let (early, late) = (master.invitation(None).await, master.invitation(None).await);
    master.clock.advance(Duration::from_secs(3599));
    Key::generate().enrol(at, &early, "early").await.expect("good");
    master.clock.advance(Duration::from_secs(2));
    assert_eq!(Key::generate().enrol(at, &late, "late").await, Err(USED.to_owned()));
}

async fn r28_an_invitation_names_the_masters_key(database: Database) {
    let master = TestMaster::start(database).await;
    let answer = master.admin().await.post("/api/v1/agents/invitations").await.ok();
    let text = answer["token"].as_str().expect("text");
    let invitation: Invitation = text.parse().expect("an invitation");
    assert_eq!(invitation.master, master.services().agents.key().public());
    assert_eq!(answer["fingerprint"], json!(invitation.master.fingerprint()));
}

/// What the master answers.
async fn answer(wire: &mut Wire) -> Option<String> {
    match wire.receive().await {
        Some(ToAgent::Refused { reason, .. }) => Some(reason),
        None => None,
        other => panic!("in place of a refusal: {other:?}"),
    }
}

/// A channel of `key`'s that wants to work under `name`.
async fn working(master: &TestMaster, key: &Key, name: &str) -> Wire {
    let opening = control(name, "a process", Timestamp(0));
    let public = master.services().agents.key().public();
    Wire::open(master.address(), key, public, &opening).await.expect("the master")
}

async fn r28_only_the_holder_of_the_key_comes_in(database: Database) {
    let master = TestMaster::start(database).await;
    let agent = master.agent("node").await;
    let stranger = Key::generate();
    for name in ["node", "unknown"] {
        let mut wire = working(&master, &stranger, name).await;
        assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED), "{name}");
        assert!(wire.receive().await.is_none(), "and the connection is closed");
    }
    // A key belongs to one name.
    let key = Key::generate();
    let invitation = master.invitation(None).await;
    key.enrol(master.address(), &invitation, "other").await.expect("enrolled");
    let mut wire = working(&master, &key, "node").await;
    assert_eq!(answer(&mut wire).await.as_deref(), Some(REFUSED));
    // A version that is too old is told so.
    let mut opening = control("other", "a process", Timestamp(0));
    if let Opening::Control(control) = &mut opening {
        control.protocol = OLDEST_PROTOCOL - 1;
    }
    let public = master.services().agents.key().public();
    let mut wire = Wire::open(master.address(), &key, public, &opening).await.expect("the master");
    let told = answer(&mut wire).await.expect("a reason");
    assert!(told.contains("install the same version"), "{told}");
    drop(agent);
}

async fn a02_who_asks_for_another_master_gets_no_answer(database: Database) {
    let master = TestMaster::start(database).await;
    let other = Secret::from_random([7; 32]).public();
    let opening = control("node", "a process", Timestamp(0));
    let opened = Wire::open(master.address(), &Key::generate(), other, &opening).await;
    assert!(matches!(opened, Err(LinkError::Unproved(_))), "{opened:?}");
}

async fn r29_a_second_connection_with_another_key_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let mut wire = working(&master, &Key::generate(), "node").await;
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
    let public = master.services().agents.key().public();
    for message in [ToMaster::Register(Box::new(about)), ToMaster::Started { allocation }] {
        let (wire, key) = (carrier(master.address()).await, Key::generate());
        let mut channel = link::initiate(wire, key.secret(), public).await.expect("the master");
        let text = serde_json::to_vec(&message).expect("JSON");
        channel.sender.send(Kind::Message, &text).await.expect("sent");
        let heard = soon("the end", channel.receiver.next()).await;
        assert!(matches!(heard, Ok(None) | Err(LinkError::Carrier(_))), "{heard:?}");
    }
    // An enrolled agent speaks for its own tasks only.
    let mut other = master.agent("other").await;
    other.send_log(allocation, domain::log::Source::Stdout, domain::time::Timestamp(0), b"forged\n").await;
    other.exit(allocation, 0).await;
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
    assert!(!alice.log(&task.id()).await.iter().any(|line| line.contains("forged")));
}

async fn r28_the_masters_key_is_kept_and_its_loss_is_noticed(database: Database) {
    let mut master = TestMaster::start(database).await;
    let key = master.services().agents.key().public();
    let file = master.storage().data_dir().join("link.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    master.restart().await;
    assert_eq!(master.services().agents.key().public(), key);

    master.stop().await;
    let kept = std::fs::read(&file).expect("there");
    std::fs::remove_file(&file).expect("removed");
    let lost = master.try_boot().await.expect_err("it is gone").to_string();
    assert!(lost.contains("is gone") && lost.contains("touch"), "{lost}");
    assert!(!file.exists(), "nothing is put in its place unasked");
    std::fs::write(&file, Secret::from_random([9; 32]).to_text()).expect("written");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let other = master.try_boot().await.expect_err("it is another").to_string();
    assert!(other.contains(&key.fingerprint()), "{other}");
    std::fs::write(&file, kept).expect("written");
    master.boot().await;
    assert_eq!(master.services().agents.key().public(), key);

    // An administrator says that it is lost for good.
    master.stop().await;
    std::fs::write(&file, "").expect("written");
    master.boot().await;
    assert_ne!(master.services().agents.key().public(), key);
    let noted = master.admin().await.get("/api/v1/audit?action=installation.replace_link_key").await.ok();
    assert_eq!(noted["entries"].as_array().map(Vec::len), Some(1), "{noted}");
}

async fn r09_no_page_opens_an_agents_channel(database: Database) {
    let master = TestMaster::start(database).await;
    let ask = |origin: Option<&str>| {
        let request = master.anon().get(api::agent::CONNECT_PATH).header("connection", "upgrade");
        let request = request.header("upgrade", "websocket").header("sec-websocket-version", "13");
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
    };
    assert_eq!(ask(None).await.status, 101);
    let own = master.url();
    for origin in ["null", "http://evil.example.org", own.as_str()] {
        assert_eq!(ask(Some(origin)).await.status, 403, "{origin}");
    }
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
    assert_eq!((&drained["agent"]["draining"], &drained["agent"]["enabled"]), (&json!(true), &json!(false)));
    assert_eq!(drained["agent"]["slots"]["0"]["draining"], true);
    let waits = admin.run_true().await;
    let mut told = admin.follow(&waits).await;
    told.until("queued: the connected agents take no tasks until an administrator enables one").await;
    let reason = admin.command(&waits).await["waitingFor"].as_str().map(str::to_owned);
    assert!(reason.is_some_and(|reason| reason.ends_with(": 0 disabled, 1 draining")));
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
    key.enrol(master.address(), &invitation, "node").await.expect("enrolled");
    let old = FakeAgent::connect(&master, "node", key.clone()).await;
    let mut new = FakeAgent::prepare(&master, "node", key);
    new.instance.clone_from(&old.instance);
    new.reconnect().await;
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
    agent.about.trouble = Some("GPU 0 is lost\u{1b}[2J\nagent other: fine".into());
    agent.reconnect().await;
    let node = &admin.get("/api/v1/agents").await.ok()["agents"][0];
    // In one line, and nothing that a terminal obeys.
    assert_eq!(node["trouble"], "GPU 0 is lost[2Jagent other: fine");
    assert_eq!(node["slots"], json!({}));
}

async fn a14_a_revoked_agent_is_out_at_once_and_for_ever(database: Database) {
    let mut master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    alice.post("/api/v1/agents/node/revoke").await.refused(403);
    admin.post("/api/v1/agents/nobody/revoke").await.refused(404);
    let revoked = admin.post("/api/v1/agents/node/revoke").await.ok();
    assert_eq!((&revoked["agent"]["revoked"], &revoked["agent"]["connected"]), (&json!(true), &json!(false)));
    assert!(revoked["agent"]["enrolled"]["revokedTime"].is_string(), "{revoked}");
    agent.expect_kill(task.start.allocation).await;
    assert!(agent.is_closed().await);
    let ended = alice.command(&task.id()).await;
    assert_eq!(ended["state"], "STATE_TERMINATED");
    assert!(alice.log(&task.id()).await.iter().any(|line| line.contains("agent node was revoked")));
    admin.post("/api/v1/agents/node/revoke").await.refused(400);
    let said = "this agent's key was revoked, and is refused for ever";
    for _ in 0..2 {
        let refused = agent.try_reconnect().await.expect_err("it is out");
        assert_eq!(refused, said);
        master.restart().await;
    }
    // Neither as somebody else.
    let invitation = master.invitation(None).await;
    assert_eq!(agent.key().enrol(master.address(), &invitation, "other").await, Err(said.to_owned()));
    // The name is free for another key.
    let mut again = master.agent("node").await;
    master.task(&alice, &mut again).await;
    let audit = master.admin().await.get("/api/v1/audit?action=agent.revoke").await.ok();
    assert_eq!(audit["entries"][0]["record"]["target"]["name"], "node");
}

async fn a14_a_revoked_name_is_given_away_by_a_later_invitation_that_names_it_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let _agent = master.agent("node").await;
    let early = [master.invitation(None).await, master.invitation(Some("node")).await];
    let replaces = json!({"name": "node", "replace": true});
    let replaces = admin.post("/api/v1/agents/invitations").json(replaces).await.ok();
    admin.post("/api/v1/agents/node/revoke").await.ok();
    let replaces = replaces["token"].as_str().expect("text");
    let enrol = async |invitation: &str| Key::generate().enrol(master.address(), invitation, "node").await;
    for invitation in early.iter().map(String::as_str).chain([replaces]) {
        enrol(invitation).await.expect_err("made before");
    }
    let unnamed = master.invitation(None).await;
    assert!(enrol(&unnamed).await.expect_err("names nobody").contains("agent invite --name node"));
    Key::generate().enrol(master.address(), &unnamed, "another").await.expect("not used up");
    enrol(&master.invitation(Some("node")).await).await.expect("let in again");
}

async fn a14_who_was_shut_out_or_demoted_has_invited_nobody(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for (number, change) in [json!({"admin": false}), json!({"active": false})].into_iter().enumerate() {
        let boss = master.user(&format!("boss{number}")).await;
        admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();
        let agent = boss.post("/api/v1/agents/invitations").await.ok();
        let agent = agent["token"].as_str().expect("text");
        let person = boss.post("/api/v1/invitations").await.ok();
        admin.patch(&boss.path()).json(change).await.ok();
        // Nor when they are back.
        for back in [false, true] {
            if back {
                admin.patch(&boss.path()).json(json!({"admin": true, "active": true})).await.ok();
            }
            Key::generate().enrol(master.address(), agent, "node").await.expect_err("nobody's invitation");
            let wish = json!({"username": "eve", "email": "eve@lab.example", "password": "a quiet lake",
                "invitation": person["code"]});
            master.anon().post("/api/v1/users/register").json(wish).await.refused(403);
        }
    }
}

async fn a14_a_key_is_replaced_by_an_invitation_that_says_so(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut old = master.agent("node").await;
    admin.post("/api/v1/agents/invitations").json(json!({"replace": true})).await.refused(400);
    let plain = master.invitation(Some("node")).await;
    let taken = Key::generate().enrol(master.address(), &plain, "node").await.expect_err("taken");
    assert!(taken.contains("--replace"), "{taken}");
    let body = json!({"name": "node", "replace": true});
    let answer = admin.post("/api/v1/agents/invitations").json(body).await.ok();
    let invitation = answer["token"].as_str().expect("text");
    let key = Key::generate();
    key.enrol(master.address(), invitation, "node").await.expect("replaced");
    assert!(old.is_closed().await, "the old key's connection is over");
    old.try_reconnect().await.expect_err("and the key with it");
    let new = FakeAgent::connect(&master, "node", key).await;
    drop(new);
}

async fn a14_administrators_see_keys_and_where_agents_are(database: Database) {
    let master = TestMaster::start(database).await;
    let agent = master.agent("node").await;
    let seen = master.admin().await.get("/api/v1/agents/node").await.ok();
    let enrolled = &seen["agent"]["enrolled"];
    assert_eq!(enrolled["keyFingerprint"], json!(agent.key().secret().public().fingerprint()));
    assert_eq!(enrolled["lastAddress"], "127.0.0.1");
    assert!(enrolled["time"].is_string() && enrolled["lastSeenTime"].is_string(), "{seen}");
    let seen = master.user("alice").await.get("/api/v1/agents").await.ok();
    assert!(seen["agents"][0].get("enrolled").is_none(), "{seen}");
}

async fn b05_a_second_process_is_refused_while_the_first_lives(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut first = master.agent("node").await;
    let task = master.task(&alice, &mut first).await;
    let mut copy = FakeAgent::prepare(&master, "node", first.key().clone());
    let (refused, ()) = tokio::join!(copy.try_reconnect(), first.answer_ping());
    let refused = refused.expect_err("the first one lives");
    assert!(refused.contains("already connected from another process, on fake.example.org"), "{refused}");
    // The first one and its task don't mind.
    first.exit(task.start.allocation, 0).await;
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_TERMINATED");
    master.task(&alice, &mut first).await;
}

async fn b05_what_is_dead_is_replaced(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    // It never answers, as behind a connection that is half open.
    let silent = master.agent("node").await;
    let mut next = FakeAgent::connect(&master, "node", silent.key().clone()).await;
    master.task(&alice, &mut next).await;
}

async fn b20_the_skew_of_a_clock_is_shown(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let list = master.admin().await.get("/api/v1/agents").await.ok();
    assert_eq!(list["agents"][0]["clockSkewMs"], 0);
    agent.ahead = -61_900_000;
    agent.reconnect().await;
    let list = master.admin().await.get("/api/v1/agents").await.ok();
    assert_eq!(list["agents"][0]["clockSkewMs"], -61_900);
}

/// A request through an agent, whole; the answer's head and body.
async fn through(agent: &FakeAgent, allocation: domain::id::AllocationId, head: &str, body: &str) -> String {
    let mut stream = agent.http(allocation).await.expect("held");
    let length = body.len();
    let request =
        format!("{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    soon("an answer", stream.read_to_end(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn a03_http_through_an_agent_is_never_local(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let alice = master.user("alice").await;
    let task = master.task(&alice, &mut agent).await;
    let (allocation, token) = (task.start.allocation, &task.start.token);
    let bearer = format!("GET /api/v1/me HTTP/1.1\r\nAuthorization: Bearer {token}");
    let me = through(&agent, allocation, &bearer, "").await;
    assert!(me.starts_with("HTTP/1.1 200") && me.contains("alice"), "{me}");
    let nobody = through(&agent, allocation, "GET /api/v1/me HTTP/1.1", "").await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    let page = through(&agent, allocation, "GET / HTTP/1.1", "").await;
    assert!(!page.starts_with("HTTP/1.1 200"), "nobody is the default user: {page}");
    let login = r#"{"username": "admin", "password": ""}"#;
    let blank = through(&agent, allocation, "POST /api/v1/auth/login HTTP/1.1", login).await;
    assert!(blank.starts_with("HTTP/1.1 401") || blank.starts_with("HTTP/1.1 403"), "{blank}");
}

async fn a02_http_is_served_for_runs_that_the_agent_holds(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let other = master.agent("other").await;
    let alice = master.user("alice").await;
    let task = master.task(&alice, &mut agent).await;
    let allocation = task.start.allocation;
    let refused = other.http(allocation).await.expect_err("another's");
    assert!(refused.contains("agent other doesn't hold"), "{refused}");
    agent.http(allocation).await.expect("its own");
    agent.exit(allocation, 0).await;
    agent.http(allocation).await.expect_err("it is over");
}

async fn a02_what_is_open_for_a_run_ends_with_it_or_with_its_agent(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let [ends, stays] = [master.task(&alice, &mut agent).await, master.task(&alice, &mut agent).await];
    let mut open = Vec::new();
    for task in [&ends, &stays] {
        let mut stream = agent.http(task.start.allocation).await.expect("held");
        // Half a request: the master waits for the rest.
        stream.write_all(b"GET /api/v1/me HTTP/1.1\r\n").await.expect("sent");
        open.push(stream);
    }
    let mut rest = Vec::new();
    agent.exit(ends.start.allocation, 0).await;
    soon("its end", open[0].read_to_end(&mut rest)).await.expect("closed");
    open[1].write_all(b"Host: 127.0.0.1\r\n").await.expect("another's end is nothing to it");
    admin.post("/api/v1/agents/node/revoke").await.ok();
    soon("its end", open[1].read_to_end(&mut rest)).await.expect("closed");
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

async fn b23_what_runs_on_what_is_disabled_is_ended_or_runs_out(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    let [first, second] = [master.task(&admin, &mut agent).await, master.task(&admin, &mut agent).await];
    let killed = || domain::task::Exit { code: 137, killed: true, ..Default::default() };
    assert_eq!(second.start.slots, [1]);
    let slot = admin.get("/api/v1/agents/node/slots/1").await.ok();
    assert_eq!((&slot["slot"]["id"], &slot["slot"]["enabled"]), (&json!("1"), &json!(true)));
    assert_eq!(slot["slot"]["container"]["state"], "STATE_RUNNING");
    let slots = admin.get("/api/v1/agents/node/slots").await.ok();
    assert_eq!(slots["slots"].as_array().map(Vec::len), Some(2));
    for missing in ["node/slots/7", "node/slots/x", "nobody/slots/1", "nobody/slots"] {
        admin.get(&format!("/api/v1/agents/{missing}")).await.refused(404);
    }

    // A slot, with what runs on it alone.
    let drain = json!({"drain": true});
    admin.post("/api/v1/agents/node/slots/1/disable").json(drain.clone()).await.ok();
    assert_eq!(admin.command(&second.id()).await["state"], "STATE_RUNNING", "it runs out");
    admin.post("/api/v1/agents/node/slots/1/disable").await.ok();
    agent.expect_kill(second.start.allocation).await;
    agent.exit_as(second.start.allocation, killed()).await;
    let ended = admin.command(&second.id()).await;
    assert_eq!(
        (&ended["state"], &ended["exitStatus"]),
        (&json!("STATE_TERMINATED"), &json!("agent disabled"))
    );

    // All of it.
    admin.post("/api/v1/agents/node/disable").json(drain).await.ok();
    assert_eq!(admin.command(&first.id()).await["state"], "STATE_RUNNING", "it runs out");
    admin.post("/api/v1/agents/node/disable").await.ok();
    agent.expect_kill(first.start.allocation).await;
    agent.exit_as(first.start.allocation, killed()).await;
    assert_eq!(admin.command(&first.id()).await["exitStatus"], "agent disabled");
    let said = admin.log(&first.id()).await;
    assert!(said.iter().any(|line| line.contains("(reason: agent disabled)")), "{said:?}");
    let restarted = admin.run_true().await;
    admin.post("/api/v1/agents/node/enable").await.ok();
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), restarted);
}

/// U2: ten connections that each name 40 000 runs kept everybody else from starting and killing.
async fn a05_an_agent_that_invents_runs_costs_nobody_else(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, admin) = (master.user("alice").await, master.admin().await);
    let mut liar = master.agent("liar").await;
    liar.invent(MAX_HELD + 1);
    let refused = liar.try_reconnect().await.expect_err("more than a machine has");
    assert!(refused.contains("4097 runs, and a machine has 4096 at most"), "{refused}");
    liar.lose_everything();
    liar.about.devices = vec![liar.about.devices[0].clone(); MAX_DEVICES + 1];
    let refused = liar.try_reconnect().await.expect_err("more than a machine has");
    assert!(refused.contains("1025 slots"), "{refused}");
    liar.about.devices.truncate(2);

    liar.invent(MAX_HELD);
    let many: Vec<_> = (0..12).map(|_| tokio::spawn(liar.register_beside())).collect();
    let waiting = alice.run(json!({"entrypoint": ["true"], "resources": {"slots": 2}})).await;
    alice.post(&format!("/api/v1/commands/{waiting}/kill")).await.ok();
    admin.get("/api/v1/agents").await.ok();
    assert!(many.iter().any(|one| !one.is_finished()), "others had to wait for all of them");
    for one in many {
        soon("its end", one).await.expect("no panic");
    }
    liar.reconnect().await;
    let told = async || {
        let audit = admin.get("/api/v1/audit?action=agent.disown").await.ok();
        audit["entries"].as_array().expect("a list").len()
    };
    assert_eq!(told().await, 1, "once for all of them");
    // Other ones each time: for a while, then it isn't heard.
    let mut refusals = 0;
    for _ in 0..12 {
        liar.lose_everything();
        liar.invent(3);
        if let Err(refused) = liar.try_reconnect().await {
            assert!(refused.contains("again and again"), "{refused}");
            refusals += 1;
        }
    }
    assert_eq!((told().await, refusals), (10, 3));
}

async fn a05_others_go_on_while_all_that_an_agent_had_is_ended(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    let device = agent.about.devices[0].clone();
    agent.about.devices = (0..100).map(|id| Device { id, ..device.clone() }).collect();
    agent.reconnect().await;
    for name in ["alice", "bob"] {
        let user = master.user(name).await;
        for _ in 0..45 {
            master.task(&user, &mut agent).await;
        }
    }
    let tasks = master.services().tasks.clone();
    let looks = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&0) {
            seen.push(tasks.count_living());
        }
        seen
    });
    admin.post("/api/v1/agents/node/revoke").await.ok();
    let seen = looks.await.expect("over");
    assert!(seen.iter().any(|living| (1..90).contains(living)), "all were ended at one go");
}
