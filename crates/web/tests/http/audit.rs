//! The audit log: every change, every login, every refusal, and no secret.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases, soon};

on_both_databases!(
    a_change_says_who_what_and_from_where,
    logins_and_refusals_are_noted,
    a_flood_of_refusals_is_counted_not_written,
    r47_what_strangers_try_is_a_number,
    entries_are_filtered_and_paged,
    the_export_is_the_whole_chain,
    r50_no_secret_is_in_it,
);

async fn entries(admin: &User, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/api/v1/audit{query}")).await.ok();
    let entries = answer["entries"].as_array().expect("a list");
    entries.iter().map(|entry| entry["record"].clone()).collect()
}

/// Refusals are written a moment after they were told.
async fn eventually(admin: &User, query: &str, count: usize) -> Vec<Value> {
    let search = async {
        loop {
            let found = entries(admin, query).await;
            if found.len() >= count {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("entries of the audit log", search).await
}

async fn a_change_says_who_what_and_from_where(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    alice.patch(&alice.path()).json(json!({"displayName": "Alice"})).await.ok();
    let [edit] = entries(&admin, "?action=user.update").await.try_into().expect("one entry");
    assert_eq!(edit["actor"], json!({"kind": "user", "id": alice.id.to_string(), "name": "alice"}));
    assert_eq!(edit["as"], edit["actor"]);
    assert_eq!(edit["target"], json!({"kind": "user", "id": alice.id.to_string(), "name": "alice"}));
    assert_eq!(
        (&edit["before"], &edit["after"]),
        (&json!({"displayName": ""}), &json!({"displayName": "Alice"}))
    );
    assert_eq!((&edit["address"], &edit["result"]), (&json!("127.0.0.1"), &json!("done")));
    assert!(edit["via"].as_str().is_some_and(|via| via.starts_with("session ")), "{edit}");
    // What changes nothing leaves nothing.
    alice.patch(&alice.path()).json(json!({"displayName": "Alice"})).await.ok();
    assert_eq!(entries(&admin, "?action=user.update").await.len(), 1);

    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    alice.post(&format!("/api/v1/commands/{}/kill", task.id())).await.ok();
    let on_task = entries(&admin, &format!("?target=task%20{}", task.id())).await;
    let actions: Vec<_> = on_task.iter().map(|entry| entry["action"].as_str().unwrap_or_default()).collect();
    assert_eq!(actions, ["task.kill", "task.start"]);
    let made = entries(&admin, "?action=agent.").await;
    let actions: Vec<_> = made.iter().map(|entry| entry["action"].as_str().unwrap_or_default()).collect();
    assert_eq!(actions, ["agent.enrol", "agent.invite"]);
}

async fn logins_and_refusals_are_noted(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let anon = master.anon();
    anon.log_in("alice", "not this one").await.refused(401);
    anon.log_in("a password typed as a name", "x").await.refused(401);
    let failed = eventually(&admin, "?action=session.open&result=refused", 2).await;
    assert_eq!(
        (&failed[1]["target"]["name"], &failed[1]["reason"]),
        (&json!("alice"), &json!("wrong password"))
    );
    assert_eq!(failed[1]["actor"]["kind"], "anonymous");
    assert_eq!(failed[0]["target"]["name"], "");

    let boss = format!("/api/v1/users/{}", admin.id);
    alice.patch(&boss).json(json!({"admin": false})).await.refused(403);
    anon.get("/api/v1/me").header("authorization", "Bearer mst_nobody").await.refused(401);
    anon.get("/api/v1/me").await.refused(401);
    let refused = eventually(&admin, "?action=request.refuse", 1).await;
    let told: Vec<_> =
        refused.iter().map(|entry| (&entry["actor"]["kind"], &entry["target"]["id"])).collect();
    // Of credentials that are nobody's there is only a number.
    assert_eq!(told, [(&json!("user"), &json!(format!("PATCH {boss}")))]);

    alice.post("/api/v1/auth/logout").await.ok();
    assert_eq!(entries(&admin, "?action=session.close&user=alice").await.len(), 1);
    assert_eq!(entries(&admin, "?action=session.open&user=alice").await.len(), 1);
    admin.get("/api/v1/audit?user=nobody").await.refused(404);
    admin.get("/api/v1/audit?since=yesterday").await.refused(400);
}

async fn a_flood_of_refusals_is_counted_not_written(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    for _ in 0..100 {
        alice.get("/api/v1/audit").await.refused(403);
    }
    // One of another account comes behind all of these.
    master.user("bob").await.get("/api/v1/audit").await.refused(403);
    eventually(&admin, "?action=request.refuse&user=bob", 1).await;
    assert_eq!(entries(&admin, "?action=request.refuse&user=alice").await.len(), 60);
}

async fn r47_what_strangers_try_is_a_number(database: Database) {
    let mut master = TestMaster::start(database).await;
    let anon = master.anon();
    for _ in 0..100 {
        anon.get("/api/v1/me").header("authorization", "Bearer mst_nobody").await.refused(401);
    }
    // What isn't written when the master stops is, then.
    master.restart().await;
    let admin = master.admin().await;
    assert_eq!(entries(&admin, "?action=request.refuse").await, Vec::<Value>::new());
    let omitted = entries(&admin, "?action=audit.omit").await;
    assert!((1..=3).contains(&omitted.len()), "{omitted:?}");
    assert_eq!(omitted[0]["target"]["id"], "anonymous");
    assert_eq!(omitted.iter().filter_map(|entry| entry["after"]["count"].as_i64()).sum::<i64>(), 100);
}

async fn entries_are_filtered_and_paged(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for name in ["ann", "ben", "cy"] {
        master.user(name).await;
    }
    let made = entries(&admin, "?action=user.create").await;
    let names: Vec<_> =
        made.iter().map(|entry| entry["target"]["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["cy", "ben", "ann"]);
    let page = admin.get("/api/v1/audit?action=user.create&limit=2").await.ok();
    let next = page["next"].as_i64().expect("there is more");
    let rest = entries(&admin, &format!("?action=user.create&limit=2&before={next}")).await;
    assert_eq!(rest.len(), 1);
    assert_eq!(entries(&admin, "?until=2000-01-01T00:00:00Z").await.len(), 0);
    assert!(!entries(&admin, "?since=2000-01-01T00:00:00Z&action=installation.").await.is_empty());
    // A filter is text, never SQL.
    assert_eq!(entries(&admin, "?action=%27%20OR%201%3D1%20--").await.len(), 0);
}

async fn the_export_is_the_whole_chain(database: Database) {
    let mut master = TestMaster::start(database).await;
    master.user("alice").await;
    master.restart().await;
    let admin = master.admin().await;
    let export = admin.get("/api/v1/audit/export").await.expect(200).text();
    let mut chain = domain::audit::Chain::default();
    for line in export.lines() {
        let entry: api::audit::AuditEntry = serde_json::from_str(line).expect("an entry");
        chain.follow(entry.record.get(), &entry.hash).expect("it follows");
    }
    let verified = admin.get("/api/v1/audit/verify").await.ok();
    assert_eq!(verified, json!({"count": chain.count, "head": chain.head}));
    assert!(chain.count >= 4, "{}", chain.count);
}

async fn r50_no_secret_is_in_it(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let password = "canary in the mine";
    alice.patch(&alice.path()).json(json!({"password": password})).await.ok();
    let again = master.log_in_with("alice", password).await;
    master.anon().log_in("alice", "canary of a guess").await.refused(401);
    master.anon().log_in("canary as a name", "x").await.refused(401);
    let admin = master.admin().await;
    eventually(&admin, "?result=refused", 2).await;
    let export = admin.get("/api/v1/audit/export").await.expect(200).text();
    let hashed = master::secret::client_transform(password);
    let digest = master::secret::digest(&again.token);
    for secret in ["canary", &hashed, "argon2", &again.token, &alice.token, &digest] {
        assert!(!export.contains(secret), "{secret} is in the audit log");
    }
    assert!(export.contains("passwordChanged"));
}
