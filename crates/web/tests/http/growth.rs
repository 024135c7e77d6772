//! The audit log can't be shortened, so no account makes it grow as fast as it likes (KX4, R47); and whoever was given
//! something by being put into a list is named there.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    r47_one_account_cannot_make_the_audit_log_grow_for_ever,
    a04_what_an_account_has_stored_counts_whatever_table_it_is_in,
    r25_who_uses_up_an_allowance_keeps_nobody_from_a_new_password,
    r47_kills_that_go_on_are_not_all_written,
    a05_who_came_into_a_group_is_in_the_audit_log_however_large_it_is,
);

/// What an account may add at once: a quarter of a day's.
const AT_ONCE: usize = (1 << 20) / 4;

/// A master where accounts may add a mebibyte in a day.
async fn strict(database: Database) -> TestMaster {
    TestMaster::configured(database, |config| config.limits.stored_bytes_per_day = 1 << 20).await
}

/// Launches as often as that is allowed, each with 40 kB of variables, and kills at once what it launched; how often that was,
/// and after how many seconds it is to come again.
async fn use_up(user: &User) -> (usize, u64) {
    let variables: Vec<_> = (0..10).map(|n| format!("V{n}={}", "x".repeat(4000))).collect();
    let config = json!({"entrypoint": ["true"], "environment": {"environment_variables": variables}});
    let mut done = 0;
    loop {
        let answer = user.post("/api/v1/commands").json(json!({ "config": config })).await;
        if answer.status == 429 {
            assert!(answer.text().contains("limits.stored_bytes_per_day"), "{}", answer.text());
            return (done, answer.header("retry-after").parse().expect("a number"));
        }
        let id = answer.ok()["command"]["id"].as_str().expect("an id").to_owned();
        user.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
        done += 1;
    }
}

async fn a04_what_an_account_has_stored_counts_whatever_table_it_is_in(database: Database) {
    let master = strict(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let (done, seconds) = use_up(&alice).await;
    assert!((1..=AT_ONCE / 40_000 + 1).contains(&done), "{done} times 40 kB");
    assert!((1..=24 * 3600).contains(&seconds), "{seconds}");
    // Nor by what else it can store.
    let small = json!({"config": {"entrypoint": ["true"]}});
    alice.post("/api/v1/commands").json(small.clone()).await.refused(429);
    alice.post("/api/v1/workspaces").json(json!({"name": "hers"})).await.refused(429);
    bob.post("/api/v1/commands").json(small.clone()).await.ok();
    master.clock.advance(Duration::from_secs(seconds));
    alice.post("/api/v1/commands").json(small).await.ok();
}

async fn r25_who_uses_up_an_allowance_keeps_nobody_from_a_new_password(database: Database) {
    let master = strict(database).await;
    for (name, by_post) in [("alice", true), ("bob", false)] {
        let (thief, owner) = (master.user(name).await, master.log_in(name).await);
        use_up(&thief).await;
        owner.patch(&owner.path()).json(json!({"displayName": "Not now"})).await.refused(429);
        let both = json!({"password": "a new one of words", "displayName": "Not now"});
        owner.patch(&owner.path()).json(both).await.refused(429);
        let new = json!("a new one of words");
        if by_post {
            owner.post(&format!("{}/password", owner.path())).json(new).await.ok();
        } else {
            owner.patch(&owner.path()).json(json!({ "password": new, "isHashed": false })).await.ok();
        }
        assert_eq!(thief.get("/api/v1/me").await.status, 401, "{name}: whoever was in is out");
    }
}

/// The bytes of entries that an account has made.
async fn grown(admin: &User, name: &str) -> usize {
    let (mut sum, mut page) = (0, format!("/api/v1/audit?user={name}&limit=100"));
    loop {
        let answer = admin.get(&page).await.ok();
        let entries = answer["entries"].as_array().expect("a list");
        sum += entries.iter().map(|entry| entry["record"].to_string().len()).sum::<usize>();
        let Some(next) = answer["next"].as_i64() else { return sum };
        page = format!("/api/v1/audit?user={name}&limit=100&before={next}");
    }
}

async fn r47_one_account_cannot_make_the_audit_log_grow_for_ever(database: Database) {
    let master = strict(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let again = master.log_in("alice").await;
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "hers"})).await.ok();
    let path = format!("/api/v1/workspaces/{}/projects", made["workspace"]["id"]);
    let project = alice.post(&path).json(json!({"name": "p"})).await.ok();
    let path = format!("/api/v1/projects/{}", project["project"]["id"]);

    let text = |n: usize| json!({"description": format!("{n} {}", "z".repeat(4000))});
    let mut done = 0;
    let refused = loop {
        let answer = alice.patch(&path).json(text(done)).await;
        if answer.status != 200 {
            break answer;
        }
        done += 1;
    };
    assert_eq!(refused.status, 429, "after {done}");
    let seconds: u64 = refused.header("retry-after").parse().expect("a number");
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert!(refused.text().contains("too many changes"), "{}", refused.text());
    let size = grown(&admin, "alice").await;
    assert!((AT_ONCE / 4..=AT_ONCE + 8192).contains(&size), "{size}");

    // In each client's dialect, and also for what is started or made.
    let polyaxon = alice.patch("/api/v1/alice/p/").json(json!({"description": "y"})).await.expect(429);
    assert!(polyaxon.text().contains("detail"), "{}", polyaxon.text());
    alice.post("/api/v1/commands").json(json!({"config": {"entrypoint": ["true"]}})).await.refused(429);
    again.post("/api/v1/workspaces").json(json!({"name": "more"})).await.refused(429);
    // Looks, kills and ends go on, and logins have their own.
    alice.get(&path).await.ok();
    alice.post(&format!("/api/v1/commands/{}/kill", task.id())).await.ok();
    agent.expect_kill(task.start.allocation).await;
    again.post("/api/v1/auth/logout").await.ok();
    master.log_in("alice").await;
    // Others notice nothing, and administrators have no bound.
    bob.post("/api/v1/workspaces").json(json!({"name": "his"})).await.ok();
    for n in 0..2 * AT_ONCE / 4000 {
        admin.patch(&path).json(text(n)).await.ok();
    }
    master.clock.advance(Duration::from_secs(seconds));
    alice.patch(&path).json(text(0)).await.ok();
}

async fn r47_kills_that_go_on_are_not_all_written(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    for _ in 0..20 {
        alice.post(&format!("/api/v1/commands/{}/kill", task.id())).await.ok();
        agent.expect_kill(task.start.allocation).await;
    }
    admin.post(&format!("/api/v1/commands/{}/kill", task.id())).await.ok();
    let found = admin.get("/api/v1/audit?action=task.kill").await.ok();
    let by = |entry: &Value| entry["record"]["actor"]["name"].as_str().unwrap_or_default().to_owned();
    let by: Vec<_> = found["entries"].as_array().expect("a list").iter().map(by).collect();
    assert_eq!(by, ["admin", "alice", "alice"], "twice: the second time it is to end at once");
}

async fn a05_who_came_into_a_group_is_in_the_audit_log_however_large_it_is(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let account = async |name: String| {
        let made = admin.post("/api/v1/users").json(json!({"user": {"username": name, "active": true}}));
        made.await.ok()["user"]["id"].clone()
    };
    let mut ids = Vec::new();
    for number in 0..120 {
        ids.push(account(format!("student-{number:03}-of-{}", "2026".repeat(8))).await);
    }
    let mallory = account("zz-mallory".to_owned()).await;
    let said = async || {
        let found = admin.get("/api/v1/audit?action=group.&limit=100").await.ok();
        let records =
            found["entries"].as_array().expect("a list").iter().map(|entry| entry["record"].clone());
        records.collect::<Vec<_>>()
    };
    let made = admin.post("/api/v1/groups").json(json!({"name": "class", "addUsers": ids})).await.ok();
    let group = format!("/api/v1/groups/{}", made["group"]["groupId"]);
    let first = said().await;
    assert!(first.len() > 1, "in as many entries as it takes");
    let text = first.iter().map(Value::to_string).collect::<String>();
    assert!((0..120).all(|number| text.contains(&format!("student-{number:03}-of-"))), "{text}");
    assert_eq!(first.last().expect("one")["after"]["part"], format!("1 of {}", first.len()));

    admin.put(&group).json(json!({"addUsers": [mallory]})).await.ok();
    assert_eq!(said().await[0]["after"]["entered"], json!(["zz-mallory"]));
    admin.put(&group).json(json!({"removeUsers": [mallory]})).await.ok();
    assert_eq!(said().await[0]["before"]["left"], json!(["zz-mallory"]));
    let id = made["group"]["groupId"].clone();
    let assign = json!({"userIds": [mallory], "addGroups": [id], "removeGroups": []});
    admin.patch("/api/v1/users/assignments").json(assign.clone()).await.ok();
    let entry = said().await.remove(0);
    assert_eq!((&entry["action"], &entry["target"]["name"]), (&json!("group.assign"), &json!("class")));
    assert_eq!(entry["after"]["entered"], json!(["zz-mallory"]));
    let count = said().await.len();
    admin.patch("/api/v1/users/assignments").json(assign).await.ok();
    assert_eq!(said().await.len(), count, "what changes nothing leaves nothing");
    admin.delete(&group).await.ok();
    let text = said().await.iter().map(Value::to_string).collect::<String>();
    assert_eq!(text.matches("zz-mallory").count(), 4, "came, went, came, went");
}
