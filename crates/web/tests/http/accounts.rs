//! Accounts over the API: making, reading, changing; rules and words (P12, P13, P14, P19, D2, X1, X7).

use domain::time::Timestamp;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    p12_a_new_account_is_active_with_a_blank_password,
    creating_is_refused_in_order,
    names_are_trimmed_and_checked,
    a_taken_name_is_told,
    p13_p14_passwords_are_changed_in_three_ways,
    x07_roles_are_granted_and_revoked,
    d02_all_four_parts_of_an_identity_are_required,
    display_names_are_unique_and_can_be_cleared,
    sign_on_accounts_have_no_password,
    a14_nobody_takes_a_name_that_passes_for_something_else,
    what_does_not_change_is_not_modified,
);

async fn create(by: &User, user: Value) -> testkit::Response {
    by.post("/api/v1/users").json(json!({ "user": user })).await
}

async fn patch(by: &User, whom: &User, change: Value) -> testkit::Response {
    by.patch(&whom.path()).json(change).await
}

async fn p12_a_new_account_is_active_with_a_blank_password(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let body = json!({
        "user": {"username": "alice", "admin": false, "active": true, "remote": false, "displayName": null, "agentUserGroup": null},
        "password": null, "isHashed": true
    });
    let made = admin.post("/api/v1/users").json(body).await.ok();
    let expected = json!({"user": {
        "id": 3, "username": "alice", "admin": false, "active": true, "remote": false, "service": false,
        "displayName": "", "agentUserGroup": null, "modifiedAt": "2026-01-01T00:00:00.000000Z"
    }});
    assert_eq!(made, expected);
    assert_eq!(admin.get("/api/v1/users/3").await.ok(), expected);
    assert_eq!(admin.get("/api/v1/users/alice/by-username").await.ok(), expected);
    master.log_in("alice").await;
    let seen = admin.get("/api/v1/users/3").await.ok();
    assert_eq!(seen["user"]["lastAuthAt"], "2026-01-01T00:00:00.000000Z");
    let idle = create(&admin, json!({"username": "idle"})).await.ok();
    assert_eq!(idle["user"]["active"], false, "as protobuf has it");
}

async fn creating_is_refused_in_order(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let identity = json!({"agentUid": 1, "agentGid": 1, "agentUser": "x"});
    for (body, status, text) in [
        (json!({}), 400, "must specify user to create"),
        (json!({"user": null}), 400, "must specify user to create"),
        (
            json!({"user": {"username": "x", "remote": true}, "password": "p"}),
            400,
            "cannot set password for remote user",
        ),
        (
            json!({"user": {"username": "x", "displayName": "ö"}}),
            400,
            "Display name or username value has minimum length.",
        ),
        (
            json!({"user": {"username": "xy", "displayName": "a\u{202e}b"}}),
            400,
            "Display name cannot contain control characters.",
        ),
        (
            json!({"user": {"username": "xy", "agentUserGroup": identity}}),
            400,
            "agentUid, agentGid, agentUser and agentGroup cannot be empty",
        ),
    ] {
        let answer = admin.post("/api/v1/users").json(body.clone()).await;
        assert_eq!(answer.refused(status), text, "{body}");
        // Who may make none is told just that (A14).
        let answer = alice.post("/api/v1/users").json(body.clone()).await;
        assert_eq!(answer.refused(403), "only admin privileged users can create users", "{body}");
    }
}

async fn names_are_trimmed_and_checked(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, bob) = (master.admin().await, master.user("bob").await);
    for (name, stored) in
        [("  alice ", "alice"), ("a$b c@d", "a$b c@d"), ("50%", "50%"), ("Alicia", "Alicia")]
    {
        let made = create(&admin, json!({ "username": name })).await.ok();
        assert_eq!(made["user"]["username"], stored);
    }
    for (name, text) in [
        ("zoë", "Display name and username cannot contain non-ASCII characters."),
        ("a\nb", "Display name and username cannot contain non-ASCII characters."),
        ("a\u{0}b", "Display name and username cannot contain non-ASCII characters."),
        (" x ", "Display name or username value has minimum length."),
        ("ADMIN", "Non-admin user cannot be renamed 'admin'"),
        ("Determined", "User cannot be renamed 'determined'"),
        ("a/b", "username cannot contain '/' or '|', nor be '.' or '..'"),
        ("a|b", "username cannot contain '/' or '|', nor be '.' or '..'"),
        (&"x".repeat(65), "Display name or username cannot be longer than 64 bytes."),
    ] {
        assert_eq!(create(&admin, json!({ "username": name })).await.refused(400), text, "{name:?}");
        assert_eq!(patch(&admin, &bob, json!({ "username": name })).await.refused(400), text, "{name:?}");
    }
}

async fn a_taken_name_is_told(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let again = create(&admin, json!({"username": "alice", "active": true})).await;
    assert!(again.refused(409).contains("user already exists"));
    let renamed = patch(&admin, &alice, json!({"username": "determined"})).await;
    assert_eq!(renamed.refused(400), "User cannot be renamed 'determined'");
    master.user("bob").await;
    assert!(
        patch(&admin, &alice, json!({"username": "bob"})).await.refused(409).contains("user already exists")
    );
    let name = alice.get("/api/v1/me").await.ok();
    assert_eq!(name["user"]["username"], "alice");
}

async fn p13_p14_passwords_are_changed_in_three_ways(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    patch(&alice, &alice, json!({"password": "of her own"})).await.ok();
    let alice = master.log_in_with("alice", "of her own").await;
    // The body of this one is a bare JSON string.
    let path = format!("{}/password", alice.path());
    admin.post(&path).body("\"by the admin\"").await.ok();
    let alice = master.log_in_with("alice", "by the admin").await;
    alice.post(&path).body("\"hers again\"").await.ok();
    let alice = master.log_in_with("alice", "hers again").await;
    for body in ["", "{}", "null", "plain", "[\"x\"]"] {
        alice.post(&path).body(body).await.refused(400);
    }
    alice.get("/api/v1/me").await.ok();
    patch(&admin, &alice, json!({"password": ""})).await.ok();
    master.log_in("alice").await;
}

async fn x07_roles_are_granted_and_revoked(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    for is_admin in [true, false] {
        let changed = patch(&admin, &alice, json!({ "admin": is_admin })).await.ok();
        assert_eq!(changed["user"]["admin"], is_admin);
        let me = alice.get("/api/v1/me").await.ok();
        assert_eq!(me["user"]["admin"], is_admin);
    }
}

async fn d02_all_four_parts_of_an_identity_are_required(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let whole = json!({"agentUid": 5001, "agentGid": 5002, "agentUser": "alice", "agentGroup": "lab"});
    let linked = patch(&admin, &alice, json!({ "agentUserGroup": whole })).await.ok();
    assert_eq!(linked["user"]["agentUserGroup"], whole);
    // ME4
    let both = json!({"agentUserGroup": whole, "unlinkAgentUser": true});
    assert!(patch(&admin, &alice, both).await.refused(400).contains("give one of"));
    let unlink = json!({"unlinkAgentUser": true});
    patch(&alice, &alice, unlink.clone()).await.refused(403);
    assert_eq!(patch(&admin, &alice, unlink).await.ok()["user"]["agentUserGroup"], json!(null));
    patch(&admin, &alice, json!({ "agentUserGroup": whole })).await.ok();
    for part in ["agentUid", "agentGid", "agentUser", "agentGroup"] {
        for value in [None, Some(Value::Null)] {
            let mut identity = whole.clone();
            let map = identity.as_object_mut().expect("a map");
            map.remove(part);
            if let Some(value) = value {
                map.insert(part.to_owned(), value);
            }
            let answer = patch(&admin, &alice, json!({ "agentUserGroup": identity })).await;
            assert_eq!(answer.refused(400), "agentUid, agentGid, agentUser and agentGroup cannot be empty");
        }
    }
    let with = |part: &str, value: Value| {
        let mut identity = whole.clone();
        identity[part] = value;
        json!({ "agentUserGroup": identity })
    };
    let blank = patch(&admin, &alice, with("agentUser", json!(" "))).await;
    assert_eq!(blank.refused(400), "agentUser and agentGroup names cannot be empty");
    // R37: the edges of uids.
    for (uid, status) in [
        (json!(0), 200),
        (json!(2_000_000_000), 200),
        (json!("2147483647"), 200),
        (json!(4_294_967_294_i64), 200),
        (json!(4_294_967_295_i64), 400),
        (json!(-1), 400),
        (json!("x"), 400),
        (json!(1.5), 400),
    ] {
        assert_eq!(patch(&admin, &alice, with("agentUid", uid.clone())).await.status, status, "{uid}");
    }
    let root_group = patch(&admin, &alice, with("agentGid", json!(0))).await;
    assert!(root_group.refused(400).contains("agentGid 0 needs agentUid 0"));
}

async fn display_names_are_unique_and_can_be_cleared(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let set = async |who: &User, name: &str| patch(who, who, json!({ "displayName": name })).await;
    assert_eq!(set(&alice, " The Boss ").await.ok()["user"]["displayName"], "The Boss");
    set(&alice, "ALICE").await.ok();
    for name in ["alice", "Alice", "ADMIN"] {
        let text = format!("can not change display name to {name} found a similar username or display name");
        assert_eq!(set(&bob, name).await.refused(400), text);
    }
    assert_eq!(set(&alice, "").await.ok()["user"]["displayName"], "");
    set(&bob, "The Boss").await.ok();
}

async fn sign_on_accounts_have_no_password(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    patch(&admin, &alice, json!({"remote": true})).await.ok();
    assert_eq!(master.anon().log_in("alice", "").await.status, 401);
    let password = patch(&admin, &alice, json!({"password": "x"})).await;
    assert_eq!(password.refused(400), "Cannot set password for remote users");
    let name = patch(&admin, &alice, json!({"username": "alicia"})).await;
    assert_eq!(name.refused(400), "Cannot set username for remote users");
    patch(&admin, &alice, json!({"remote": false})).await.ok();
    master.log_in("alice").await;
}

/// MB6, MB8: who has an account by one name may take another one, as whoever registers.
async fn a14_nobody_takes_a_name_that_passes_for_something_else(database: Database) {
    let test = TestMaster::start(database).await;
    let (admin, alice) = (test.admin().await, test.user("alice").await);
    for name in ["system", "anonymous", "Task", "agent vm", "task of bob", "bob via task", "deleted user"] {
        patch(&alice, &alice, json!({ "username": name })).await.refused(400);
    }
    let (account, next) = (master::secret::digest("alice"), master::secret::digest("alicia"));
    let mut tx = test.store().write().await.expect("a transaction");
    for account in [&account, &next] {
        store::login_failure::add_place(&mut tx, account, "here", Timestamp(0)).await.expect("added");
    }
    tx.commit_unaudited("a test").await.expect("committed");
    patch(&alice, &alice, json!({"username": "alicia"})).await.ok();
    let mut conn = test.store().read().await.expect("a connection");
    for account in [&account, &next] {
        let known = store::login_failure::is_known_place(&mut conn, account, "here").await;
        assert!(!known.expect("read"), "whoever has the name next was never there");
    }
    // An administrator knows what they do.
    patch(&admin, &alice, json!({"username": "agent vm"})).await.ok();
}

async fn what_does_not_change_is_not_modified(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    master.clock.advance(std::time::Duration::from_secs(1));
    let same = json!({"username": "alice", "displayName": "", "active": true, "admin": false});
    let unchanged = patch(&admin, &alice, same).await.ok();
    assert_eq!(unchanged["user"]["modifiedAt"], "2026-01-01T00:00:00.000000Z");
    master.log_in("alice").await;
    let changed = patch(&admin, &alice, json!({"displayName": "Al"})).await.ok();
    assert_eq!(changed["user"]["modifiedAt"], "2026-01-01T00:00:01.000000Z");
    for id in ["0", "999", "x", "1x"] {
        let missing = admin.patch(&format!("/api/v1/users/{id}")).json(json!({"active": true})).await;
        assert_eq!(missing.refused(404), "user not found");
    }
}
