//! What is done with what a configuration says, and what is said where nothing is (B21): warnings, sizes, hooks, defaults
//! of pools.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    b21_what_has_no_effect_is_said_in_the_answer_and_first_in_the_log,
    b21_what_the_installation_sets_is_not_its_users_affair,
    b21_sizes_of_shared_memory_have_determineds_forms,
    a_startup_hook_goes_to_the_agent_and_a_pools_defaults_lie_over_the_installations,
);

fn keys(made: &Value) -> Vec<&str> {
    let warnings = made["configWarnings"].as_array().expect("a list");
    warnings.iter().filter_map(|warning| warning["key"].as_str()).collect()
}

async fn b21_what_has_no_effect_is_said_in_the_answer_and_first_in_the_log(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let template =
        json!({"config": {"slurm": {"gpu_type": "a100"}, "resources": {"weight": 3}, "searcher": {}}});
    alice.post("/api/v1/templates/t").json(template).await.ok();
    let config = json!({
        "entrypoint": ["true"],
        "environment": {"image": "lab/env:1", "force_pull_image": false, "environment_variables": ["A=1"]},
        "resources": {"slots": 0, "weight": 1, "shm_size": "64m", "priority": 50},
        "idle_timeout": "30m",
        "debug": false,
    });
    let made =
        alice.post("/api/v1/commands").json(json!({"config": config, "template_name": "t"})).await.ok();
    assert_eq!(made["warnings"], json!([]), "Determined's clients fail at words that they don't know");
    assert_eq!(keys(&made), ["environment.image", "idle_timeout", "slurm"]);
    let said = "environment.image has no effect: tasks run with the programs of their agent's machine, not in a container";
    assert_eq!(made["configWarnings"][0]["message"], said);

    let id = made["command"]["id"].as_str().expect("an id");
    alice.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
    let log = alice.log(id).await;
    assert_eq!(log[0], format!("warning: {said}"));
    assert!(log[2].starts_with("warning: slurm has no effect: "), "{log:?}");
    assert!(log[3].starts_with("Scheduling "), "{log:?}");

    let plain = json!({"config": {"entrypoint": ["true"], "environment": {"image": null}}});
    assert_eq!(alice.post("/api/v1/commands").json(plain).await.ok()["configWarnings"], json!([]));
    let unknown = json!({"config": {"entrypoint": ["true"], "environment": {"podman": {}}}});
    let text = alice.post("/api/v1/commands").json(unknown).await.refused(400);
    assert!(text.contains("podman"), "{text}");
}

async fn b21_what_the_installation_sets_is_not_its_users_affair(database: Database) {
    let defaults = json!({"environment": {"image": "lab/env:1"}});
    let master = TestMaster::configured(database, |config| config.task_container_defaults = defaults).await;
    let alice = master.user("alice").await;
    let config = json!({"config": {"entrypoint": ["true"], "pbs": {"slots_per_node": 2}}});
    let made = alice.post("/api/v1/commands").json(config).await.ok();
    assert_eq!(made["config"]["environment"]["image"], "lab/env:1");
    assert_eq!(keys(&made), ["pbs"]);
}

async fn b21_sizes_of_shared_memory_have_determineds_forms(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    for (size, bytes) in [
        (json!("1.5g"), Some(3 << 29)),
        (json!("64m"), Some(64 << 20)),
        (json!("2 GiB"), Some(2 << 30)),
        (json!("1048576"), Some(1 << 20)),
        (json!(1_048_576), Some(1 << 20)),
        (json!(1e6), Some(1_000_000)),
        (json!(null), None),
        (json!(0), None),
    ] {
        let config = json!({"entrypoint": ["true"], "resources": {"slots": 0, "shm_size": size}});
        let id = alice.run(config).await;
        let start = agent.accept_start().await;
        assert_eq!((start.allocation.task.to_string(), start.shm_bytes), (id, bytes), "{size}");
        agent.exit(start.allocation, 0).await;
    }
    for size in [json!("much"), json!("-1"), json!(-1), json!([1]), json!("1.5.2g"), json!(true)] {
        let config = json!({"config": {"entrypoint": ["true"], "resources": {"shm_size": size}}});
        let text = alice.post("/api/v1/commands").json(config).await.refused(400);
        assert!(text.contains("resources.shm_size: ") && text.contains("1.5g"), "{text}");
    }
}

async fn a_startup_hook_goes_to_the_agent_and_a_pools_defaults_lie_over_the_installations(
    database: Database,
) {
    let yaml = "task_container_defaults: {startup_hook: module load cuda, work_dir: /opt}\n\
                resource_pools: [{pool_name: default, task_container_defaults: {startup_hook: module load rocm}}]\n";
    let given = master::Config::parse(yaml, "master.yaml").expect("valid");
    let master = TestMaster::configured(database, |config| {
        config.task_container_defaults = given.task_container_defaults;
        config.resource_pools = given.resource_pools;
    })
    .await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    for (resources, hook) in
        [(json!({}), None), (json!({"resource_pool": "default"}), None), (json!({}), Some("export A=1"))]
    {
        alice.run(json!({"entrypoint": ["true"], "resources": resources, "startup_hook": hook})).await;
        let start = agent.accept_start().await;
        assert_eq!(start.startup_hook.as_deref(), Some(hook.unwrap_or("module load rocm")));
        assert_eq!(start.work_dir.as_deref(), Some("/opt"));
        agent.exit(start.allocation, 0).await;
    }
    let shown = master.admin().await.get("/api/v1/master/config").await.ok();
    assert_eq!(shown["config"]["resource_pools"][0]["pool_name"], "default");
    let long = json!({"config": {"entrypoint": ["true"], "startup_hook": "#".repeat(65_537)}});
    let text = alice.post("/api/v1/commands").json(long).await.refused(400);
    assert!(text.contains("65536") || text.contains("65537"), "{text}");
}
