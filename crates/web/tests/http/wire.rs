//! How clients write JSON, and what is taken of it: no content type, no body, both spellings, nulls, numbers as text.

use serde_json::json;
use testkit::{Database, Method, Requests as _, TestMaster, on_sqlite, soon};

on_sqlite!(
    b21_every_answer_has_a_shape_of_its_own,
    every_route_of_the_api_is_described,
    bodies_are_json_whatever_their_type,
    empty_bodies_are_taken,
    both_spellings_nulls_and_numbers_as_text,
    bad_bodies_are_told,
    errors_have_one_shape,
    hints_come_with_refusals,
    a_list_is_no_object_on_any_row,
    other_methods_are_refused_aloud_with_and_without_a_body,
    query_keys_come_in_either_spelling,
    a_slash_at_the_end_says_nothing,
    r30_every_row_takes_a_slash_at_its_end,
    containers_have_states_that_clients_know,
    logs_of_elsewhere_are_not_here,
    x10_a_workspace_has_its_name_alone_in_any_case,
    b21_agents_report_the_version_that_clients_know,
    x05_polyaxons_delete_turns_a_registration_away,
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
    for (body, key) in [
        (json!({"user": {"username": 7}}), "user.username: invalid type"),
        (
            json!({"user": {"agentUserGroup": {"agentUid": 5001.5}}}),
            "agentUserGroup.agentUid: expected a whole number",
        ),
        (json!({"user": {"username": "x"}, "isHashed": "yes"}), "isHashed: invalid type"),
    ] {
        let text = admin.post("/api/v1/users").json(body).await.refused(400);
        assert!(text.contains(key), "KF12: {text}");
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
    let problems = web::undescribed();
    assert!(problems.is_empty(), "these say too little beside their handlers: {problems:#?}");
    let served = master.anon().get("/api/v1/openapi.json").await.ok();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["paths"]["/api/v1/users"]["post"]["operationId"], "post_users");
}

/// What is described as anything at all can't be held against an answer.
async fn b21_every_answer_has_a_shape_of_its_own(_: Database) {
    let document = web::document();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().expect("methods").iter().map(move |(method, operation)| (path, method, operation))
    });
    let mut seen = 0;
    for (path, method, operation) in operations {
        let answers = operation["responses"].as_object().expect("answers");
        assert!(!answers.contains_key("default"), "{method} {path} may answer anything");
        let done = answers.iter().find(|(status, _)| status.starts_with('2'));
        let (status, done) = done.unwrap_or_else(|| panic!("{method} {path} is never done"));
        let schema = &done["content"]["application/json"]["schema"];
        // The description doesn't describe itself; what is streamed is lines.
        if schema.is_null() || schema["type"] == "string" || path == "/api/v1/openapi.json" {
            continue;
        }
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let shape = name.map_or(schema, |name| &document["components"]["schemas"][name]);
        let says = ["properties", "additionalProperties", "oneOf", "anyOf", "allOf"];
        let says = says.iter().any(|key| shape.get(key).is_some());
        assert!(says, "{method} {path}, {status}: {shape} is anything");
        seen += 1;
    }
    assert!(seen > 100, "{seen} answers");
}

async fn a_list_is_no_object_on_any_row(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let name = admin.get(&admin.path()).await.ok()["user"]["username"].clone();
    admin.patch(&admin.path()).json(json!(["renamed-by-list"])).await.refused(400);
    for path in ["/api/v1/tokens", "/api/v1/groups", "/api/v1/users", "/api/v1/workspaces"] {
        let text = admin.post(path).json(json!([2, "48h", "x"])).await.refused(400);
        assert!(text.contains("where an object is expected"), "{path}: {text}");
    }
    let by_position = json!({"config": ["d", [], [null, []], [0], ["true"]]});
    let text = admin.post("/api/v1/commands").json(by_position).await.refused(400);
    assert!(text.contains("must be a map"), "{text}");
    let hidden = json!({"config": {"environment": [null, ["PASSWORD=hunter2"]]}});
    let text = admin.post("/api/v1/templates/t").json(hidden).await.refused(400);
    assert!(text.contains("environment must be a map"), "{text}");
    assert_eq!(admin.get(&admin.path()).await.ok()["user"]["username"], name);
}

async fn other_methods_are_refused_aloud_with_and_without_a_body(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for path in ["/api/v1/experiments", "/api/v1/master"] {
        for request in [admin.post(path), admin.post(path).json(json!({"config": {}}))] {
            let text = request.await.refused(405);
            assert_eq!(text, format!("POST {path} is not supported by this master"));
        }
    }
    let polyaxon = admin.delete("/api/v1/users/").json(json!({})).await.expect(405).json();
    assert_eq!(polyaxon["detail"], "DELETE /api/v1/users/ is not supported by this master");
}

async fn query_keys_come_in_either_spelling(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for name in ["Vision", "sound"] {
        admin.post("/api/v1/workspaces").json(json!({"name": name})).await.ok();
    }
    for key in ["nameCaseSensitive", "name_case_sensitive"] {
        let found = admin.get(&format!("/api/v1/workspaces?{key}=Vision")).await.ok();
        assert_eq!(found["workspaces"].as_array().map(Vec::len), Some(1), "{key}");
    }
    admin.run_true().await;
    for key in ["userIds", "user_ids"] {
        let found = admin.get(&format!("/api/v1/commands?{key}=99")).await.ok();
        assert_eq!(found["commands"], json!([]), "{key}");
    }
}

/// `determined-identity.md` section 1; where no address of Polyaxon's is the same.
async fn a_slash_at_the_end_says_nothing(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let made = admin.post("/api/v1/workspaces").json(json!({"name": "here"})).await.ok();
    let projects = format!("/api/v1/workspaces/{}/projects", made["workspace"]["id"]);
    admin.post(&format!("{projects}/")).json(json!({"name": "vision"})).await.ok();
    let found = admin.get(&format!("{projects}/?name=vision")).await.ok();
    assert_eq!(found["projects"].as_array().map(Vec::len), Some(1));
    admin.get(&format!("{projects}//")).await.expect(404);
    // What is no address is told in Polyaxon's words, whose addresses end so.
    let told = admin.get("/api/v1/me/nothing/at/all/").await.expect(404);
    assert!(told.text().contains("detail"), "{}", told.text());
}

/// KC8: the same row answers, with the same access, over the whole table; Polyaxon's client reaches its own, whatever the
/// account is called.
async fn r30_every_row_takes_a_slash_at_its_end(database: Database) {
    let master = TestMaster::start(database).await;
    let (anon, alice) = (master.anon(), master.user("alice").await);
    let ours = |row: &&web::Row| row.path.starts_with("/api/v1/") && !row.path.ends_with('/');
    for row in web::rows().iter().filter(ours).filter(|row| !matches!(row.access, web::Access::Agent)) {
        // Polyaxon's own `/api/v1/users/`.
        if (row.path, row.method.as_str()) == ("/api/v1/users", "GET") {
            continue;
        }
        let path = row.path.replace(['{', '}'], "");
        // What changes nothing is looked at with a right, too.
        for by_alice in if row.method == Method::GET { vec![false, true] } else { vec![false] } {
            let ask = |path: &str| {
                let request = anon.request(row.method.clone(), path);
                if by_alice {
                    request.header("authorization", &format!("Bearer {}", alice.token))
                } else {
                    request
                }
            };
            let (plain, slashed) = (ask(&path).await, ask(&format!("{path}/")).await);
            let of = |answer: &testkit::Response| (answer.status, answer.header("content-type").to_owned());
            assert_eq!(of(&plain), of(&slashed), "{} {path}: {}", row.method, slashed.text());
            let in_polyaxons_words = slashed.status >= 400 && slashed.text().contains("\"detail\"");
            assert!(slashed.status != 405 && !in_polyaxons_words, "{path}: {}", slashed.text());
        }
    }
    for row in web::rows().iter().filter(|row| row.path.starts_with("/api/v1/") && row.path.ends_with('/')) {
        let path = row.path.replace(['{', '}'], "");
        let answer = anon.request(row.method.clone(), &path).header("authorization", "Token none").await;
        assert!(answer.status != 404 && answer.status != 405, "{} {path}: {}", row.method, answer.text());
    }
    let agents = master.user("agents").await;
    let token = format!("Token {}", agents.token);
    let theirs = anon.get("/api/v1/agents/").header("authorization", &token).await.ok();
    assert!(theirs["results"].is_array(), "{theirs}");
    assert!(agents.get("/api/v1/agents/").await.ok()["agents"].is_array());
}

async fn containers_have_states_that_clients_know(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, mut agent) = (master.admin().await, master.agent("node").await);
    let states = async |task: &str| {
        let agents = admin.get("/api/v1/agents").await.ok();
        let containers = agents["agents"][0]["containers"].as_object().expect("a map").clone();
        let all = containers.values().map(|container| container["state"].clone());
        all.chain([admin.command(task).await["container"]["state"].clone()]).collect::<Vec<_>>()
    };
    let id = admin.run_true().await;
    let start = agent.next_start().await;
    assert_eq!(states(&id).await, ["STATE_STARTING", "STATE_STARTING"]);
    agent.started(start.allocation).await;
    soon("it runs", async { while admin.command(&id).await["state"] != "STATE_RUNNING" {} }).await;
    assert_eq!(states(&id).await, ["STATE_RUNNING", "STATE_RUNNING"]);
    admin.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
    agent.expect_kill(start.allocation).await;
    assert_eq!(admin.command(&id).await["state"], "STATE_TERMINATING");
    assert_eq!(states(&id).await, ["STATE_RUNNING", "STATE_RUNNING"]);
    agent.exit(start.allocation, 0).await;
    assert_eq!(states(&id).await, [json!(null)]);
}

async fn logs_of_elsewhere_are_not_here(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, mut agent) = (master.admin().await, master.agent("node").await);
    let task = master.task(&admin, &mut agent).await;
    let allocation = task.start.allocation;
    agent.send_log(allocation, domain::log::Source::Stdout, domain::time::Timestamp(7), b"hello\n").await;
    agent.exit(allocation, 0).await;
    let lines = async |query: &str| {
        let answer = admin.get(&format!("/api/v1/tasks/{}/logs?{query}", task.id())).await.expect(200);
        answer.text().matches("hello").count() > 0
    };
    for here in ["agentIds=node", "allocation_ids=x&rankIds=-1", "rankIds=-1", "levels=LOG_LEVEL_INFO"] {
        let here = here.replace("allocation_ids=x", &format!("allocation_ids={allocation}"));
        assert!(lines(&here).await, "{here}");
    }
    for elsewhere in ["agentIds=other", "containerIds=zzz", "allocation_ids=zzz", "rankIds=5"] {
        assert!(!lines(elsewhere).await, "{elsewhere}");
    }
    let text = admin.get(&format!("/api/v1/tasks/{}/logs?levels=ERROR", task.id())).await.refused(400);
    assert!(text.contains("LOG_LEVEL_ERROR"), "{text}");
}

async fn x10_a_workspace_has_its_name_alone_in_any_case(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "Vis"})).await.ok();
    let other = bob.post("/api/v1/workspaces").json(json!({"name": "other"})).await.ok();
    let path = |made: &serde_json::Value| format!("/api/v1/workspaces/{}", made["workspace"]["id"]);
    let twins = [
        bob.post("/api/v1/workspaces").json(json!({"name": "vIS"})).await,
        bob.patch(&path(&other)).json(json!({"name": "VIS"})).await,
    ];
    for twin in twins {
        let text = twin.refused(409);
        assert!(text.contains("avoid names equal to other workspaces (case-insensitive)"), "{text}");
    }
    // Its own name may change its case.
    alice.patch(&path(&made)).json(json!({"name": "VIS"})).await.ok();
    // Polyaxon's projects also of one whose name a workspace had before there was an account of it.
    bob.post("/api/v1/workspaces").json(json!({"name": "Eve"})).await.ok();
    let eve = master.user("eve").await;
    for owner in [&alice, &bob, &eve] {
        let new = json!({"name": "p", "is_public": false});
        owner.post("/api/v1/projects/").json(new).await.expect(201);
    }
}

async fn b21_agents_report_the_version_that_clients_know(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, _agent) = (master.admin().await, master.agent("node").await);
    let agent = &admin.get("/api/v1/agents").await.ok()["agents"][0];
    assert_eq!((&agent["version"], agent["musterVersion"].is_string()), (&json!("0.38.1"), true));
    let told = admin.post("/api/v1/agents/node/slots/9/disable").await.refused(404);
    assert_eq!(told, "agent 'node' has no slot 9");
}

async fn x05_polyaxons_delete_turns_a_registration_away(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    master.pending("zoe").await;
    alice.delete("/api/v1/users/delete/zoe/").await.expect(403);
    admin.delete("/api/v1/users/delete/zoe/").await.expect(204);
    // The name is free again, as after a rejection.
    master.register("zoe").await.ok();
}
