//! Service accounts: accounts of programs, with access tokens and nothing else.

use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    a_service_account_has_no_password,
    a_service_account_acts_by_the_tokens_that_administrators_make,
);

/// What is said to who wants more of one.
const NO_PASSWORD: &str =
    "a service account has no password and no sign-on: an administrator makes access tokens for it";

async fn a_service_account_has_no_password(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let bot = json!({"username": "bot", "active": true, "service": true});
    let refused = alice.post("/api/v1/users").json(json!({"user": bot})).await;
    assert_eq!(refused.refused(403), "only admin privileged users can create users");
    for body in [
        json!({"user": bot, "password": "a quiet lake"}),
        json!({"user": {"username": "bot", "service": true, "remote": true}}),
    ] {
        assert_eq!(admin.post("/api/v1/users").json(body).await.refused(400), NO_PASSWORD);
    }
    let taken = json!({"user": {"username": "determined", "service": true}});
    assert_eq!(
        admin.post("/api/v1/users").json(taken).await.refused(400),
        "User cannot be renamed 'determined'"
    );
    let made = admin.post("/api/v1/users").json(json!({"user": bot})).await.ok();
    assert_eq!(made["user"]["service"], true);
    let path = format!("/api/v1/users/{}", made["user"]["id"]);
    let listed = alice.get("/api/v1/users?name=bot").await.ok();
    assert_eq!(listed["users"][0]["service"], true);

    // As an unknown name.
    let unknown = master.anon().log_in("nobody", "").await;
    for password in ["", "a quiet lake"] {
        let answer = master.anon().log_in("bot", password).await;
        assert_eq!((answer.status, &answer.body), (401, &unknown.body));
    }
    for change in [
        json!({"password": "a quiet lake"}),
        json!({"password": ""}),
        json!({"remote": true}),
        json!({"remote": true, "password": "x"}),
    ] {
        assert_eq!(admin.patch(&path).json(change).await.refused(400), NO_PASSWORD);
    }
    assert_eq!(admin.post(&format!("{path}/password")).body("\"x\"").await.refused(400), NO_PASSWORD);
    admin.patch(&path).json(json!({"remote": false, "displayName": "Builds"})).await.ok();
    master.anon().log_in("bot", "").await.refused(401);
}

async fn a_service_account_acts_by_the_tokens_that_administrators_make(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let bot = json!({"user": {"username": "bot", "active": true, "service": true}});
    let id = admin.post("/api/v1/users").json(bot).await.ok()["user"]["id"].clone();
    alice.post("/api/v1/tokens").json(json!({"userId": id})).await.refused(403);
    let (bot, _) = admin.by_token(json!({"userId": id})).await;
    let _agent = master.agent("node").await;
    let task = bot.run_true().await;
    assert_eq!(alice.command(&task).await["username"], "bot");
    bot.post("/api/v1/tokens").await.refused(403);
    admin.patch(&bot.path()).json(json!({"active": false})).await.ok();
    bot.get("/api/v1/me").await.refused(401);
}
