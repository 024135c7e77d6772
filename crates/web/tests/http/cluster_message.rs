//! What administrators tell everybody.

use std::time::Duration;

use master::system::Clock as _;
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    everybody_is_told_while_it_counts,
    a_message_for_later_is_seen_by_administrators_alone,
    what_is_no_message_is_refused,
    only_administrators_set_read_and_clear_it,
    a05_mc9_strangers_take_no_connection_to_be_told,
);

const PATH: &str = "/api/v1/master/cluster_message";

/// What the clients of Determined are told, and ours.
async fn told(master: &TestMaster) -> Option<String> {
    let theirs = master.anon().get("/api/v1/master").await.ok()["clusterMessage"]["message"].clone();
    let ours = master.anon().get("/info").await.ok()["cluster_message"].clone();
    assert_eq!(theirs, ours);
    theirs.as_str().map(str::to_owned)
}

async fn everybody_is_told_while_it_counts(database: Database) {
    let mut master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    assert_eq!(told(&master).await, None);
    assert_eq!(admin.get(PATH).await.ok(), json!({"clusterMessage": null}));
    let text = "Down at <noon> & back soon";
    let answer = admin.put(PATH).json(json!({"message": text, "duration": "1h30m"})).await.ok();
    assert_eq!(answer, json!({}));
    assert_eq!(told(&master).await.as_deref(), Some(text));
    let message = admin.get(PATH).await.ok()["clusterMessage"].clone();
    assert_eq!(message["message"], text);
    assert_eq!(message["startTime"], message["createdTime"]);
    assert_eq!(message, master.anon().get("/api/v1/master").await.ok()["clusterMessage"]);
    for page in ["/commands", "/account"] {
        let html = alice.in_browser().get(page).await.expect(200).text();
        assert!(html.contains("Down at &#60;noon&#62; &#38; back soon"), "{page}: {html}");
    }
    assert!(master.anon().get("/login").await.expect(200).text().contains("back soon"));
    let piece = alice.in_browser().get("/commands").header("hx-request", "true").await.expect(200).text();
    assert!(!piece.contains("back soon"), "it stands on the page already");

    // A new one replaces it, and stays across a restart.
    let second = json!({"message": "two", "end_time": "2100-01-01T00:00:00.000001Z", "start_time": null});
    admin.put(PATH).json(second).await.ok();
    master.restart().await;
    assert_eq!(told(&master).await.as_deref(), Some("two"));
    let admin = master.admin().await;
    assert_eq!(admin.get(PATH).await.ok()["clusterMessage"]["endTime"], "2100-01-01T00:00:00.000001Z");
    admin.put(PATH).json(json!({"message": "three", "duration": "1m"})).await.ok();
    master.clock.advance(Duration::from_secs(61));
    assert_eq!(told(&master).await, None);
    assert_eq!(admin.get(PATH).await.ok(), json!({"clusterMessage": null}));

    admin.put(PATH).json(json!({"message": "four"})).await.ok();
    assert_eq!(admin.delete(PATH).await.ok(), json!({}));
    assert_eq!(told(&master).await, None);
    admin.delete(PATH).await.ok();
    let entries = admin.get("/api/v1/audit?action=cluster_message.").await.ok();
    let entries = entries["entries"].as_array().expect("a list");
    let noted: Vec<_> = entries
        .iter()
        .map(|entry| {
            let record = &entry["record"];
            (
                record["action"].clone(),
                record["before"]["message"].clone(),
                record["after"]["message"].clone(),
            )
        })
        .collect();
    let (set, none) = (json!("cluster_message.set"), json!(null));
    let expected = [
        (json!("cluster_message.clear"), json!("four"), none.clone()),
        (set.clone(), none.clone(), json!("four")),
        (set.clone(), json!("two"), json!("three")),
        (set.clone(), json!(text), json!("two")),
        (set, none, json!(text)),
    ];
    assert_eq!(noted, expected);
}

async fn a_message_for_later_is_seen_by_administrators_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let later = master.clock.now().plus(Duration::from_secs(3600)).rfc3339();
    admin.put(PATH).json(json!({"message": "soon", "startTime": later, "duration": "1h"})).await.ok();
    assert_eq!(admin.get(PATH).await.ok()["clusterMessage"]["startTime"], later.as_str());
    assert_eq!(told(&master).await, None);
    master.clock.advance(Duration::from_secs(3600));
    assert_eq!(told(&master).await.as_deref(), Some("soon"));
    master.clock.advance(Duration::from_secs(3600));
    assert_eq!(told(&master).await, None);
}

async fn what_is_no_message_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for (body, why) in [
        (json!({}), "the message is blank: clear it instead"),
        (json!({"message": "x".repeat(251)}), "must be at most 250 characters; got 251"),
        (json!({"message": "a\u{1b}[2J"}), "one line, without control characters"),
        (json!({"message": "x", "startTime": "noon"}), "start time must be RFC 3339"),
        (
            json!({"message": "x", "endTime": "2100-01-01T00:00:00Z", "duration": "1h"}),
            "EndTime and Duration are mutually exclusive",
        ),
        (
            json!({"message": "x", "duration": "soon"}),
            "Duration must be a Go-formatted duration string with a positive value",
        ),
        (
            json!({"message": "x", "startTime": "2100-01-01T00:00:00Z", "endTime": "2099-01-01T00:00:00Z"}),
            "end time must be after start time",
        ),
        (
            json!({"message": "x", "startTime": "2000-01-01T00:00:00Z", "endTime": "2001-01-01T00:00:00Z"}),
            "end time must be after current time",
        ),
        (json!({"message": 5}), "message"),
    ] {
        let said = admin.put(PATH).json(body.clone()).await.refused(400);
        assert!(said.contains(why), "{body}: {said}");
    }
    assert_eq!(told(&master).await, None);
}

async fn only_administrators_set_read_and_clear_it(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    admin.put(PATH).json(json!({"message": "stays"})).await.ok();
    let refused = "user does not have permission";
    assert_eq!(alice.get(PATH).await.refused(403), refused);
    // Whatever they sent.
    assert_eq!(alice.put(PATH).body("no JSON").await.refused(403), refused);
    assert_eq!(alice.delete(PATH).await.refused(403), refused);
    master.anon().delete(PATH).await.refused(401);
    assert_eq!(told(&master).await.as_deref(), Some("stays"));
}

async fn a05_mc9_strangers_take_no_connection_to_be_told(database: Database) {
    let mut master = TestMaster::start(database).await;
    let admin = master.admin().await;
    admin.put(PATH).json(json!({"message": "one"})).await.ok();
    assert_eq!(told(&master).await.as_deref(), Some("one"));
    // Behind its back: whoever reads it from the database doesn't find it.
    let mut tx = master.store().write().await.expect("a transaction");
    store::meta::remove(&mut tx, "cluster_message").await.expect("removed");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(told(&master).await.as_deref(), Some("one"));
    // What is changed in the usual way is known at once.
    admin.put(PATH).json(json!({"message": "two"})).await.ok();
    assert_eq!(told(&master).await.as_deref(), Some("two"));
    admin.delete(PATH).await.ok();
    assert_eq!(told(&master).await, None);
    master.restart().await;
    assert_eq!(told(&master).await, None);
}
