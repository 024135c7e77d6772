//! What a browser sends by itself proves nothing; what it shows is never mistaken for ours (R05, R07, R13, R30).

use serde_json::json;
use testkit::http::Method;
use testkit::{Anon, Database, Requests as _, TestMaster, on_both_databases, on_sqlite};

on_both_databases!(r07_cross_site_posts_are_refused_and_change_nothing);
on_sqlite!(
    r07_same_origin_requests_and_bearer_tokens_pass,
    r13_a_token_in_the_address_is_no_credential,
    r05_answers_never_become_active_content,
    r30_routes_are_matched_and_not_their_texts,
    the_cookie_is_enough_to_read,
);

/// What browsers say of requests that other pages make.
const FOREIGN: &[&[(&str, &str)]] = &[
    &[],
    &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
    &[("sec-fetch-site", "same-site")],
    &[("sec-fetch-site", "none")],
    &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1")],
    &[("origin", "null")],
    &[("origin", "http://evil.example.org")],
    &[("origin", "http://127.0.0.1.evil.example.org")],
    &[("host", "a.localhost"), ("origin", "http://b.localhost")],
    &[("host", "localhost"), ("origin", "http://a.localhost")],
    &[("referer", "http://127.0.0.1/")],
];

async fn r07_cross_site_posts_are_refused_and_change_nothing(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let id = alice.run_true().await;
    let browser = alice.in_browser();
    let kill = format!("/api/v1/commands/{id}/kill");
    let posts = [
        ("/api/v1/auth/logout", String::new()),
        (kill.as_str(), String::new()),
        ("/api/v1/commands", json!({"config": {"entrypoint": ["true"]}}).to_string()),
    ];
    for headers in FOREIGN {
        for (path, body) in &posts {
            let mut request = browser.post(path).header("content-type", "text/plain").body(body.as_bytes());
            for (name, value) in *headers {
                request = request.header(name, value);
            }
            let text = request.await.refused(403);
            assert_eq!(text, "this request did not come from Muster's own pages", "{path} with {headers:?}");
        }
        let mut request = browser.patch(&alice.path()).json(json!({"displayName": "stolen"}));
        for (name, value) in *headers {
            request = request.header(name, value);
        }
        request.await.refused(403);
    }
    assert_eq!(alice.get("/api/v1/me").await.ok()["user"]["displayName"], "");
    assert_eq!(alice.command(&id).await["state"], "STATE_QUEUED");
    assert_eq!(alice.get("/api/v1/commands").await.ok()["pagination"]["total"], 1);
}

async fn r07_same_origin_requests_and_bearer_tokens_pass(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let rename = |by: &Anon, name: &str| by.patch(&alice.path()).json(json!({ "displayName": name }));
    let browser = alice.in_browser();
    let origin = master.url();
    rename(&browser, "one").header("sec-fetch-site", "same-origin").await.ok();
    rename(&browser, "two").header("origin", &origin).await.ok();
    let foreign = alice.patch(&alice.path()).json(json!({"displayName": "three"}));
    foreign.header("sec-fetch-site", "cross-site").await.ok();
    // Without the cookie the same headers prove nothing.
    let bare = master.anon();
    let answer =
        rename(&bare, "four").header("sec-fetch-site", "same-origin").header("origin", &origin).await;
    assert_eq!(answer.refused(401), "token missing");
}

async fn the_cookie_is_enough_to_read(database: Database) {
    let master = TestMaster::start(database).await;
    let browser = master.user("alice").await.in_browser();
    let answer = browser.get("/api/v1/me").header("sec-fetch-site", "cross-site").await;
    assert_eq!(answer.header("access-control-allow-origin"), "", "so that other pages can't read it");
    assert_eq!(answer.ok()["user"]["username"], "alice");
}

async fn r13_a_token_in_the_address_is_no_credential(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    for token in [&alice.token, &task.start.token] {
        for key in ["token", "access_token", "auth", "authorization", "jwt"] {
            for path in ["/api/v1/me", "/api/v1/commands", "/api/v1/users/1"] {
                let answer = master.anon().get(&format!("{path}?{key}={token}")).await;
                assert_eq!(answer.refused(401), "token missing", "{path}?{key}=");
            }
        }
    }
}

async fn r05_answers_never_become_active_content(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let script = "<script>alert(1)</script>";
    let encoded = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let paths = [
        format!("/{encoded}"),
        format!("/api/v1/{encoded}"),
        format!("/api/v1/users/{encoded}"),
        format!("/api/v1/users/{encoded}/by-username"),
        format!("/api/v1/commands/{encoded}"),
        format!("/api/v1/agents/{encoded}"),
        format!("/api/v1/users?offset={encoded}"),
        format!("/api/v1/commands?userIds={encoded}"),
        "/info".to_owned(),
        "/api/v1/me".to_owned(),
    ];
    for path in paths {
        for accept in ["*/*", "text/html"] {
            let answer = alice.get(&path).header("accept", accept).await;
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            let html = answer.header("content-type").starts_with("text/html");
            assert!(!html || !answer.text().contains(script), "{path}: {}", answer.text());
        }
    }
}

async fn r30_routes_are_matched_and_not_their_texts(database: Database) {
    let master = TestMaster::start(database).await;
    let anon = master.anon();
    for path in [
        "/api/v1//me",
        "//api/v1/me",
        "/api/v1/me/",
        "/API/v1/me",
        "/api/v1/me;x",
        "/api/v1/%6de",
        "/api/v1%2fme",
        "/api/v1/auth/login/..%2f..%2fme",
        "/info/..%2fapi/v1/me",
        "/api/v1/master/..%2fmaster%2fconfig",
        "/api/v1/master/telemetry/config",
        "/api/v1/master%00",
    ] {
        let answer = anon.get(path).await;
        assert!(matches!(answer.status, 401 | 404), "{path}: {}", answer.status);
    }
    let head = anon.request(Method::HEAD, "/api/v1/master/config").await;
    assert_eq!(head.status, 401);
    let alice = master.user("alice").await;
    for method in ["PUT", "DELETE", "POST", "TRACE"] {
        let method: Method = method.parse().expect("a method");
        let by_nobody = anon.request(method.clone(), "/api/v1/me").await;
        assert!(matches!(by_nobody.status, 401 | 405), "{method}: {}", by_nobody.status);
        assert_eq!(alice.request(method.clone(), "/api/v1/me").await.status, 405, "{method}");
    }
    let unknown = anon.get("/api/v1/nothing").await;
    assert_eq!(unknown.refused(404), "api not found: GET /api/v1/nothing");
    // ME18: what Determined's API has, and isn't here, reads as such.
    let models = anon.get("/api/v1/models").await;
    assert_eq!(models.refused(404), "GET /api/v1/models is not supported by this master");
    let unknown = anon.get("/nothing").await.expect(404);
    assert_eq!(unknown.json(), json!({"message": "api not found: GET /nothing"}));
}
