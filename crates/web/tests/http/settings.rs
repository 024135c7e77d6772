//! What clients keep for their user.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    settings_are_kept_for_each_account,
    settings_have_limits,
    a05_settings_are_paid_for,
    activity_is_not_kept
);

const PATH: &str = "/api/v1/users/setting";

async fn set(who: &User, settings: Value) -> testkit::Response {
    who.post(PATH).json(json!({ "settings": settings })).await
}

async fn settings_are_kept_for_each_account(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    assert_eq!(alice.get(PATH).await.ok(), json!({"settings": []}));
    let setting =
        |path: &str, key: &str, value: &str| json!({"storagePath": path, "key": key, "value": value});
    let answer = set(&alice, json!([setting("b", "k", "1"), setting("a", "k", "\"ü\"")])).await.ok();
    assert_eq!(answer, json!({}));
    set(&bob, json!([setting("a", "k", "3")])).await.ok();
    let expected = json!({"settings": [setting("a", "k", "\"ü\""), setting("b", "k", "1")]});
    assert_eq!(alice.get(PATH).await.ok(), expected);
    // Both spellings; an empty value deletes.
    let change = json!([{"storage_path": "a", "key": "k", "value": null}, setting("b", "k", "2")]);
    set(&alice, change).await.ok();
    assert_eq!(alice.get(PATH).await.ok(), json!({"settings": [setting("b", "k", "2")]}));
    alice.post(&format!("{PATH}/reset")).await.ok();
    assert_eq!(alice.get(PATH).await.ok(), json!({"settings": []}));
    assert_eq!(bob.get(PATH).await.ok(), json!({"settings": [setting("a", "k", "3")]}));
}

async fn settings_have_limits(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let many = |count: usize| (0..count).map(|n| json!({"key": format!("k{n}"), "value": "1"})).collect();
    set(&alice, Value::Array(many(500))).await.ok();
    let text = "a user can have 500 settings at most: delete some, or reset them";
    assert_eq!(set(&alice, json!([{"key": "one more", "value": "1"}])).await.refused(400), text);
    alice.post(&format!("{PATH}/reset")).await.ok();
    let half = |key: &str| json!([{"key": key, "value": "x".repeat(600_000)}]);
    set(&alice, half("a")).await.ok();
    let text = "the settings of a user can have 1048576 bytes at most: delete some, or reset them";
    assert_eq!(set(&alice, half("b")).await.refused(400), text);
    set(&alice, half("a")).await.ok();
    assert_eq!(alice.get(PATH).await.ok()["settings"].as_array().map(Vec::len), Some(1));
    for bad in [json!({"value": "1"}), json!({"key": "k".repeat(257), "value": "1"})] {
        assert!(set(&alice, json!([bad])).await.refused(400).contains("a setting needs a key"));
    }
    set(&alice, json!([{"key": "k", "value": "\u{0}"}])).await.refused(400);
}

/// MB3: what is written again and again is paid for, and what stays as it is isn't written.
async fn a05_settings_are_paid_for(database: Database) {
    let configure = |config: &mut master::Config| config.limits.stored_bytes_per_day = 16 << 20;
    let master = TestMaster::configured(database, configure).await;
    let alice = master.user("alice").await;
    let large = |fill: &str| json!([{"key": "k", "value": fill.repeat(400_000)}]);
    for _ in 0..8 {
        set(&alice, large("a")).await.ok();
    }
    let mut refused = 0;
    for n in 0..20 {
        refused += usize::from(set(&alice, large(&n.to_string())).await.status == 429);
    }
    assert!((8..18).contains(&refused), "{refused} of 20");
}

async fn activity_is_not_kept(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let seen =
        json!({"activityType": "ACTIVITY_TYPE_GET", "entityType": "ENTITY_TYPE_PROJECT", "entityId": 1});
    assert_eq!(alice.post("/api/v1/users/activity").json(seen).await.ok(), json!({}));
}
