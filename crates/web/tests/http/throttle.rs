//! Guessing passwords: how it is slowed down, and what it must not slow down (R18).

use std::time::Duration;

use domain::throttle::{LONGEST, LONGEST_WHERE_KNOWN};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use master::password::Presented;
use master::session::{Device, Origin, Visitor};
use serde_json::json;
use testkit::{Database, Requests as _, Response, TestMaster, User, on_both_databases};
use tokio::sync::Notify;

on_both_databases!(
    r18_polyaxons_client_is_told_how_long_to_wait,
    r21_a_flood_of_logins_is_turned_away_while_reads_go_on,
    r18_the_101st_failure_in_a_row_is_refused_even_with_the_right_password,
    r18_the_wait_ends_and_a_login_clears_it,
    r18_many_guesses_at_once_count_as_many,
    r18_blank_guesses_and_other_names_do_not_count,
    a08_failures_of_others_on_an_address_shut_nobody_out_who_was_there_before,
    a08_who_guesses_at_a_persons_own_address_slows_them_for_seconds_alone,
    a08_another_user_of_the_machine_shuts_nobody_out,
    a08_failures_elsewhere_shut_nobody_out_where_they_were_before,
    a08_who_guesses_at_a_persons_own_address_does_not_slow_what_was_logged_in_before,
    a08_a_browser_is_known_by_its_cookie,
    a08_strangers_who_log_in_by_hundreds_keep_nobody_out_who_was_here,
    a08_who_holds_a_session_is_not_slowed_by_others_at_the_address,
);

pub(crate) const RIGHT: &str = "a quiet lake";

pub(crate) async fn alice(master: &TestMaster) -> User {
    let alice = master.user("alice").await;
    alice.patch(&alice.path()).json(json!({"password": RIGHT})).await.ok();
    master.log_in_with("alice", RIGHT).await
}

/// From somewhere where nobody was before: the master is [`behind_a_proxy`].
async fn guess(master: &TestMaster, password: &str) -> u16 {
    from(master, "198.51.100.1", "alice", password).await
}

async fn r18_the_101st_failure_in_a_row_is_refused_even_with_the_right_password(database: Database) {
    let mut master = behind_a_proxy(database).await;
    let session = alice(&master).await;
    for number in 0..100 {
        assert_eq!(guess(&master, "wrong").await, 401, "guess {number}");
        master.clock.advance(LONGEST);
    }
    master.clock.advance(Duration::from_secs(1));
    assert_eq!(guess(&master, "wrong").await, 401);
    assert_eq!(guess(&master, RIGHT).await, 429);
    master.restart().await;
    let login =
        master.anon().post("/api/v1/auth/login").json(json!({"username": "alice", "password": RIGHT}));
    let refused = login.header("x-forwarded-for", "198.51.100.1").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "885"));
    assert!(refused.refused(429).contains("too many failed logins: try again in 885 s"));
    session.get("/api/v1/me").await.ok();
    master.clock.advance(LONGEST);
    assert_eq!(guess(&master, RIGHT).await, 200, "never a lock-out");
}

async fn r18_the_wait_ends_and_a_login_clears_it(database: Database) {
    let master = behind_a_proxy(database).await;
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
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    let answers = join_all((0..30).map(|number| {
        let master = &master;
        async move { guess(master, &format!("wrong {number}")).await }
    }));
    let answers = answers.await;
    let looked_at = answers.iter().filter(|status| **status == 401).count();
    assert_eq!(looked_at, 10, "{answers:?}");
}

async fn r18_blank_guesses_and_other_names_do_not_count(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    for _ in 0..20 {
        assert_eq!(master.anon().log_in("alice", "").await.status, 401);
    }
    let here = "198.51.100.1";
    for _ in 0..10 {
        assert_eq!(from(&master, here, "nobody", "wrong").await, 401);
    }
    assert_eq!(from(&master, here, "nobody", "wrong").await, 429, "unknown names look alike");
    assert_eq!(guess(&master, RIGHT).await, 200);
    // One address may try many names, up to a hundred failures.
    for name in 0..90 {
        assert_eq!(from(&master, here, &format!("name{name}"), "wrong").await, 401, "{name}");
    }
    assert_eq!(from(&master, here, "newcomer", RIGHT).await, 429, "the address has to wait");
    assert_eq!(guess(&master, RIGHT).await, 200, "who was here before doesn't");
}

async fn r21_a_flood_of_logins_is_turned_away_while_reads_go_on(database: Database) {
    let master = behind_a_proxy(database).await;
    let alice = alice(&master).await;
    // What is under way counts as failed until it is over: of one account, and of one address, it is never much.
    let names: Vec<String> = (0..50).map(|n| format!("user{n}")).collect();
    for name in &names {
        let body = json!({"user": {"username": name, "active": true}, "password": RIGHT});
        master.admin().await.post("/api/v1/users").json(body).await.ok();
    }
    let logins = (0..200).map(|n| {
        let (anon, name) = (master.anon(), names[n % names.len()].clone());
        let login = json!({"username": name, "password": RIGHT});
        let address = format!("198.51.100.{}", n % 4);
        let request = anon.post("/api/v1/auth/login").json(login).header("x-forwarded-for", &address);
        tokio::spawn(request.into_future())
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
                assert!((1..=5).contains(&wait), "{wait}: {}", answer.text());
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
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    for _ in 0..13 {
        let _ = guess(&master, "wrong").await;
        master.clock.advance(Duration::from_secs(1));
    }
    let login = json!({"username": "alice", "password": RIGHT}).to_string();
    let post = |path: &str| {
        let request = master.anon().post(path).header("content-type", "application/json").body(login.clone());
        request.header("x-forwarded-for", "198.51.100.1")
    };
    let (here, there) = (post("/api/v1/auth/login").await, post("/api/v1/users/token/").await);
    let wait: u64 = here.expect(429).header("retry-after").parse().expect("seconds");
    assert!(wait > 1, "{wait}");
    assert_eq!(there.expect(429).header("retry-after"), wait.to_string());
}

/// A master behind a proxy of this machine that says who asks.
pub(crate) async fn behind_a_proxy(database: Database) -> TestMaster {
    let configure = |config: &mut master::Config| {
        config.security.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    };
    TestMaster::configured(database, configure).await
}

/// A login by way of the proxy.
pub(crate) async fn from(master: &TestMaster, address: &str, name: &str, password: &str) -> u16 {
    let body = json!({"username": name, "password": password});
    let login = master.anon().post("/api/v1/auth/login").json(body);
    login.header("x-forwarded-for", address).await.status
}

async fn a08_failures_of_others_on_an_address_shut_nobody_out_who_was_there_before(database: Database) {
    let mut master = behind_a_proxy(database).await;
    let session = alice(&master).await;
    let office = "192.0.2.1";
    assert_eq!(from(&master, office, "alice", RIGHT).await, 200);
    for number in 0..100 {
        assert_eq!(from(&master, office, &format!("name{number}"), "wrong").await, 401);
    }
    assert_eq!(from(&master, office, "newcomer", "wrong").await, 429);
    assert_eq!(from(&master, office, "alice", RIGHT).await, 200);
    master.restart().await;
    assert_eq!(from(&master, office, "alice", RIGHT).await, 200, "it is remembered");
    assert_eq!(from(&master, "192.0.2.2", "newcomer", "wrong").await, 401, "another address");
    // Who holds a session changes the password there all the same.
    let change = [("current", RIGHT), ("new", "another quiet lake"), ("again", "another quiet lake")];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(change).finish();
    let page = session.in_browser().post("/account/password").body(form).header("x-forwarded-for", office);
    let page = page.header("content-type", "application/x-www-form-urlencoded");
    page.header("sec-fetch-site", "same-origin").await.expect(303);
}

async fn a08_failures_elsewhere_shut_nobody_out_where_they_were_before(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    assert_eq!(from(&master, "192.0.2.1", "alice", RIGHT).await, 200);
    // Many addresses, each below its own bound.
    for number in 0..100 {
        assert_eq!(from(&master, &format!("198.51.100.{}", number / 5), "alice", "wrong").await, 401);
    }
    assert_eq!(from(&master, "203.0.113.1", "alice", RIGHT).await, 429, "from somewhere new");
    assert_eq!(from(&master, "192.0.2.1", "alice", RIGHT).await, 200);
    assert_eq!(from(&master, "203.0.113.1", "bob", "wrong").await, 401, "others don't wait for it");
    master.clock.advance(LONGEST);
    assert_eq!(from(&master, "203.0.113.1", "alice", RIGHT).await, 200, "never a lock-out");
    // A header by itself moves nobody: the one that the proxy adds comes last.
    assert_eq!(from(&master, "203.0.113.7, 192.0.2.1", "alice", "wrong").await, 401);
}

async fn a08_who_guesses_at_a_persons_own_address_slows_them_for_seconds_alone(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    let office = "192.0.2.1";
    assert_eq!(from(&master, office, "alice", RIGHT).await, 200);
    for _ in 0..60 {
        let answer = from(&master, office, "alice", "wrong").await;
        assert!(matches!(answer, 401 | 429), "{answer}");
        master.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(from(&master, office, "alice", "wrong").await, 429, "guessing is slow there");
    master.clock.advance(LONGEST_WHERE_KNOWN);
    assert_eq!(from(&master, office, "alice", RIGHT).await, 200);
}

/// As long as the guesses come from another Unix user's programs, whatever address of the machine they use.
async fn a08_another_user_of_the_machine_shuts_nobody_out(database: Database) {
    let master = TestMaster::start(database).await;
    alice(&master).await;
    let log_in = async |password: &str, uid: Option<u32>| {
        let visitor = Visitor {
            origin: Origin::Remote,
            address: Some([127, 0, 0, 1].into()),
            uid,
            device: Device::None,
        };
        let password = Presented::new(Some(password.to_owned()), false);
        master.services().sessions.log_in("alice", password, visitor).await.is_ok()
    };
    assert!(log_in(RIGHT, Some(1000)).await);
    for _ in 0..40 {
        assert!(!log_in("wrong", Some(1001)).await);
    }
    assert!(!log_in(RIGHT, Some(1001)).await, "the guesser waits");
    assert!(log_in(RIGHT, Some(1000)).await, "and nobody else");
    // The server says who it is.
    assert_eq!(master.anon().log_in("alice", RIGHT).await.status, 200);
}

pub(crate) const OFFICE: &str = "192.0.2.1";

/// Guesses as fast as answers come, until even the right password has to wait.
async fn guessed_at(master: &TestMaster, address: &str) {
    let mut refused = 0;
    for _ in 0..40 {
        refused += usize::from(from(master, address, "alice", "wrong").await == 429);
    }
    assert!(refused > 20, "{refused}");
    assert_eq!(from(master, address, "alice", RIGHT).await, 429);
}

/// What a login that keeps a device is answered: status, and the device if there is a new one.
async fn with_device(
    master: &TestMaster,
    address: &str,
    name: &str,
    password: &str,
    device: &str,
) -> (u16, Option<String>) {
    let body = json!({"username": name, "password": password, "device": device});
    let login = master.anon().post("/api/v1/auth/login").json(body);
    let answer = login.header("x-forwarded-for", address).await;
    let device = (answer.status == 200).then(|| answer.json()["device"].as_str().map(str::to_owned));
    (answer.status, device.flatten())
}

async fn a08_who_guesses_at_a_persons_own_address_does_not_slow_what_was_logged_in_before(
    database: Database,
) {
    let mut master = behind_a_proxy(database).await;
    alice(&master).await;
    let (status, device) = with_device(&master, OFFICE, "alice", RIGHT, "").await;
    let device = device.expect("a device");
    assert_eq!(status, 200);
    let (_, other) = with_device(&master, OFFICE, "alice", RIGHT, "mud_made-up").await;
    let other = other.expect("what nobody was given is replaced");
    guessed_at(&master, OFFICE).await;
    master.restart().await;
    for address in [OFFICE, "203.0.113.9"] {
        assert_eq!(with_device(&master, address, "alice", RIGHT, &device).await, (200, None), "{address}");
    }
    // From many addresses at once, too.
    for n in 0..110 {
        from(&master, &format!("198.51.100.{n}"), "alice", "wrong").await;
    }
    assert_eq!(from(&master, "203.0.113.10", "alice", RIGHT).await, 429);
    assert_eq!(with_device(&master, "203.0.113.10", "alice", RIGHT, &device).await, (200, None));
    // It is no password, it is one account's, and who guesses with it waits by themselves.
    assert_eq!(with_device(&master, OFFICE, "alice", RIGHT, "").await.0, 429);
    for _ in 0..10 {
        assert_eq!(with_device(&master, OFFICE, "alice", "wrong", &device).await.0, 401);
    }
    assert_eq!(with_device(&master, OFFICE, "alice", RIGHT, &device).await.0, 429);
    assert_eq!(with_device(&master, OFFICE, "alice", RIGHT, &other).await, (200, None));
    master.clock.advance(LONGEST_WHERE_KNOWN);
    assert_eq!(with_device(&master, OFFICE, "alice", RIGHT, &device).await, (200, None));
    assert_eq!(with_device(&master, OFFICE, "bob", "wrong", &device).await.0, 401);
}

async fn a08_a_browser_is_known_by_its_cookie(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    let sign_in = async |cookie: &str| {
        let form = format!("username=alice&password={}&redirect=/", RIGHT.replace(' ', "+"));
        let request = master.anon().post("/login").header("x-forwarded-for", OFFICE);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("sec-fetch-site", "same-origin").header("cookie", cookie).body(form).await
    };
    let answer = sign_in("x=1").await;
    assert_eq!(answer.status, 303);
    let set = |answer: &Response| -> Vec<String> {
        let cookies = answer.headers.get_all("set-cookie").into_iter();
        cookies.filter_map(|cookie| cookie.to_str().ok().map(str::to_owned)).collect()
    };
    let device = set(&answer).into_iter().find(|cookie| cookie.starts_with("device=mud_")).expect("a device");
    assert!(device.contains("; HttpOnly; SameSite=Lax; Max-Age=7776000"), "{device}");
    let device = device.split(';').next().expect("a cookie").to_owned();
    guessed_at(&master, OFFICE).await;
    assert_eq!(sign_in("x=1").await.status, 429);
    let answer = sign_in(&device).await;
    assert_eq!(answer.status, 303);
    assert!(!set(&answer).iter().any(|cookie| cookie.starts_with("device=")), "it stays");
}

async fn a08_strangers_who_log_in_by_hundreds_keep_nobody_out_who_was_here(database: Database) {
    let master = behind_a_proxy(database).await;
    alice(&master).await;
    assert_eq!(from(&master, OFFICE, "alice", RIGHT).await, 200);
    let full = Notify::new();
    // As many at a time as it takes, however fast some of them are done.
    let strangers = stream::iter(0..5000).for_each_concurrent(200, |number| {
        let (master, full) = (&master, &full);
        async move {
            let address = format!("198.51.{}.{}", number / 250, number % 250);
            if from(master, &address, &format!("name{number}"), "wrong").await == 429 {
                full.notify_one();
            }
        }
    });
    let known = async {
        full.notified().await;
        from(&master, OFFICE, "alice", RIGHT).await
    };
    tokio::select! {
        () = strangers => panic!("there was room for all of them"),
        known = known => assert_eq!(known, 200),
    }
}

async fn a08_who_holds_a_session_is_not_slowed_by_others_at_the_address(database: Database) {
    let master = behind_a_proxy(database).await;
    let session = alice(&master).await;
    guessed_at(&master, OFFICE).await;
    let form = |current: &str| {
        let form = format!("current={current}&new=a+quiet+river&again=a+quiet+river");
        let request = session.in_browser().post("/account/password").header("x-forwarded-for", OFFICE);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("sec-fetch-site", "same-origin").body(form)
    };
    for _ in 0..10 {
        assert_ne!(form("wrong").await.status, 429);
    }
    assert_eq!(form("wrong").await.status, 429, "a stolen session is no way to guess");
    master.clock.advance(Duration::from_secs(2));
    let answer = form("a+quiet+lake").await;
    assert!(answer.status < 400, "{}: {}", answer.status, answer.text());
}
