//! Where a workspace's experiments put their checkpoints.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    it_is_kept_changed_and_cleared,
    a10_its_keys_are_its_owners_alone,
    who_may_say_where_checkpoints_go,
);

fn s3() -> Value {
    json!({"type": "s3", "bucket": "lab", "access_key": "AKIAhunter", "secret_key": "hunter2", "prefix": "a/b"})
}

async fn workspace(owner: &User, body: Value) -> String {
    let made = owner.post("/api/v1/workspaces").json(body).await.ok();
    format!("/api/v1/workspaces/{}", made["workspace"]["id"])
}

async fn storage(who: &User, path: &str) -> Value {
    who.get(path).await.ok()["workspace"]["checkpointStorageConfig"].clone()
}

async fn it_is_kept_changed_and_cleared(database: Database) {
    let mut master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let path = workspace(&alice, json!({"name": "lab", "checkpointStorageConfig": s3()})).await;
    let plain = workspace(&alice, json!({"name": "plain", "checkpointStorageConfig": {}})).await;
    assert_eq!((storage(&alice, &path).await, storage(&alice, &plain).await), (s3(), Value::Null));
    master.restart().await;
    let alice = master.log_in("alice").await;
    assert_eq!(storage(&alice, &path).await, s3());
    // What isn't sent stays.
    for change in [json!({"name": "den"}), json!({"checkpoint_storage_config": null, "name": "lair"})] {
        alice.patch(&path).json(change).await.ok();
        assert_eq!(storage(&alice, &path).await, s3());
    }
    let directory = json!({"type": "directory", "container_path": "/ckpt", "save_trial_best": 3});
    let changed = alice.patch(&path).json(json!({ "checkpoint_storage_config": directory })).await.ok();
    assert_eq!(changed["workspace"]["checkpointStorageConfig"], directory);
    let said =
        alice.patch(&path).json(json!({"checkpointStorageConfig": {"type": "gcs"}})).await.refused(400);
    assert_eq!(said, "invalid checkpoint storage: bucket is a required property of gcs");
    assert_eq!(storage(&alice, &path).await, directory);
    alice.patch(&path).json(json!({"checkpointStorageConfig": {}})).await.ok();
    assert_eq!(storage(&alice, &path).await, Value::Null);
}

async fn a10_its_keys_are_its_owners_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let path = workspace(&alice, json!({"name": "lab", "checkpointStorageConfig": s3()})).await;
    let masked = json!({"type": "s3", "bucket": "lab", "access_key": "********", "secret_key": "********", "prefix": "a/b"});
    for who in [&admin, &bob] {
        assert_eq!(storage(who, &path).await, masked);
        let list = who.get("/api/v1/workspaces").await.ok().to_string();
        assert!(!list.contains("hunter") && list.contains("\"bucket\":\"lab\""), "{list}");
    }
    let said = admin.patch(&path).json(json!({ "checkpointStorageConfig": masked })).await.refused(400);
    assert!(said.contains("the value was masked before it was shown"), "{said}");
    // Only the key is another one: that it was changed is noted, what it is isn't.
    let mut rotated = s3();
    rotated["secret_key"] = json!("hunter3");
    alice.patch(&path).json(json!({ "checkpointStorageConfig": rotated })).await.ok();
    assert_eq!(storage(&alice, &path).await, rotated);
    let entries = admin.get("/api/v1/audit?action=workspace.").await.ok();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(2));
    assert!(!entries.to_string().contains("hunter"), "{entries}");
}

async fn who_may_say_where_checkpoints_go(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let open = workspace(&alice, json!({"name": "open"})).await;
    let closed = workspace(&alice, json!({"name": "closed", "private": true})).await;
    let change = json!({ "checkpointStorageConfig": s3() });
    bob.patch(&open).json(change.clone()).await.refused(403);
    bob.patch(&closed).json(change.clone()).await.refused(404);
    admin.patch(&open).json(change.clone()).await.ok();
    // Whoever finds a token must not get at the checkpoints of later on.
    let (token, _) = alice.by_token(json!({})).await;
    assert!(token.patch(&closed).json(change.clone()).await.refused(403).contains("outlive"));
    let new = json!({"name": "new", "checkpointStorageConfig": s3()});
    token.post("/api/v1/workspaces").json(new).await.refused(403);
    assert_eq!(storage(&alice, &closed).await, Value::Null);
    alice.patch(&closed).json(change).await.ok();
}
