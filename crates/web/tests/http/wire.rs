//! How clients write JSON, and what is taken of it: no content type, no body, both spellings, nulls, numbers as text.

use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(
    every_route_of_the_api_is_described,
    bodies_are_json_whatever_their_type,
    empty_bodies_are_taken,
    both_spellings_nulls_and_numbers_as_text,
    bad_bodies_are_told,
    errors_have_one_shape,
    hints_come_with_refusals,
);

async fn bodies_are_json_whatever_their_type(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for (name, kind) in [
        ("none", None),
        ("json", Some("application/json")),
        ("form", Some("application/x-www-form-urlencoded")),
        ("text", Some("text/plain; charset=utf-16")),
        ("odd", Some("x")),
    ] {
        let request = admin.post("/api/v1/users").json(json!({"user": {"username": name}}));
        let request = match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        };
        assert_eq!(request.await.ok()["user"]["username"], name);
    }
}

async fn empty_bodies_are_taken(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let _agent = master.agent("node").await;
    let id = admin.run(json!({"entrypoint": ["true"], "resources": {"slots": 0}})).await;
    for path in [
        "/api/v1/agents/invitations".to_owned(),
        "/api/v1/agents/node/disable".to_owned(),
        "/api/v1/agents/node/enable".to_owned(),
        "/api/v1/agents/node/slots/0/disable".to_owned(),
        format!("/api/v1/commands/{id}/kill"),
        "/api/v1/auth/logout".to_owned(),
    ] {
        admin.post(&path).await.ok();
    }
    let admin = master.admin().await;
    assert_eq!(admin.post("/api/v1/users").await.refused(400), "must specify user to create");
    assert!(admin.post("/api/v1/commands").await.refused(400).contains("entrypoint"));
    let unchanged = admin.patch(&admin.path()).await.ok();
    assert_eq!(unchanged["user"]["username"], "admin");
}

async fn both_spellings_nulls_and_numbers_as_text(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let snake = json!({
        "user": {
            "username": "snake", "active": true, "display_name": "Snake",
            "agent_user_group": {"agent_uid": "207", "agent_gid": 208, "agent_user": "s", "agent_group": "g"}
        },
        "password": "", "is_hashed": true
    });
    let made = admin.post("/api/v1/users").json(snake).await.ok();
    assert_eq!(made["user"]["displayName"], "Snake");
    let identity = json!({"agentUid": 207, "agentGid": 208, "agentUser": "s", "agentGroup": "g"});
    assert_eq!(made["user"]["agentUserGroup"], identity);
    let nulls = json!({
        "username": null, "password": null, "isHashed": null, "admin": null, "active": null, "displayName": null,
        "remote": null, "agentUserGroup": null
    });
    let snake = master.log_in("snake").await;
    let same = snake.patch(&snake.path()).json(nulls).await.ok();
    assert_eq!(same["user"]["displayName"], "Snake", "null is unset");

    for body in [
        json!({"config": {"entrypoint": ["true"]}, "template_name": null, "files": null, "workspaceId": null}),
        json!({"config": {"entrypoint": ["true"]}, "templateName": "", "files": [], "workspace_id": "1"}),
        json!({"config": {"entrypoint": ["true"], "description": null, "resources": null}, "workspaceId": 0}),
    ] {
        let id = snake.post("/api/v1/commands").json(body).await.ok()["command"]["id"].clone();
        let path = format!("/api/v1/commands/{}/set_priority", id.as_str().expect("an id"));
        let changed = snake.post(&path).json(json!({"priority": "50"})).await.ok();
        assert_eq!(changed["command"]["priority"], 50);
    }
    for (body, text) in [
        (json!({"config": {"entrypoint": ["x"]}, "templateName": "t"}), "template 't' not found"),
        (json!({"config": {"entrypoint": ["x"]}, "workspaceId": 7}), "workspace '7' not found"),
    ] {
        assert_eq!(snake.post("/api/v1/commands").json(body).await.refused(404), text);
    }
}

async fn bad_bodies_are_told(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for body in ["{", "[7]", "nothing", "{\"user\": 7}", "{\"user\": {\"username\": 7}}", "\u{0}"] {
        let text = admin.post("/api/v1/users").body(body).await.refused(400);
        assert!(text.starts_with("the body is not the expected JSON: "), "{body:?}: {text}");
    }
    let not_utf8 = admin.post("/api/v1/users").body(b"{\"user\": {\"username\": \"\xff\"}}".to_vec()).await;
    not_utf8.refused(400);
    let deep = "[".repeat(100_000);
    admin.post("/api/v1/commands").body(deep).await.refused(400);
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20));
    assert!(admin.post("/api/v1/users").body(large).await.refused(400).contains("larger than"));
}

async fn errors_have_one_shape(database: Database) {
    let master = TestMaster::start(database).await;
    let (anon, alice) = (master.anon(), master.user("alice").await);
    let shape = |code: u32, reason: &str, error: &str| json!({"error": {"code": code, "reason": reason, "error": error}});
    let unauthenticated = anon.get("/api/v1/me").await.expect(401).json();
    assert_eq!(unauthenticated, shape(16, "Unauthenticated", "token missing"));
    let forbidden = alice.get("/api/v1/master/config").await.expect(403).json();
    assert_eq!(forbidden, shape(7, "PermissionDenied", "user does not have permission"));
    let missing = alice.get("/api/v1/users/99").await.expect(404).json();
    assert_eq!(missing, shape(5, "NotFound", "user not found"));
    let invalid = alice.get("/api/v1/users?offset=9").await.expect(400).json();
    assert_eq!(invalid, shape(3, "InvalidArgument", "offset out of bounds"));
}

async fn hints_come_with_refusals(database: Database) {
    let master = TestMaster::start(database).await;
    let refused = master.anon().get("/api/v1/me").await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    assert_eq!(refused.header("content-type"), "application/json");
}

async fn every_route_of_the_api_is_described(database: Database) {
    let master = TestMaster::start(database).await;
    let problems = web::undescribed(&master.rows());
    assert!(problems.is_empty(), "{problems:#?}: see src/openapi");
    let served = master.anon().get("/api/v1/openapi.json").await.ok();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["paths"]["/api/v1/users"]["post"]["operationId"], "post_users");
}
