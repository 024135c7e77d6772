//! What ends a session, and when that holds: at the next request, and for what is open, at once (P6, P17, R22, R24,
//! R25, R27).

use std::time::Duration;

use domain::log::Source;
use domain::session::LIFETIME;
use domain::time::Timestamp;
use master::system::Clock as _;
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    r24_thirty_days_from_login_to_the_second,
    p07_sessions_outlive_the_master,
    r25_p06_deactivation_holds_at_the_next_request,
    r25_a_password_change_ends_all_sessions_of_the_account,
    r25_demotion_and_promotion_hold_at_the_next_request,
    r22_p06_open_streams_close_when_their_session_ends,
    r22_a_session_that_ended_before_the_stream_began_is_noticed,
    r27_what_is_no_good_token_is_refused,
    credentials_count_in_order,
    r22_people_see_and_end_their_own_sessions,
);

/// How soon an open stream must be over.
const SOON: Duration = Duration::from_secs(5);

async fn r24_thirty_days_from_login_to_the_second(database: Database) {
    let master = TestMaster::start(database).await;
    let cached = master.admin().await;
    let fresh = master.admin().await;
    let second = Duration::from_secs(1);
    // Use doesn't prolong it.
    for _ in 0..3 {
        master.clock.advance((LIFETIME - second) / 3);
        cached.get("/api/v1/me").await.ok();
    }
    master.clock.advance(second / 2);
    cached.get("/api/v1/me").await.ok();
    master.clock.advance(second / 2 + Duration::from_micros(3));
    assert_eq!(cached.get("/api/v1/me").await.refused(401), "invalid credentials");
    assert_eq!(fresh.get("/api/v1/me").await.refused(401), "invalid credentials");
}

async fn p07_sessions_outlive_the_master(database: Database) {
    let mut master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    master.restart().await;
    alice.get("/api/v1/me").await.ok();
}

async fn set(by: &User, whom: &User, change: serde_json::Value) {
    by.patch(&whom.path()).json(change).await.ok();
}

async fn r25_p06_deactivation_holds_at_the_next_request(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let alice = master.user("alice").await;
    let second = master.log_in("alice").await;
    for session in [&alice, &second] {
        session.get("/api/v1/me").await.ok();
    }
    set(&admin, &alice, json!({"active": false})).await;
    for session in [&alice, &second] {
        assert_eq!(session.get("/api/v1/me").await.refused(401), "invalid credentials");
    }
    assert_eq!(master.anon().log_in("alice", "").await.refused(403), "user is not active");
    // P19: back in, but not with what was ended.
    set(&admin, &alice, json!({"active": true})).await;
    assert_eq!(alice.get("/api/v1/me").await.status, 401);
    master.log_in("alice").await.get("/api/v1/me").await.ok();
}

async fn r25_a_password_change_ends_all_sessions_of_the_account(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let other = master.log_in("alice").await;
    other.get("/api/v1/me").await.ok();
    set(&alice, &alice, json!({"password": "a quiet lake"})).await;
    for session in [&alice, &other] {
        assert_eq!(session.get("/api/v1/me").await.status, 401);
    }
    bob.get("/api/v1/me").await.ok();
    assert_eq!(master.anon().log_in("alice", "").await.status, 401);
    master.log_in_with("alice", "a quiet lake").await;
}

async fn r25_demotion_and_promotion_hold_at_the_next_request(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    alice.get("/api/v1/master/config").await.refused(403);
    set(&admin, &alice, json!({"admin": true})).await;
    alice.get("/api/v1/master/config").await.ok();
    set(&admin, &alice, json!({"admin": false})).await;
    alice.get("/api/v1/master/config").await.refused(403);
    alice.get("/api/v1/me").await.ok();
    set(&admin, &alice, json!({"username": "alicia", "displayName": "Al"})).await;
    let me = alice.get("/api/v1/me").await.ok();
    assert_eq!((&me["user"]["username"], &me["user"]["displayName"]), (&json!("alicia"), &json!("Al")));
}

async fn r22_p06_open_streams_close_when_their_session_ends(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let open = async |who: &User| {
        let output = format!("/api/v1/tasks/{}/output?follow=true", task.id());
        let mut lines = who.follow(&task.id()).await;
        lines.until("have started").await;
        (lines, who.get(&output).stream().await)
    };
    let second = master.log_in("alice").await;
    let (lines, output) = open(&alice).await;
    let (mut others_lines, others_output) = open(&second).await;

    alice.post("/api/v1/auth/logout").await.ok();
    assert!(lines.closes_within(SOON).await && output.closes_within(SOON).await);
    // The other session's go on.
    agent.send_log(task.start.allocation, Source::Stdout, Timestamp(0), b"still here\n").await;
    others_lines.until("still here").await;

    set(&admin, &alice, json!({"active": false})).await;
    assert!(others_lines.closes_within(SOON).await && others_output.closes_within(SOON).await);
    // P18: what she made goes on, and stays visible.
    assert_eq!(admin.command(&task.id()).await["state"], "STATE_RUNNING");
    assert_eq!(admin.command(&task.id()).await["username"], "alice");
}

async fn r22_a_session_that_ended_before_the_stream_began_is_noticed(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let sessions = &master.services().sessions;
    let caller = sessions.authenticate(&alice.token).await.expect("let in");
    alice.post("/api/v1/auth/logout").await.ok();
    assert!(sessions.renewed(&caller).await.is_err(), "it isn't good any more");
    assert_ne!(caller.as_of(), *sessions.rights().borrow(), "so it is asked about at once");
}

async fn r27_what_is_no_good_token_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let (anon, alice) = (master.anon(), master.user("alice").await);
    assert_eq!(anon.get("/api/v1/me").await.refused(401), "token missing");
    let token = &alice.token;
    let cut = &token[..token.len() - 1];
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        token,
        &format!("bearer {token}"),
        &format!("Bearer {cut}"),
    ] {
        for header in ["authorization", "grpc-metadata-x-user-token", "grpc-metadata-x-allocation-token"] {
            let answer = anon.get("/api/v1/me").header(header, value).await;
            assert_eq!(answer.refused(401), "invalid credentials", "{header}: {value:?}");
        }
    }
    let upper = format!("Bearer {}", token.to_uppercase());
    assert_eq!(anon.get("/api/v1/me").header("authorization", &upper).await.status, 401);
    let expired = master.expired(&alice).await;
    assert_eq!(expired.get("/api/v1/me").await.refused(401), "invalid credentials");
    let pending = master.pending("newcomer").await;
    assert_eq!(pending.get("/api/v1/me").await.refused(403), "user does not have permission");
}

async fn credentials_count_in_order(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob, carl) =
        (master.user("alice").await, master.user("bob").await, master.user("carl").await);
    let bearer = |user: &User| format!("Bearer {}", user.token);
    let cookie = format!("theme=dark; auth={}; auth=x", carl.token);
    let all = master
        .anon()
        .get("/api/v1/me")
        .header("grpc-metadata-x-user-token", &bearer(&alice))
        .header("authorization", &bearer(&bob))
        .header("cookie", &cookie);
    let name = async |request: testkit::http::Request| request.await.ok()["user"]["username"].clone();
    assert_eq!(name(all.clone()).await, "alice");
    let two = all.without("grpc-metadata-x-user-token");
    assert_eq!(name(two.clone()).await, "bob");
    assert_eq!(name(two.clone().without("authorization")).await, "carl");
    // A bad one that counts isn't made good by a good one that doesn't.
    assert_eq!(two.header("authorization", "Bearer x").await.status, 401);
}

async fn r22_people_see_and_end_their_own_sessions(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob, admin) = (master.user("alice").await, master.user("bob").await, master.admin().await);
    let laptop = master.log_in("alice").await;
    let list = format!("{}/sessions", alice.path());
    let seen = alice.get(&list).await.ok();
    let current: Vec<_> =
        seen["sessions"].as_array().expect("a list").iter().map(|s| &s["current"]).collect();
    assert_eq!(current, [false, true], "newest first: {seen}");
    assert!(!seen.to_string().contains("mst_"), "no token is told");
    bob.get(&list).await.refused(403);
    let id = seen["sessions"][0]["id"].to_string();
    let session = format!("/api/v1/sessions/{id}");
    assert_eq!(bob.delete(&session).await.refused(404), format!("session '{id}' not found"));
    laptop.get("/api/v1/me").await.ok();
    alice.delete(&session).await.ok();
    laptop.get("/api/v1/me").await.refused(401);
    alice.delete(&session).await.refused(404);
    assert_eq!(admin.get(&list).await.ok()["sessions"].as_array().map(Vec::len), Some(1));
    // MK5: whoever logs in often hides none.
    let mut tx = master.store().write().await.expect("a transaction");
    let now = master.clock.now();
    for number in 0..300 {
        let (hash, ends) = (format!("{number:064}"), now.plus(LIFETIME));
        store::session::insert(&mut tx, domain::id::UserId(alice.id), &hash, now, ends)
            .await
            .expect("inserted");
    }
    tx.commit_unaudited("a test").await.expect("committed");
    let seen = alice.get(&list).await.ok();
    let sessions = seen["sessions"].as_array().expect("a list");
    assert_eq!((sessions.len(), sessions.iter().filter(|s| s["current"] == true).count()), (301, 1));
}
