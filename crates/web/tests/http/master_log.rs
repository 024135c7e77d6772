//! What the master says in its own log.

use std::sync::{Arc, Mutex};

use domain::time::Timestamp;
use master::own_log::{Controls, Level, OwnLog};
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_sqlite};

on_sqlite!(
    administrators_read_and_follow_it,
    administrators_have_it_say_more,
    it_is_nobody_elses,
    what_cannot_be_done_is_said,
);

const PATH: &str = "/api/v1/master/logs";

fn lines(text: &str) -> Vec<(i64, String, String)> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let entry = &line["result"]["logEntry"];
        let text = |key: &str| entry[key].as_str().expect("a text").to_owned();
        assert!(text("timestamp").ends_with('Z'), "{entry}");
        (entry["id"].as_i64().expect("a number"), text("level"), text("message"))
    };
    text.lines().map(line).collect()
}

async fn messages(who: &User, query: &str) -> Vec<String> {
    let text = who.get(&format!("{PATH}{query}")).await.expect(200).text();
    lines(&text).into_iter().map(|(.., message)| message).collect()
}

fn say(master: &TestMaster, level: Level, text: &str) {
    master.own_log.note(Timestamp(1_763_805_600_000_000), level, text);
}

async fn administrators_read_and_follow_it(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    assert_eq!(messages(&admin, "").await, Vec::<String>::new());
    say(&master, Level::Info, "one");
    say(&master, Level::Warning, "two\u{1b}[2J\nlines");
    say(&master, Level::Error, "three");
    let all = lines(&admin.get(PATH).await.expect(200).text());
    let expected = [
        (0, "LOG_LEVEL_INFO", "one"),
        (1, "LOG_LEVEL_WARNING", "two[2Jlines"),
        (2, "LOG_LEVEL_ERROR", "three"),
    ];
    assert_eq!(all, expected.map(|(id, level, text)| (id, level.to_owned(), text.to_owned())));
    for (query, expected) in [
        ("?offset=1", &["two[2Jlines", "three"][..]),
        ("?offset=-1", &["three"]),
        ("?offset=-9&limit=1", &["one"]),
        ("?offset=1&limit=1", &["two[2Jlines"]),
        ("?offset=9", &[]),
    ] {
        assert_eq!(messages(&admin, query).await, expected, "{query}");
    }
    let mut stream = admin.get(&format!("{PATH}?offset=-1&follow=true")).stream().await;
    assert_eq!(stream.next().await.expect("a line")["logEntry"]["message"], "three");
    say(&master, Level::Debug, "four");
    assert_eq!(stream.next().await.expect("a line")["logEntry"]["level"], "LOG_LEVEL_DEBUG");
    // Who is no administrator any more is told so, and nothing else.
    let second = master.user("second").await;
    admin.patch(&second.path()).json(json!({"admin": true})).await.ok();
    second.patch(&admin.path()).json(json!({"admin": false})).await.ok();
    say(&master, Level::Info, "five");
    let last = String::from_utf8(stream.bytes().await).expect("text");
    assert!(last.contains("you may not read this log any more") && !last.contains("five"), "{last}");
}

/// Notes what it is told to do.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Controls for Noted {
    fn set_level(&self, level: Level) -> bool {
        self.0.lock().expect("no panic").push(level.as_str().to_owned());
        true
    }

    fn set_color(&self, color: bool) -> bool {
        self.0.lock().expect("no panic").push(format!("color {color}"));
        true
    }
}

fn change(level: &str, paths: Value) -> Value {
    json!({"config": {"log": {"level": level, "color": true}}, "fieldMask": {"paths": paths}})
}

async fn administrators_have_it_say_more(database: Database) {
    let master = TestMaster::start(database).await;
    let noted = Noted::default();
    let _ = OwnLog::clone(&master.own_log).controlled(noted.clone());
    let admin = master.admin().await;
    let patch = async |body: Value| admin.patch("/api/v1/master/config").json(body).await;
    assert_eq!(patch(change("LOG_LEVEL_DEBUG", json!(["log.level"]))).await.ok(), json!({}));
    patch(change("LOG_LEVEL_CRITICAL", json!(["log.level", "log.color"]))).await.ok();
    assert_eq!(*noted.0.lock().expect("no panic"), ["debug", "error", "color true"]);
    for (body, why) in [
        (json!({}), "name what to change"),
        (change("LOUD", json!(["log.level"])), "'LOUD' is no level"),
        (change("LOG_LEVEL_INFO", json!(["log.level", "db.url"])), "'db.url' can't be changed while"),
    ] {
        let said = patch(body).await.refused(400);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(noted.0.lock().expect("no panic").len(), 3);
    let entries = admin.get("/api/v1/audit?action=master.change_log").await.ok();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(2));
}

async fn it_is_nobody_elses(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    say(&master, Level::Info, "one");
    for query in ["", "?follow=true", "?limit=1&follow=true", "?offset=x"] {
        let said = alice.get(&format!("{PATH}{query}")).await.refused(403);
        assert_eq!(said, "user does not have permission");
    }
    alice.patch("/api/v1/master/config").body("no JSON").await.refused(403);
    master.anon().get(PATH).await.refused(401);
}

async fn what_cannot_be_done_is_said(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let said = admin.get(&format!("{PATH}?limit=1&follow=true")).await.refused(400);
    assert_eq!(said, "limit and follow can't be used together");
    admin.get(&format!("{PATH}?offset=x")).await.refused(400);
    admin.get(&format!("{PATH}?limit=-1")).await.refused(400);
    // No program stands behind this one's log.
    let body = change("LOG_LEVEL_INFO", json!(["log.level"]));
    let said = admin.patch("/api/v1/master/config").json(body).await.refused(400);
    assert_eq!(said, "the log of this master can't be changed while it runs");
}
