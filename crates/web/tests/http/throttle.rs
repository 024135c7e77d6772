//! Guessing passwords: how it is slowed down, and what it must not slow down (R18).

use std::time::Duration;

use domain::throttle::LONGEST;
use futures_util::future::join_all;
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    r18_polyaxons_client_is_told_how_long_to_wait,
    r21_a_flood_of_logins_is_turned_away_while_reads_go_on,
    r18_the_101st_failure_in_a_row_is_refused_even_with_the_right_password,
    r18_the_wait_ends_and_a_login_clears_it,
    r18_many_guesses_at_once_count_as_many,
    r18_blank_guesses_and_other_names_do_not_count,
);

const RIGHT: &str = "a quiet lake";

async fn alice(master: &TestMaster) -> User {
    let alice = master.user("alice").await;
    alice.patch(&alice.path()).json(json!({"password": RIGHT})).await.ok();
    master.log_in_with("alice", RIGHT).await
}

async fn guess(master: &TestMaster, password: &str) -> u16 {
    master.anon().log_in("alice", password).await.status
}

async fn r18_the_101st_failure_in_a_row_is_refused_even_with_the_right_password(database: Database) {
    let mut master = TestMaster::start(database).await;
    let session = alice(&master).await;
    for number in 0..100 {
        assert_eq!(guess(&master, "wrong").await, 401, "guess {number}");
        master.clock.advance(LONGEST);
    }
    master.clock.advance(Duration::from_secs(1));
    assert_eq!(guess(&master, "wrong").await, 401);
    assert_eq!(guess(&master, RIGHT).await, 429);
    master.restart().await;
    let refused = master.anon().log_in("alice", RIGHT).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "901"));
    assert!(refused.refused(429).contains("too many failed logins: try again in 901 s"));
    session.get("/api/v1/me").await.ok();
    master.clock.advance(LONGEST);
    assert_eq!(guess(&master, RIGHT).await, 200, "never a lock-out");
}

async fn r18_the_wait_ends_and_a_login_clears_it(database: Database) {
    let master = TestMaster::start(database).await;
    alice(&master).await;
    for _ in 0..10 {
        assert_eq!(guess(&master, "wrong").await, 401);
    }
    assert_eq!(guess(&master, RIGHT).await, 429);
    assert_eq!(guess(&master, "wrong").await, 429, "a refused attempt doesn't make it longer");
    master.clock.advance(Duration::from_secs(1));
    assert_eq!(guess(&master, RIGHT).await, 200);
    for _ in 0..10 {
        assert_eq!(guess(&master, "wrong").await, 401, "counted anew");
    }
}

async fn r18_many_guesses_at_once_count_as_many(database: Database) {
    let master = TestMaster::start(database).await;
    alice(&master).await;
    let answers = join_all((0..30).map(|number| {
        let anon = master.anon();
        async move { anon.log_in("alice", &format!("wrong {number}")).await.status }
    }));
    let answers = answers.await;
    let looked_at = answers.iter().filter(|status| **status == 401).count();
    assert_eq!(looked_at, 10, "{answers:?}");
}

async fn r18_blank_guesses_and_other_names_do_not_count(database: Database) {
    let master = TestMaster::start(database).await;
    alice(&master).await;
    for _ in 0..20 {
        assert_eq!(guess(&master, "").await, 401);
    }
    for _ in 0..10 {
        assert_eq!(master.anon().log_in("nobody", "wrong").await.status, 401);
    }
    assert_eq!(master.anon().log_in("nobody", "wrong").await.status, 429, "unknown names look alike");
    assert_eq!(guess(&master, RIGHT).await, 200);
    // One address may try many names, up to a hundred failures.
    for name in 0..90 {
        assert_eq!(master.anon().log_in(&format!("name{name}"), "wrong").await.status, 401, "{name}");
    }
    assert_eq!(guess(&master, RIGHT).await, 429, "the address has to wait");
}

async fn r21_a_flood_of_logins_is_turned_away_while_reads_go_on(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = alice(&master).await;
    let names: Vec<String> = (0..20).map(|n| format!("user{n}")).collect();
    for name in &names {
        let body = json!({"user": {"username": name, "active": true}, "password": RIGHT});
        master.admin().await.post("/api/v1/users").json(body).await.ok();
    }
    let logins = (0..200).map(|n| {
        let (anon, name) = (master.anon(), names[n % names.len()].clone());
        tokio::spawn(async move { anon.log_in(&name, RIGHT).await })
    });
    let logins: Vec<_> = logins.collect();
    let (mut let_in, mut turned_away) = (0, 0);
    for login in logins {
        alice.get("/api/v1/me").await.ok();
        let answer = login.await.expect("answered");
        match answer.status {
            200 => let_in += 1,
            429 => {
                let wait: u64 = answer.header("retry-after").parse().expect("says when to come again");
                assert!((1..=5).contains(&wait), "{wait}");
                turned_away += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(let_in > 0 && turned_away > 0, "{let_in} let in, {turned_away} turned away");
    // That was nobody's failure: nobody has to wait now.
    master.log_in_with("user0", RIGHT).await;
}

async fn r18_polyaxons_client_is_told_how_long_to_wait(database: Database) {
    let master = TestMaster::start(database).await;
    alice(&master).await;
    for _ in 0..13 {
        let _ = guess(&master, "wrong").await;
        master.clock.advance(Duration::from_secs(1));
    }
    let login = json!({"username": "alice", "password": RIGHT}).to_string();
    let there = master.anon().post("/api/v1/users/token/").header("content-type", "application/json");
    let (here, there) = (master.anon().log_in("alice", RIGHT).await, there.body(login).await);
    let wait: u64 = here.expect(429).header("retry-after").parse().expect("seconds");
    assert!(wait > 1, "{wait}");
    assert_eq!(there.expect(429).header("retry-after"), wait.to_string());
}
