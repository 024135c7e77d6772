//! Logging in and out: what a new installation lets in, what is refused, in which order and words (P1, P2, P7, P8,
//! R16, R17, R19, R20).

use serde_json::json;
use testkit::{Database, Requests as _, Response, TestMaster, on_both_databases};

on_both_databases!(
    p01_a_new_installation_has_two_accounts_with_blank_passwords,
    p01_the_default_users_name_is_configured,
    p02_the_default_user_is_named_to_who_may_be_it,
    p07_a_login_answers_what_the_clients_read,
    p08_a_logout_ends_that_session_and_no_other,
    refusals_come_in_order,
    r16_r17_unknown_wrong_pending_and_sign_on_only_look_alike,
    r19_long_names_passwords_and_bodies_are_refused,
    r20_passwords_are_compared_whole,
    a_name_with_nul_is_unknown,
    plain_and_transformed_passwords_are_the_same,
);

/// `Passw0rd!` as Determined's clients send it.
const TRANSFORMED: &str = "a49c57645ffa42d990a4d7ba2eafb6c47f9e73fbfd3e3e1f70a762c0e4ae79e5d6762ef15e0a66a5c9a8dc267128f691f9e7aa0d734706d4f47b894ec6fc68f8";

async fn p01_a_new_installation_has_two_accounts_with_blank_passwords(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let users = admin.get("/api/v1/users").await.ok();
    let told = |user: &serde_json::Value| {
        let flag = |key: &str| user[key].as_bool().expect("a flag");
        (user["username"].as_str().expect("a name").to_owned(), flag("admin"), flag("active"))
    };
    let users: Vec<_> = users["users"].as_array().expect("a list").iter().map(told).collect();
    assert_eq!(users, [("admin".to_owned(), true, true), ("determined".to_owned(), false, true)]);
    assert_eq!(master.default_user().await.id, 2);
    assert_eq!(master.anon().log_in("determined", "something").await.status, 401);
}

async fn p01_the_default_users_name_is_configured(database: Database) {
    let master =
        TestMaster::configured(database, |config| config.bootstrap.default_user = "pedl".to_owned()).await;
    master.log_in("pedl").await;
    assert_eq!(master.anon().log_in("determined", "").await.status, 401);
    assert_eq!(master.anon().get("/info").await.ok()["default_user"], "pedl");
}

async fn p02_the_default_user_is_named_to_who_may_be_it(database: Database) {
    let master = TestMaster::start(database).await;
    let anon = master.anon();
    assert_eq!(anon.get("/info").await.ok()["default_user"], "determined");
    let forwarded = anon.get("/info").header("x-forwarded-for", "192.0.2.7").await.ok();
    assert_eq!(forwarded["default_user"], json!(null));
    let user = master.default_user().await;
    user.patch(&user.path()).json(json!({"password": "a quiet lake"})).await.ok();
    assert_eq!(anon.get("/info").await.ok()["default_user"], json!(null), "it needs a password now");
}

async fn p07_a_login_answers_what_the_clients_read(database: Database) {
    let master = TestMaster::start(database).await;
    let answer = master.anon().log_in("admin", "").await.ok();
    assert_eq!(answer["expiresAt"], "2026-01-31T00:00:00.000000Z", "30 days");
    assert_eq!(answer["blankPassword"], true);
    let user = &answer["user"];
    assert_eq!((&user["id"], &user["username"], &user["admin"]), (&json!(1), &json!("admin"), &json!(true)));
    assert_eq!(user["agentUserGroup"], json!(null));
    assert_eq!(user["lastAuthAt"], "2026-01-01T00:00:00.000000Z");
    let (one, two) = (master.admin().await, master.admin().await);
    assert_ne!(one.token, two.token);
    for path in ["/api/v1/me", "/api/v1/auth/user"] {
        assert_eq!(one.get(path).await.ok()["user"]["username"], "admin");
        two.get(path).await.ok();
    }
}

async fn p08_a_logout_ends_that_session_and_no_other(database: Database) {
    let master = TestMaster::start(database).await;
    let (one, two) = (master.admin().await, master.admin().await);
    one.get("/api/v1/me").await.ok();
    one.post("/api/v1/auth/logout").await.ok();
    assert_eq!(one.get("/api/v1/me").await.refused(401), "invalid credentials");
    assert_eq!(one.post("/api/v1/auth/logout").await.refused(401), "invalid credentials");
    two.get("/api/v1/me").await.ok();
}

async fn refusals_come_in_order(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, anon) = (master.admin().await, master.anon());
    for body in [json!({}), json!({"username": null}), json!({"username": "", "password": "x"})] {
        let answer = anon.post("/api/v1/auth/login").json(body).await;
        assert_eq!(answer.refused(400), "missing argument: username");
    }
    let gone = json!({"user": {"username": "gone", "active": true}, "password": "a quiet lake"});
    let gone = admin.post("/api/v1/users").json(gone).await.ok();
    let path = format!("/api/v1/users/{}", gone["user"]["id"]);
    admin.patch(&path).json(json!({"active": false})).await.ok();
    assert_eq!(anon.log_in("gone", "wrong").await.refused(401), "invalid credentials");
    assert_eq!(anon.log_in("gone", "").await.refused(401), "invalid credentials");
    assert_eq!(anon.log_in("gone", "a quiet lake").await.refused(403), "user is not active");
    assert_eq!(anon.log_in("Admin", "").await.refused(401), "invalid credentials", "case counts");
}

/// Everything of an answer but the date.
fn seen(answer: Response) -> String {
    let mut headers = answer.headers;
    headers.remove("date");
    format!("{} {headers:?} {}", answer.status, String::from_utf8_lossy(&answer.body))
}

async fn r16_r17_unknown_wrong_pending_and_sign_on_only_look_alike(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    master.pending("newcomer").await;
    let known = json!({"user": {"username": "known", "active": true}, "password": "a quiet lake"});
    admin.post("/api/v1/users").json(known).await.ok();
    let remote = json!({"user": {"username": "sso", "active": true, "remote": true}});
    admin.post("/api/v1/users").json(remote).await.ok();
    let anon = master.anon();
    let unknown = seen(anon.log_in("nobody", "a quiet lake").await);
    assert!(unknown.starts_with("401 ") && unknown.contains("invalid credentials"), "{unknown}");
    for (name, password) in
        [("known", "wrong"), ("known", ""), ("newcomer", ""), ("newcomer", "x"), ("sso", ""), ("sso", "x")]
    {
        assert_eq!(seen(anon.log_in(name, password).await), unknown, "{name} with {password:?}");
    }
}

async fn r19_long_names_passwords_and_bodies_are_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let anon = master.anon();
    let long = "x".repeat(65);
    assert_eq!(anon.log_in(&long, "").await.refused(401), "invalid credentials");
    let long = "x".repeat(1025);
    assert!(anon.log_in("admin", &long).await.refused(400).contains("longer than 1024 bytes"));
    assert_eq!(anon.log_in("admin", &long[1..]).await.status, 401);
    let long = format!(r#"{{"username": "admin", "password": "", "x": "{}"}}"#, "x".repeat(16 << 10));
    assert!(anon.post("/api/v1/auth/login").body(long).await.refused(400).contains("larger than 16384"));
    let admin = master.admin().await;
    let long = json!({"password": "x".repeat(1025)});
    admin.patch(&admin.path()).json(long).await.refused(400);
}

async fn r20_passwords_are_compared_whole(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let password = "x".repeat(99);
    let body = json!({"password": format!("{password}a")});
    alice.patch(&alice.path()).json(body).await.ok();
    master.log_in_with("alice", &format!("{password}a")).await;
    for other in [format!("{password}b"), password.clone(), format!("{password}aa")] {
        assert_eq!(master.anon().log_in("alice", &other).await.status, 401);
    }
}

async fn a_name_with_nul_is_unknown(database: Database) {
    let master = TestMaster::start(database).await;
    assert_eq!(master.anon().log_in("admin\0", "x").await.refused(401), "invalid credentials");
    let admin = master.admin().await;
    for (path, status) in [
        ("/api/v1/users/a%00b/by-username", 404),
        ("/api/v1/users?name=%00", 200),
        ("/api/v1/commands?users=%00", 200),
        ("/api/v1/workspaces?nameCaseSensitive=%00", 200),
    ] {
        assert_eq!(admin.get(path).await.status, status, "{path}");
    }
}

async fn plain_and_transformed_passwords_are_the_same(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    alice.patch(&alice.path()).json(json!({"password": "Passw0rd!"})).await.ok();
    let alice = master.log_in_with("alice", "Passw0rd!").await;
    let log_in = async |name: &str, password: &str, hashed: bool| {
        let body = json!({"username": name, "password": password, "isHashed": hashed});
        master.anon().post("/api/v1/auth/login").json(body).await.status
    };
    assert_eq!(log_in("alice", TRANSFORMED, true).await, 200);
    assert_eq!(log_in("alice", TRANSFORMED, false).await, 401, "its transform is another password");
    assert_eq!(log_in("alice", "Passw0rd!", true).await, 401);
    let body = json!({"password": TRANSFORMED, "isHashed": true});
    alice.patch(&alice.path()).json(body).await.ok();
    assert_eq!(log_in("alice", "Passw0rd!", false).await, 200);
}
