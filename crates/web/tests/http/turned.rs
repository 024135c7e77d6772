//! Whose turn it is to log in while others ask all the time: who logs in rightly over and over, and who guesses (A8, R18).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::throttle::{LONGEST_ANYWHERE, LONGEST_WHERE_KNOWN};
use futures_util::future::join_all;
use master::system::Clock as _;
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

use crate::throttle::{OFFICE, RIGHT, alice, behind_a_proxy, from};

on_both_databases!(
    a08_who_logs_in_rightly_all_the_time_keeps_no_newcomer_out,
    a08_who_guesses_without_end_leaves_the_others_at_the_address_their_share,
    a08_a_script_with_an_old_password_is_in_nobodys_way,
    a08_who_guesses_elsewhere_without_end_leaves_new_places_their_share,
);

/// Some ten guesses, until the account has to wait there as long as it ever does.
async fn until_it_waits(master: &TestMaster, address: &str) {
    for number in 0..60 {
        from(master, address, "alice", &format!("wrong {number}")).await;
        master.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(from(master, address, "alice", "wrong").await, 429);
}

async fn a08_who_logs_in_rightly_all_the_time_keeps_no_newcomer_out(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    for name in ["bob", "carol"] {
        let body = json!({"user": {"username": name, "active": true}, "password": RIGHT});
        master.admin().await.post("/api/v1/users").json(body).await.ok();
    }
    assert_eq!(from(&master, OFFICE, "alice", RIGHT).await, 200);
    let flood = join_all((0..10).map(|_| async {
        loop {
            from(&master, OFFICE, "alice", RIGHT).await;
        }
    }));
    let newcomers = async {
        for n in 0..3 {
            assert_eq!(from(&master, &format!("198.51.100.{n}"), "bob", RIGHT).await, 200);
            assert_eq!(from(&master, &format!("203.0.113.{n}"), "carol", RIGHT).await, 200);
        }
    };
    let came_in = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            _ = flood => unreachable!("it never ends"),
            () = newcomers => {}
        }
    });
    came_in.await.expect("in time");
}

/// Tries, and comes again when told, until it is answered something else than to wait.
async fn patiently(master: &TestMaster, address: &str, password: &str) -> u16 {
    loop {
        let body = json!({"username": "alice", "password": password});
        let login = master.anon().post("/api/v1/auth/login").json(body);
        let answer = login.header("x-forwarded-for", address).await;
        if answer.status != 429 {
            return answer.status;
        }
        let seconds = answer.header("retry-after").parse().expect("seconds");
        master.clock.until(master.clock.now().plus(Duration::from_secs(seconds))).await;
    }
}

/// What came of it that alice logged in at `address` while others guessed at `theirs` without end.
struct Came {
    /// How long it took her, by the clock.
    after: Duration,
    /// How many guesses were looked at meanwhile.
    guesses: u64,
}

/// As long as `password` says which one is guessed by whom at the how-manieth time.
async fn alice_logs_in(
    master: &TestMaster,
    address: &str,
    theirs: &[String],
    password: impl Fn(usize, u64) -> String,
) -> Came {
    master.clock.hold();
    let (began, guesses, password) = (master.clock.now(), AtomicU64::new(0), &password);
    let guessing = join_all(theirs.iter().enumerate().map(|(who, address)| {
        let guesses = &guesses;
        async move {
            for number in 0.. {
                let status = patiently(master, address, &password(who, number)).await;
                guesses.fetch_add(u64::from(status == 401), Ordering::Relaxed);
            }
        }
    }));
    let time = async {
        loop {
            master.clock.held(theirs.len() + 1).await;
            master.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    let alice = async {
        master.clock.held(theirs.len()).await;
        assert_eq!(patiently(master, address, RIGHT).await, 200);
    };
    tokio::select! {
        _ = guessing => unreachable!("it never ends"),
        () = time => unreachable!("it never ends"),
        () = alice => {}
    }
    Came { after: master.clock.now().since(began), guesses: guesses.into_inner() }
}

async fn a08_who_guesses_without_end_leaves_the_others_at_the_address_their_share(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    assert_eq!(from(&master, OFFICE, "alice", RIGHT).await, 200);
    until_it_waits(&master, OFFICE).await;
    let theirs = vec![OFFICE.to_owned(); 4];
    let came = alice_logs_in(&master, OFFICE, &theirs, |who, number| format!("guess {who} {number}")).await;
    // One of five each time: longer would be so improbable that it doesn't happen.
    assert!(came.after < 150 * LONGEST_WHERE_KNOWN, "{:?}", came.after);
    let most = came.after.as_secs() / LONGEST_WHERE_KNOWN.as_secs() + 1;
    assert!(came.guesses <= most, "{} guesses in {:?}", came.guesses, came.after);
}

async fn a08_a_script_with_an_old_password_is_in_nobodys_way(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    assert_eq!(from(&master, OFFICE, "alice", RIGHT).await, 200);
    until_it_waits(&master, OFFICE).await;
    let theirs = vec![OFFICE.to_owned(); 4];
    let came = alice_logs_in(&master, OFFICE, &theirs, |_, _| "wrong 1".to_owned()).await;
    assert!(came.after <= 3 * LONGEST_WHERE_KNOWN, "{:?}", came.after);
}

async fn a08_who_guesses_elsewhere_without_end_leaves_new_places_their_share(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    for number in 0..110 {
        from(&master, &format!("198.51.{number}.1"), "alice", &format!("wrong {number}")).await;
        master.clock.advance(LONGEST_ANYWHERE);
    }
    // Many of one network have the share of one.
    let theirs: Vec<_> = (0..8).map(|n| format!("198.18.{}.{n}", n / 4)).collect();
    let came = alice_logs_in(&master, "203.0.113.1", &theirs, |who, number| format!("guess {who} {number}"));
    let came = came.await;
    assert!(came.after < 100 * LONGEST_ANYWHERE, "{:?}", came.after);
    let most = came.after.as_secs() / LONGEST_ANYWHERE.as_secs() + 1;
    assert!(came.guesses <= most, "{} guesses in {:?}", came.guesses, came.after);
}
