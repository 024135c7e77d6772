//! Behind a proxy that is trusted: what it says counts, and what another program of this machine says in its place
//! doesn't (W13, W14).

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(
    a09_behind_a_proxy_that_speaks_https_cookies_are_secure,
    a09_who_is_no_proxy_of_ours_makes_no_cookie_secure,
    a08_a_local_program_that_is_no_proxy_names_nobody_elses_address,
);

/// A Unix user that nobody is.
const STRANGER: u32 = 43_210;

async fn behind_a_proxy(database: Database, uids: &[u32]) -> TestMaster {
    let configure = |config: &mut master::Config| {
        config.security.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.security.proxy_uids = uids.to_vec();
    };
    TestMaster::configured(database, configure).await
}

/// Logs in on the page; the cookies that are set.
async fn cookies(master: &TestMaster, scheme: &str) -> Vec<String> {
    let form = master.anon().post("/login").body("username=alice&password=a+quiet+lake+at+night");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let form = form.header("sec-fetch-site", "same-origin").header("x-forwarded-proto", scheme);
    let answer = form.await.expect(303);
    let all = answer.headers.get_all("set-cookie").iter();
    all.map(|cookie| cookie.to_str().expect("text").to_owned()).collect()
}

async fn alice(master: &TestMaster) {
    let alice = master.user("alice").await;
    let new = json!({"password": "a quiet lake at night"});
    master.admin().await.patch(&alice.path()).json(new).await.ok();
}

async fn a09_behind_a_proxy_that_speaks_https_cookies_are_secure(database: Database) {
    let master = behind_a_proxy(database, &[]).await;
    alice(&master).await;
    let set = cookies(&master, "https").await;
    let session = set.iter().find(|cookie| cookie.starts_with("__Host-auth=mst_")).expect("a session");
    assert!(session.contains("; Secure") && !set.iter().any(|cookie| cookie.starts_with("auth=")), "{set:?}");
    let token = session.split(['=', ';']).nth(1).expect("a value");
    let shown = async |cookie: String, scheme: &str| {
        let page = master.anon().get("/commands").header("cookie", &cookie);
        page.header("x-forwarded-proto", scheme).await.status
    };
    assert_eq!(shown(format!("__Host-auth={token}"), "https").await, 200);
    // What another port may have planted doesn't count.
    assert_eq!(shown(format!("auth={token}"), "https").await, 303);
    assert_eq!(shown(format!("auth={token}"), "http").await, 200);
    assert!(cookies(&master, "http").await.iter().any(|cookie| cookie.starts_with("auth=mst_")));
}

async fn a09_who_is_no_proxy_of_ours_makes_no_cookie_secure(database: Database) {
    let master = TestMaster::start(database).await;
    alice(&master).await;
    let set = cookies(&master, "https").await;
    assert!(set.iter().any(|cookie| cookie.starts_with("auth=mst_")), "{set:?}");
}

/// A failed login by another Unix user's program, which says that it comes from elsewhere.
async fn forged(master: &TestMaster, uid: u32) {
    let body = r#"{"username": "alice", "password": "wrong"}"#;
    let port = master.address().port();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf '%s' \"$REQUEST\" >&3; read -r -u 3 answer; echo \"$answer\""
    );
    let request = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.99\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let run = move || Command::new("bash").arg("-c").arg(script).env("REQUEST", request).uid(uid).output();
    let output = tokio::task::spawn_blocking(run).await.expect("ran").expect("bash");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer} {}", String::from_utf8_lossy(&output.stderr));
}

/// The addresses that failed logins are noted from.
async fn noted(master: &TestMaster) -> String {
    let admin = master.admin().await;
    let path = "/api/v1/audit?action=session.open&result=refused";
    // What is refused is written down a moment later.
    loop {
        let entries = admin.get(path).await.ok()["entries"].clone();
        if entries.as_array().is_some_and(|entries| !entries.is_empty()) {
            return entries.to_string();
        }
        tokio::task::yield_now().await;
    }
}

async fn a08_a_local_program_that_is_no_proxy_names_nobody_elses_address(database: Database) {
    let master = behind_a_proxy(database, &[]).await;
    alice(&master).await;
    forged(&master, STRANGER).await;
    let seen = noted(&master).await;
    assert!(!seen.contains("203.0.113.99") && seen.contains("127.0.0.1"), "{seen}");
    for (uids, uid) in [(&[STRANGER][..], STRANGER), (&[], 0)] {
        let master = behind_a_proxy(database, uids).await;
        alice(&master).await;
        forged(&master, uid).await;
        assert!(noted(&master).await.contains("203.0.113.99"), "uid {uid}");
    }
}
