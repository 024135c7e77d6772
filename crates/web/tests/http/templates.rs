//! Templates: kept, seen, laid under tasks.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a_template_is_laid_between_defaults_and_request,
    b21_a_template_holds_any_part_of_any_kind_and_a_command_takes_its_own,
    templates_are_made_changed_renamed_and_deleted,
    x10_a_template_is_seen_where_its_workspace_is,
);

async fn run(user: &User, template: &str, config: Value) -> testkit::Response {
    user.post("/api/v1/commands").json(json!({"config": config, "template_name": template})).await
}

async fn a_template_is_laid_between_defaults_and_request(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let template = json!({
        "description": "from the template",
        "resources": {"slots": 0, "priority": 7},
        "environment": {"environment_variables": ["A=template", "B=template"]},
        "bind_mounts": [{"host_path": "/a", "container_path": "/x"}],
        "work_dir": null,
    });
    alice.post("/api/v1/templates/t").json(json!({"name": "t", "config": template})).await.ok();
    let request = json!({
        "entrypoint": ["true"],
        "resources": {"priority": 9},
        "environment": {"environment_variables": {"cpu": ["B=request"]}},
        "bind_mounts": [{"host_path": "/b", "container_path": "/x"}],
    });
    let made = run(&alice, "t", request).await.ok();
    let config = &made["config"];
    assert_eq!(made["command"]["description"], "from the template");
    assert_eq!((&config["resources"]["slots"], &config["resources"]["priority"]), (&json!(0), &json!(9)));
    let variables = &config["environment"]["environment_variables"];
    assert_eq!(variables["cpu"], json!(["A=template", "B=template", "B=request"]));
    assert_eq!(variables["cuda"], json!(["A=template", "B=template"]));
    assert_eq!(config["bind_mounts"][0]["host_path"], "/b");
    assert_eq!(config["bind_mounts"].as_array().map(Vec::len), Some(1));
    // An entrypoint may come from a template alone.
    alice.post("/api/v1/templates/whole").json(json!({"config": {"entrypoint": ["id"]}})).await.ok();
    let made = run(&alice, "whole", json!({})).await.ok();
    assert_eq!(made["config"]["entrypoint"], json!(["id"]));
    let text = run(&alice, "nothing", json!({"entrypoint": ["true"]})).await.refused(404);
    assert_eq!(text, "template 'nothing' not found");
    run(&alice, "", json!({"entrypoint": ["true"]})).await.ok();
}

async fn b21_a_template_holds_any_part_of_any_kind_and_a_command_takes_its_own(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let whole = json!({
        "name": "mnist",
        "entrypoint": "python3 train.py",
        "hyperparameters": {"lr": 0.1},
        "resources": {"slots_per_trial": 8, "shm_size": "1.5g", "slots": 0},
    });
    alice.post("/api/v1/templates/t").json(json!({"config": whole})).await.ok();
    assert_eq!(alice.get("/api/v1/templates/t").await.ok()["template"]["config"], whole, "nothing is lost");
    let config = &run(&alice, "t", json!({"entrypoint": ["true"]})).await.ok()["config"];
    assert_eq!((&config["entrypoint"], &config["name"]), (&json!(["true"]), &Value::Null));
    assert_eq!(
        (&config["resources"]["slots"], &config["resources"]["shm_size"]),
        (&json!(0), &json!("1.5g"))
    );
    // A line of an experiment's is a line for the shell.
    assert_eq!(run(&alice, "t", json!({})).await.ok()["config"]["entrypoint"], json!(["python3 train.py"]));
}

async fn templates_are_made_changed_renamed_and_deleted(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let made =
        alice.post("/api/v1/templates/t").json(json!({"config": {"debug": true}, "workspaceId": 0})).await;
    let expected = json!({
        "name": "t", "config": {"debug": true}, "workspaceId": 1, "userId": alice.id, "username": "alice",
    });
    assert_eq!(made.ok()["template"], expected);
    let twice = bob.post("/api/v1/templates/t").json(json!({"config": {}})).await;
    assert_eq!(twice.refused(409), "a template named 't' already exists");
    for (config, part) in [
        (json!({"enviroment": {}}), "invalid template: unknown field `enviroment`"),
        (json!({"resources": {"slots": -1}}), "-1"),
        (json!([1]), "must be a map"),
        (json!("text"), "must be a map"),
    ] {
        let body = json!({"config": config});
        let text = alice.post("/api/v1/templates/bad").json(body.clone()).await.refused(400);
        assert!(text.contains(part), "{text}");
        assert!(alice.put("/api/v1/templates/t").json(body).await.refused(400).contains(part));
        let part = if config.is_array() { "an object is expected" } else { part };
        assert!(alice.patch("/api/v1/templates/t").json(config).await.refused(400).contains(part));
    }
    for bad in ["%20", "a%2Fb", "..%2F", "a%0Ab", &"x".repeat(81)] {
        let answer = alice.post(&format!("/api/v1/templates/{bad}")).json(json!({"config": {}})).await;
        assert!(matches!(answer.status, 400 | 404), "{bad}: {}", answer.status);
    }
    let refusal = "only the owner of a template and administrators of its workspace can change it";
    assert_eq!(bob.patch("/api/v1/templates/t").json(json!({})).await.refused(403), refusal);
    assert_eq!(bob.put("/api/v1/templates/t").json(json!({"config": {}})).await.refused(403), refusal);
    assert_eq!(bob.delete("/api/v1/templates/t").await.refused(403), refusal);
    let changed = admin.patch("/api/v1/templates/t").json(json!({"work_dir": "/x"})).await.ok();
    assert_eq!(changed["template"]["config"], json!({"work_dir": "/x"}));
    alice.put("/api/v1/templates/u").json(json!({"config": {}})).await.ok();
    let rename = |from: &str, to: &str| json!({"oldName": from, "newName": to});
    alice.patch("/api/v1/template/rename").json(rename("t", "u")).await.refused(409);
    alice.patch("/api/v1/template/rename").json(rename("t", "v")).await.ok();
    let list = bob.get("/api/v1/templates?orderBy=ORDER_BY_DESC").await.ok();
    let names: Vec<_> =
        list["templates"].as_array().expect("a list").iter().map(|each| each["name"].clone()).collect();
    assert_eq!(names, ["v", "u"]);
    assert_eq!(bob.get("/api/v1/templates?name=u").await.ok()["pagination"]["total"], 1);
    assert_eq!(bob.get("/api/v1/templates?workspaceIds=2").await.ok()["pagination"]["total"], 0);
    bob.get("/api/v1/templates?workspaceIds=x").await.refused(400);
    assert_eq!(alice.delete("/api/v1/templates/v").await.ok(), json!({}));
    assert_eq!(alice.get("/api/v1/templates/v").await.refused(404), "template 'v' not found");
}

async fn x10_a_template_is_seen_where_its_workspace_is(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "w", "private": true})).await.ok();
    let id = made["workspace"]["id"].as_i64().expect("an id");
    alice.post("/api/v1/templates/t").json(json!({"config": {}, "workspaceId": id})).await.ok();
    let config = json!({"entrypoint": ["true"]});
    let total = async || bob.get("/api/v1/templates").await.ok()["pagination"]["total"].clone();
    assert_eq!(total().await, 0);
    run(&bob, "t", config.clone()).await.refused(404);
    let member = json!({"userId": bob.id, "role": "viewer"});
    alice.put(&format!("/api/v1/workspaces/{id}/members")).json(member).await.ok();
    assert_eq!(total().await, 1);
    run(&bob, "t", config).await.ok();
    bob.post("/api/v1/templates/mine").json(json!({"config": {}, "workspaceId": id})).await.refused(403);
}
