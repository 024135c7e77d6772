//! Taking accounts away (X6, R31, R35).

use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    x06_what_a_deleted_user_made_keeps_the_name,
    x06_what_a_deleted_user_made_is_handed_over,
    x06_nothing_of_the_person_stays,
    x06_who_has_living_tasks_is_not_deleted,
    r31_some_accounts_have_to_stay,
);

async fn x06_what_a_deleted_user_made_keeps_the_name(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let task = ended(&master, &alice).await;
    let workspace = workspace(&alice).await;
    alice.delete(&alice.path()).await.refused(403);
    for _ in 0..2 {
        admin.delete(&alice.path()).await.ok();
    }
    let deleted = admin.get("/api/v1/audit?action=user.delete").await.ok();
    assert_eq!(deleted["entries"].as_array().expect("a list").len(), 1, "again is no change");
    assert_eq!(admin.command(&task).await["username"], "alice");
    assert_eq!(admin.get(&workspace).await.ok()["workspace"]["username"], "alice");
    assert_eq!(admin.get(&alice.path()).await.ok()["user"]["username"], "alice");
    admin.get("/api/v1/users/alice/by-username").await.refused(404);
    let users = admin.get("/api/v1/users").await.expect(200).text();
    assert!(!users.contains("alice"), "{users}");
    for id in ["0", "999", "x"] {
        assert_eq!(admin.delete(&format!("/api/v1/users/{id}")).await.refused(404), "user not found");
    }
}

/// A task that has ended.
async fn ended(master: &TestMaster, owner: &testkit::User) -> String {
    let id = owner.run_true().await;
    owner.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
    assert_eq!(master.admin().await.command(&id).await["state"], "STATE_TERMINATED");
    id
}

/// The path of a workspace of one's own.
async fn workspace(owner: &testkit::User) -> String {
    let made = owner.post("/api/v1/workspaces").json(json!({"name": "lab"})).await.ok();
    format!("/api/v1/workspaces/{}", made["workspace"]["id"])
}

async fn x06_what_a_deleted_user_made_is_handed_over(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let task = ended(&master, &alice).await;
    let workspace = workspace(&alice).await;
    let to = |id: i64| format!("{}?assetsTo={id}", alice.path());
    let gone = master.user("gone").await;
    admin.patch(&gone.path()).json(json!({"active": false})).await.ok();
    for nobody in [alice.id, gone.id, 999] {
        admin.delete(&to(nobody)).await.refused(400);
    }
    alice.get("/api/v1/me").await.ok();
    admin.delete(&to(bob.id)).await.ok();
    assert_eq!(admin.command(&task).await["username"], "bob");
    let now = bob.get(&workspace).await.ok();
    assert_eq!(now["workspace"]["username"], "bob");
    bob.patch(&workspace).json(json!({"name": "ours"})).await.ok();
    let mine = bob.get(&format!("/api/v1/commands?userIds={}", bob.id)).await.ok();
    assert_eq!(mine["commands"][0]["id"], json!(task));
}

async fn x06_nothing_of_the_person_stays(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let link = json!({"agentUid": 5001, "agentGid": 5001, "agentUser": "alice", "agentGroup": "lab"});
    let all = json!({"email": "alice@lab.example", "agentUserGroup": link, "admin": true});
    admin.patch(&alice.path()).json(all).await.ok();
    admin.delete(&alice.path()).await.ok();
    alice.get("/api/v1/me").await.refused(401);
    assert_eq!(master.anon().log_in("alice", "").await.status, 401);
    let user = &admin.get(&alice.path()).await.ok()["user"];
    assert_eq!((&user["active"], &user["admin"]), (&json!(false), &json!(false)));
    assert_eq!((&user["email"], &user["agentUserGroup"]), (&json!(null), &json!(null)));
    for change in [json!({"active": true}), json!({"password": "a quiet lake"}), json!({"username": "bob"})] {
        assert!(admin.patch(&alice.path()).json(change).await.refused(400).contains("was deleted"));
    }
    // The address is free, the name is not.
    let bob = master.user("bob").await;
    admin.patch(&bob.path()).json(json!({"email": "alice@lab.example"})).await.ok();
}

async fn x06_who_has_living_tasks_is_not_deleted(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let id = alice.run_true().await;
    let said = admin.delete(&alice.path()).await.refused(400);
    assert!(said.contains("alice has a task alive (1): kill first"), "{said}");
    alice.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
    admin.delete(&alice.path()).await.ok();
}

async fn r31_some_accounts_have_to_stay(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, default) = (master.admin().await, master.default_user().await);
    for (path, said) in
        [(admin.path(), "their own account"), (default.path(), "is the default user: deactivate")]
    {
        assert!(admin.delete(&path).await.refused(400).contains(said));
    }
    let waits = master.pending("newcomer").await;
    assert!(admin.delete(&waits.path()).await.refused(400).contains("reject the registration"));
    // Two at once can't both be the last but one.
    let boss = master.user("boss").await;
    admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();
    let (one, other) =
        tokio::join!(admin.delete(&boss.path()).into_future(), boss.delete(&admin.path()).into_future());
    assert_ne!(one.status == 200, other.status == 200, "{} {}", one.text(), other.text());
}
