//! Names and addresses: what a taken one tells (A14), and which look like somebody else's.

use domain::throttle::LONGEST;
use serde_json::json;
use testkit::http::Request;
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a14_who_tries_out_what_is_taken_has_to_wait,
    a14_what_one_sees_may_be_found_taken_as_often_as_one_likes,
    a14_a_workspace_is_called_like_its_own_account_alone,
    a14_no_name_looks_like_another_accounts,
    a14_user_names_differ_by_more_than_case,
    a14_names_of_places_are_no_look_alikes,
    kx08_a_made_key_tells_nothing_of_what_is_hidden,
    a05_mf12_names_are_compared_while_nobody_waits_for_it,
);

/// Things of the victim's that nobody else sees.
async fn hidden(victim: &User) -> i64 {
    let private = json!({"name": "secret plan", "private": true});
    let made = victim.post("/api/v1/workspaces").json(private).await.ok();
    let id = made["workspace"]["id"].as_i64().expect("an id");
    let project = json!({"name": "p", "key": "PLAN", "private": true});
    victim.post(&format!("/api/v1/workspaces/{id}/projects")).json(project).await.ok();
    victim.post("/api/v1/templates/planned").json(json!({"config": {}, "workspaceId": id})).await.ok();
    victim.patch(&victim.path()).json(json!({"email": "victim@lab.example"})).await.ok();
    id
}

async fn a14_who_tries_out_what_is_taken_has_to_wait(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, victim) = (master.admin().await, master.user("victim").await);
    hidden(&victim).await;
    let other = master.user("other").await;
    let eves = [master.user("eve0").await, master.user("eve1").await, master.user("eve2").await];
    let [mine, ..] = [other.post("/api/v1/workspaces").json(json!({"name": "mine"})).await.ok()];
    let mine = &mine["workspace"]["id"];
    let kinds: [&dyn Fn(&User) -> Request; 3] = [
        &|eve| eve.post("/api/v1/workspaces").json(json!({"name": "Secret Plan"})),
        &|eve| eve.post("/api/v1/templates/planned").json(json!({"config": {}})),
        &|eve| eve.patch(&eve.path()).json(json!({"email": "victim@lab.example"})),
    ];
    for (eve, ask) in eves.iter().zip(kinds) {
        for number in 0..10 {
            assert_eq!(ask(eve).await.status, 409, "{number}");
        }
        assert_eq!(ask(eve).await.status, 429);
        // Neither are others told anything: it isn't looked at.
        assert_eq!(eve.post("/api/v1/workspaces").json(json!({"name": "free"})).await.status, 429);
        master.clock.advance(LONGEST);
        assert_eq!(ask(eve).await.status, 409, "never a lock-out");
    }
    let projects = format!("/api/v1/workspaces/{mine}/projects");
    for number in 0..12 {
        let new = json!({"name": format!("p{number}"), "key": "PLAN"});
        let expected = if number < 10 { 409 } else { 429 };
        assert_eq!(other.post(&projects).json(new).await.status, expected, "{number}");
    }
    for _ in 0..12 {
        let new = json!({"name": "secret plan"});
        assert_eq!(admin.post("/api/v1/workspaces").json(new).await.status, 409, "who sees all");
    }
}

async fn a14_what_one_sees_may_be_found_taken_as_often_as_one_likes(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    hidden(&alice).await;
    for _ in 0..15 {
        alice.post("/api/v1/workspaces").json(json!({"name": "secret plan"})).await.refused(409);
        alice.post("/api/v1/templates/planned").json(json!({"config": {}})).await.refused(409);
    }
    alice.post("/api/v1/workspaces").json(json!({"name": "another"})).await.ok();
}

async fn a14_a_workspace_is_called_like_its_own_account_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, eve) = (master.user("alice").await, master.user("eve").await);
    eve.post("/api/v1/workspaces").json(json!({"name": "alice"})).await.refused(409);
    let made = eve.post("/api/v1/workspaces").json(json!({"name": "eve's"})).await.ok();
    let path = format!("/api/v1/workspaces/{}", made["workspace"]["id"]);
    eve.patch(&path).json(json!({"name": "alice"})).await.refused(409);
    alice.post("/api/v1/workspaces").json(json!({"name": "alice"})).await.ok();
}

async fn a14_no_name_looks_like_another_accounts(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, eve) = (master.user("alice").await, master.user("eve").await);
    alice.patch(&alice.path()).json(json!({"displayName": "Алиса"})).await.ok();
    for bad in [
        "\u{430}dmin",
        "al\u{456}ce",
        "\u{1d41a}lice",
        "Алиcа",
        "АЛИСА",
        "ali\u{200b}ce",
        "ad\u{ad}min",
        "x\u{e0041}",
        "x\u{feff}y",
        "x\u{202e}y",
    ] {
        let answer = eve.patch(&eve.path()).json(json!({"displayName": bad})).await;
        assert_eq!(answer.status, 400, "{bad:?}");
    }
    for good in ["Ева", "Eve Ева", "李小龍", "Zoë"] {
        eve.patch(&eve.path()).json(json!({"displayName": good})).await.ok();
    }
    for name in ["a\u{200b}b", "a\u{e0041}"] {
        eve.post("/api/v1/workspaces").json(json!({"name": name})).await.refused(400);
        master.admin().await.post("/api/v1/groups").json(json!({"name": name})).await.refused(400);
    }
}

async fn a14_user_names_differ_by_more_than_case(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, bob) = (master.admin().await, master.user("bob").await);
    let (carol, gone) = (master.user("carol").await, master.user("Alice").await);
    admin.delete(&gone.path()).await;
    for name in ["Carol", "CAROL", "alice", "Alice"] {
        assert_eq!(bob.patch(&bob.path()).json(json!({"username": name})).await.status, 409, "{name}");
        let new = json!({"user": {"username": name, "active": true}});
        assert_eq!(admin.post("/api/v1/users").json(new).await.status, 409, "{name}");
    }
    for name in ["caroI", "car0l", "adrnin", "bo8"] {
        let renamed = bob.patch(&bob.path()).json(json!({"username": name})).await;
        assert_eq!(renamed.status, if name == "bo8" { 200 } else { 409 }, "{name}");
    }
    // Nobody passes for an administrator at a glance; other people's names differ by a dot.
    for name in ["admin.", "adm1n", "a.dmin", "carol_", "determined-"] {
        assert_eq!(bob.patch(&bob.path()).json(json!({"username": name})).await.status, 409, "{name}");
    }
    for name in ["administrat0r", "Administrator"] {
        assert_eq!(bob.patch(&bob.path()).json(json!({"username": name})).await.status, 400, "{name}");
    }
    for name in ["Administrator", "carol (admin)", "System"] {
        assert_eq!(bob.patch(&bob.path()).json(json!({"displayName": name})).await.status, 400, "{name}");
    }
    bob.patch(&bob.path()).json(json!({"username": "car.ol"})).await.ok();
    bob.patch(&bob.path()).json(json!({"username": "bob"})).await.ok();
    // One's own may change its case, and what one has is no hindrance.
    bob.patch(&bob.path()).json(json!({"username": "Bob"})).await.ok();
    bob.patch(&bob.path()).json(json!({"displayName": "The Bob"})).await.ok();
    carol.get("/api/v1/me").await.ok();
}

async fn a14_names_of_places_are_no_look_alikes(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, eve) = (master.user("alice").await, master.user("eve").await);
    let new = |name: &str| json!({ "name": name });
    let made = eve.post("/api/v1/workspaces").json(new("lab")).await.ok();
    let path = format!("/api/v1/workspaces/{}", made["workspace"]["id"]);
    let bad = "\u{430}dmin";
    for answer in [
        eve.post("/api/v1/workspaces").json(new(bad)).await,
        eve.patch(&path).json(new(bad)).await,
        eve.post(&format!("{path}/projects")).json(new(bad)).await,
        eve.post("/api/v1/templates/%D0%B0dmin").json(json!({"config": {}})).await,
    ] {
        let text = answer.refused(400);
        assert!(text.contains("cannot mix letters of different scripts"), "{text}");
    }
    // Without mixing them, and in another case.
    master.user("cop").await;
    for name in ["Alice", "\u{441}\u{43e}\u{440}"] {
        assert_eq!(eve.post("/api/v1/workspaces").json(new(name)).await.status, 409, "{name}");
    }
    alice.post("/api/v1/workspaces").json(new("ALICE")).await.ok();
    eve.post("/api/v1/workspaces").json(new("\u{410}\u{43b}\u{438}\u{441}\u{430} 2")).await.ok();
}

async fn kx08_a_made_key_tells_nothing_of_what_is_hidden(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let place = async |user: &User, body: serde_json::Value| {
        let made = user.post("/api/v1/workspaces").json(body).await.ok();
        format!("/api/v1/workspaces/{}/projects", made["workspace"]["id"])
    };
    let (hidden, open) =
        (place(&alice, json!({"name": "h", "private": true})).await, place(&bob, json!({"name": "o"})).await);
    alice.post(&hidden).json(json!({"name": "Quixotic merger"})).await.ok();
    alice.post(&hidden).json(json!({"name": "x", "key": "QUOKK"})).await.ok();
    for name in ["Quixotic merger", "Quokka", "Quagga"] {
        let made = bob.post(&open).json(json!({ "name": name })).await.ok()["project"].clone();
        let begin = name[..4].to_uppercase();
        assert_eq!(made["key"], format!("{begin}{}", made["id"]), "as if there were no others");
        bob.delete(&format!("/api/v1/projects/{}", made["id"])).await.ok();
    }
    // Whose key is the one that comes next is told by that one only, and that is counted.
    let mut waits = false;
    for number in 0..14 {
        let next = bob.post(&open).json(json!({"name": format!("n{number}")})).await;
        if next.status == 429 {
            waits = true;
            break;
        }
        let id = next.ok()["project"]["id"].as_i64().expect("an id");
        let base36 = |n: i64| {
            let digit = |d: i64| char::from_digit(u32::try_from(d).expect("small"), 36).expect("a digit");
            [n / 36, n % 36].map(digit).iter().collect::<String>().trim_start_matches('0').to_uppercase()
        };
        let key = format!("ZZZZ{}", base36(id + 2));
        let key = key[key.len() - 5..].to_owned();
        alice.post(&hidden).json(json!({"name": format!("t{number}"), "key": key})).await.ok();
        if bob.post(&open).json(json!({"name": format!("zzzz {number}")})).await.status == 429 {
            waits = true;
            break;
        }
    }
    assert!(waits, "who finds keys of others that are to be made next has to wait");
}

async fn a05_mf12_names_are_compared_while_nobody_waits_for_it(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    // Somebody else changes something meanwhile.
    let writer = master.store().write().await.expect("a transaction");
    bob.patch(&bob.path()).json(json!({"displayName": "alice"})).await.refused(400);
    bob.post("/api/v1/workspaces").json(json!({"name": "alice"})).await.refused(409);
    drop(writer);
    bob.patch(&bob.path()).json(json!({"displayName": "Bob the builder"})).await.ok();
    alice.patch(&alice.path()).json(json!({"displayName": "Bob the builder"})).await.refused(400);
    alice.patch(&alice.path()).json(json!({"displayName": ""})).await.ok();
}
