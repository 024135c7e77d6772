//! Letting agents in: invitations, keys and their proof, revocation (R28, R29, A14).

use std::time::Duration;

use api::agent::{OLDEST_PROTOCOL, Opening, Register, ToAgent, ToMaster};
use domain::time::Timestamp;
use link::{Invitation, Kind, LinkError, Secret};
use serde_json::json;
use testkit::agent::{FakeAgent, Key, Wire, carrier, control};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, soon};

on_both_databases!(
    r28_an_invitation_is_good_once_for_its_name_and_an_hour,
    r28_an_invitation_names_the_masters_key,
    r28_only_the_holder_of_the_key_comes_in,
    a02_who_asks_for_another_master_gets_no_answer,
    r29_a_second_connection_with_another_key_is_refused,
    r29_nothing_is_heard_before_the_proof,
    r28_the_masters_key_is_kept_and_its_loss_is_noticed,
    a14_a_revoked_agent_is_out_at_once_and_for_ever,
    a14_a_revoked_name_is_given_away_by_a_later_invitation_that_names_it_alone,
    a14_who_was_shut_out_or_demoted_has_invited_nobody,
    a14_a_key_is_replaced_by_an_invitation_that_says_so,
    a14_administrators_see_keys_and_where_agents_are,
);

const USED: &str = "the invitation is not valid, was used, has expired, or is for another name (see --name): make a new one with `muster agent invite`";
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
