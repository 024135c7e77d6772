//! What of a configuration its owner alone sees, on every way out (A10).

use domain::log::Source;
use domain::time::Timestamp;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(
    a10_secrets_of_a_task_are_its_owners_alone,
    a10_what_was_masked_is_refused_when_it_comes_back,
    a10_a_template_with_secrets_is_its_owners,
    a10_the_installations_defaults_are_masked,
    a10_a_task_that_prints_its_token_gives_it_to_nobody,
);

/// With something in every place that can hold a secret. All are called `canary`.
fn config() -> Value {
    json!({
        "entrypoint": ["train", "--api-key", "canary-1", "HF_TOKEN=canary-2"],
        "environment": {
            "environment_variables": ["FOO=canary-3", "BARE"],
            "registry_auth": {"username": "robot", "password": "canary-4"},
        },
        "pbs": {"access_key": "canary-5", "queue": "gpu"},
        "slurm": {"options": [{"secret_key": "canary-6"}]},
    })
}

async fn a10_secrets_of_a_task_are_its_owners_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob, admin) = (master.user("alice").await, master.user("bob").await, master.admin().await);
    let made = alice.post("/api/v1/commands").json(json!({ "config": config() })).await.ok();
    let id = made["command"]["id"].as_str().expect("an id").to_owned();
    let paths = [
        format!("/api/v1/commands/{id}"),
        "/api/v1/commands".to_owned(),
        "/api/v1/tasks".to_owned(),
        format!("/api/v1/tasks/{id}"),
        "/api/v1/job-queues-v2".to_owned(),
        format!("/commands/{id}"),
        "/commands?mine=0".to_owned(),
        "/api/v1/audit?limit=100".to_owned(),
        "/api/v1/audit/export".to_owned(),
    ];
    for viewer in [&bob, &admin] {
        for path in &paths {
            let page = path.starts_with("/commands");
            let answer = if page { viewer.in_browser().get(path).await } else { viewer.get(path).await };
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("canary"), "{path}: {text}");
            assert!(!path.contains(&id) || answer.status == 200, "{path}");
        }
        let seen = viewer.get(&paths[0]).await.ok()["config"].clone();
        assert_eq!(seen["environment"]["environment_variables"]["cpu"], json!(["FOO=********", "BARE"]));
        assert_eq!(seen["entrypoint"], json!(["train", "--api-key", "********", "HF_TOKEN=********"]));
        assert_eq!((&seen["pbs"], &seen["slurm"]), (&json!({"queue": "gpu"}), &json!({"options": [{}]})));
    }
    // The owner sees all but what nobody does, also by a token for reading.
    let (reader, _) = alice.by_token(json!({"scope": "read"})).await;
    for own in [
        made["config"].clone(),
        alice.get(&paths[0]).await.ok()["config"].clone(),
        reader.get(&paths[0]).await.ok()["config"].clone(),
    ] {
        assert_eq!(own["environment"]["environment_variables"]["cpu"], json!(["FOO=canary-3", "BARE"]));
        assert_eq!(own["pbs"]["access_key"], "canary-5");
        assert_eq!(own["entrypoint"], config()["entrypoint"]);
        assert_eq!(own["environment"].get("registry_auth"), None, "sent back to nobody");
    }
    // What runs has it all.
    let mut agent = master.agent("node").await;
    let start = agent.next_start().await;
    assert!(start.env.contains(&("FOO".to_owned(), "canary-3".to_owned())));
}

async fn a10_what_was_masked_is_refused_when_it_comes_back(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let id = alice.run(config()).await;
    let seen = bob.get(&format!("/api/v1/commands/{id}")).await.ok()["config"].clone();
    let text = bob.post("/api/v1/commands").json(json!({ "config": seen })).await.refused(400);
    assert!(text.contains("entrypoint: the value was masked"), "{text}");
    let variables = json!({"entrypoint": ["true"], "environment": seen["environment"]});
    let text = bob.post("/api/v1/commands").json(json!({ "config": variables })).await.refused(400);
    assert!(text.contains("environment.environment_variables.cpu: FOO"), "{text}");
    let text = bob.post("/api/v1/templates/t").json(json!({ "config": variables })).await.refused(400);
    assert!(text.contains("environment.environment_variables.cpu: FOO"), "{text}");
}

async fn a10_a_template_with_secrets_is_its_owners(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob, admin) = (master.user("alice").await, master.user("bob").await, master.admin().await);
    let made = alice.post("/api/v1/templates/t").json(json!({ "config": config() })).await.ok();
    assert_eq!(made["template"]["config"]["pbs"]["access_key"], "canary-5");
    for viewer in [&bob, &admin] {
        for path in ["/api/v1/templates", "/api/v1/templates/t", "/api/v1/audit?limit=100"] {
            let text = String::from_utf8_lossy(&viewer.get(path).await.body).into_owned();
            assert!(!text.contains("canary"), "{path}: {text}");
        }
        let run = json!({"config": {}, "templateName": "t"});
        let text = viewer.post("/api/v1/commands").json(run).await.refused(403);
        assert!(text.contains("only its owner can use it"), "{text}");
    }
    let run = json!({"config": {}, "templateName": "t"});
    alice.post("/api/v1/commands").json(run).await.ok();
    // What holds none is everybody's.
    alice.post("/api/v1/templates/plain").json(json!({"config": {"resources": {"slots": 0}}})).await.ok();
    let run = json!({"config": {"entrypoint": ["true"]}, "templateName": "plain"});
    bob.post("/api/v1/commands").json(run).await.ok();
    // A new name hides nothing from the owner, and shows nothing to who gives it.
    let renamed = admin.patch("/api/v1/template/rename").json(json!({"oldName": "t", "newName": "u"})).await;
    assert!(!renamed.ok().to_string().contains("canary"));
    let own = alice.get("/api/v1/templates/u").await.ok();
    assert_eq!(own["template"]["config"]["environment"]["environment_variables"][0], "FOO=canary-3");
}

async fn a10_the_installations_defaults_are_masked(database: Database) {
    let defaults = json!({"environment": config()["environment"]});
    let master = TestMaster::configured(database, |config| config.task_container_defaults = defaults).await;
    let text = master.admin().await.get("/api/v1/master/config").await.ok().to_string();
    assert!(text.contains("FOO=********") && !text.contains("canary"), "{text}");
}

async fn a10_a_task_that_prints_its_token_gives_it_to_nobody(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (run, token) = (task.start.allocation, task.start.token.clone());
    assert_eq!(task.env("DET_USER_TOKEN"), Some(token.as_str()));
    task.get("/api/v1/me").await.expect(200);
    let (one, two) = token.split_at(20);
    for part in [format!("whole {token}\nin parts {one}"), format!("{two} end\nmst_cost\n")] {
        agent.send_log(run, Source::Stdout, Timestamp(1), part.as_bytes()).await;
    }
    agent.send_log(run, Source::Stderr, Timestamp(1), alice.token.as_bytes()).await;
    agent.exit(run, 0).await;
    let log = bob.log(&task.id()).await;
    let hidden = format!("mtt_{}", "*".repeat(43));
    assert!(log.contains(&format!("whole {hidden}")) && log.contains(&format!("in parts {hidden} end")));
    assert!(log.contains(&"mst_cost".to_owned()), "what only looks like it stays: {log:?}");
    let output = bob.get(&format!("/api/v1/tasks/{}/output", task.id())).await.expect(200).body;
    let output = String::from_utf8_lossy(&output).into_owned();
    for part in [two, &alice.token[..24], &alice.token[24..]] {
        assert!(!output.contains(part) && !log.concat().contains(part), "{part}");
    }
}
