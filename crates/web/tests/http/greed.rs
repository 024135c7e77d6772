//! What one account may have and one request may hold (A6).

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, on_sqlite};

on_sqlite!(
    a06_what_is_too_large_is_refused_with_size_and_limit,
    a06_a_refused_configuration_costs_no_more_than_its_size,
    a06_a_launch_with_too_many_files_is_refused_while_it_is_read,
    a06_queries_have_a_limit,
    a06_small_elements_do_not_become_large_ones,
    a06_no_list_in_a_body_is_without_a_bound,
    r47_one_accounts_changes_wait_behind_its_own,
);
on_both_databases!(
    a06_tasks_of_an_account_have_a_limit,
    a06_templates_workspaces_and_tokens_of_an_account_have_a_limit,
    a06_the_oldest_session_ends_when_there_are_too_many,
);

async fn a06_what_is_too_large_is_refused_with_size_and_limit(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let zeros = |n: usize| json!({"entrypoint": ["true"], "pbs": {"a": vec![0; n]}});
    let large = zeros(40_000);
    let expected = format!("it has {} bytes, and 65536 is the limit", large.to_string().len());
    let launch = async |config| alice.post("/api/v1/commands").json(json!({ "config": config })).await;
    assert!(launch(large.clone()).await.refused(400).contains(&expected));
    for answer in [
        alice.post("/api/v1/templates/t").json(json!({ "config": large })).await,
        alice.put("/api/v1/templates/t").json(json!({ "config": large })).await,
    ] {
        assert!(answer.refused(400).contains(&expected));
    }
    alice.post("/api/v1/templates/t").json(json!({ "config": {} })).await.ok();
    assert!(alice.patch("/api/v1/templates/t").json(large).await.refused(400).contains(&expected));
    let deep = format!("{{\"config\": {{\"pbs\": {{\"a\": {}{} }} }} }}", "[".repeat(60), "]".repeat(60));
    assert!(alice.post("/api/v1/commands").body(deep).await.refused(400).contains("32 levels deep"));
    let endless = format!("{{\"config\": {}", "[".repeat(100_000));
    alice.post("/api/v1/commands").body(endless).await.refused(400);
    let keys: serde_json::Map<_, _> = (0..5000).map(|n| (format!("k{n}"), json!(0))).collect();
    let many = json!({"entrypoint": ["true"], "pbs": keys});
    assert!(launch(many).await.refused(400).contains("keys, and 4096 is the limit"));
    // Each fits, and both together don't.
    alice.patch("/api/v1/templates/t").json(json!({"pbs": {"b": vec![0; 30_000]}})).await.ok();
    let body =
        json!({"config": {"entrypoint": ["true"], "slurm": {"a": vec![0; 30_000]}}, "templateName": "t"});
    alice.post("/api/v1/commands").json(body).await.ok();
    let mut small =
        TestMaster::configured(database, |config| config.limits.merged_config_bytes = 70_000).await;
    let bob = small.user("bob").await;
    bob.post("/api/v1/templates/t").json(json!({"config": {"pbs": {"b": vec![0; 30_000]}}})).await.ok();
    let body =
        json!({"config": {"entrypoint": ["true"], "slurm": {"a": vec![0; 30_000]}}, "templateName": "t"});
    let text = bob.post("/api/v1/commands").json(body).await.refused(400);
    assert!(
        text.contains("with template and defaults it has") && text.contains("70000 is the limit"),
        "{text}"
    );
    small.stop().await;
}

async fn a06_a_refused_configuration_costs_no_more_than_its_size(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let body = format!("{{\"config\": {{\"pbs\": {{\"a\": [{}0]}}}}}}", "0,".repeat(8 << 20));
    let before = super::logs::memory().0;
    let text = alice.post("/api/v1/commands").body(body).await.refused(400);
    assert!(text.contains("65536 is the limit"), "{text}");
    let (_, peak) = super::logs::memory();
    // The body in this process's client, in its server, and the text of the configuration.
    assert!(peak - before < 150 << 20, "{} MiB for 16 MiB", (peak - before) >> 20);
}

async fn a06_a_launch_with_too_many_files_is_refused_while_it_is_read(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let body = format!("{{\"files\": [{}{{}}]}}", "{},".repeat(4 << 20));
    let before = super::logs::memory().0;
    let text = alice.post("/api/v1/commands").body(body).await.refused(400);
    assert!(text.contains("100000"), "{text}");
    let (_, peak) = super::logs::memory();
    assert!(peak - before < 120 << 20, "{} MiB for 12 MiB", (peak - before) >> 20);
}

/// MB2: each of these took tens of times its size, thirty times at once.
async fn a06_small_elements_do_not_become_large_ones(database: Database) {
    const AT_ONCE: usize = 30;
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let many = |element: &str, count: usize| vec![element; count].join(",");
    let tags = format!("{{\"name\": \"p\", \"tags\": [{}]}}", many("\"\"", 80_000));
    let storage = format!("{{\"checkpointStorageConfig\": [{}]}}", many("[0]", 60_000));
    let other = format!("{{\"name\": \"w\", \"other\": [{}]}}", many("[0]", 60_000));
    for (who, path, body) in [
        (&alice, "/api/v1/users/setting", format!("{{\"settings\": [{}]}}", many("{}", 690_000))),
        (&alice, "/api/v1/commands", format!("{{\"files\": [{}]}}", many("{}", 99_999))),
        (&alice, "/api/v1/commands", format!("{{\"workspaceId\": [{}]}}", many("[0]", 500_000))),
        (&admin, "/api/v1/workspaces/1/projects", tags),
        (&admin, "/api/v1/workspaces", storage),
        (&admin, "/api/v1/workspaces", other),
    ] {
        let sent = AT_ONCE * body.len();
        let requests: Vec<_> = (0..AT_ONCE).map(|_| who.post(path).body(body.clone())).collect();
        let before = super::logs::memory().0;
        let answers = future::join_all(requests.into_iter().map(async |request| request.await.status)).await;
        let (_, peak) = super::logs::memory();
        assert!(answers.iter().all(|status| [200, 400, 409, 429].contains(status)), "{path}: {answers:?}");
        let most = (128 << 20) + 3 * sent as u64;
        let more = peak.saturating_sub(before);
        assert!(more < most, "{path}: {} MiB for {} MiB", more >> 20, sent >> 20);
    }
}

/// What in a schema has no bound, by its place.
fn unbounded(document: &Value, schema: &Value, place: &str, found: &mut Vec<String>) {
    assert!(place.len() < 400, "{place}: without end");
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/")) {
        return unbounded(document, &document["components"]["schemas"][name], place, found);
    }
    let any = ["anyOf", "oneOf", "allOf"].map(|key| schema[key].as_array().into_iter().flatten());
    let mut any = any.into_iter().flatten().peekable();
    if any.peek().is_none() && schema.get("type").is_none() && schema.get("enum").is_none() {
        found.push(format!("{place}: anything"));
    }
    any.for_each(|one| unbounded(document, one, place, found));
    if let Some(items) = schema.get("items") {
        if schema.get("maxItems").is_none() {
            found.push(format!("{place}: a list"));
        }
        unbounded(document, items, &format!("{place}[]"), found);
    }
    if schema.get("additionalProperties").is_some_and(|more| *more != json!(false)) {
        found.push(format!("{place}: a map"));
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        unbounded(document, value, &format!("{place}.{key}"), found);
    }
}

/// MB2: a list in a body is `api::few::Few`, which is counted while it is read.
async fn a06_no_list_in_a_body_is_without_a_bound(database: Database) {
    let master = TestMaster::start(database).await;
    let document = master.anon().get("/api/v1/openapi.json").await.ok();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            for (_, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                unbounded(&document, &content["schema"], &format!("{method} {path}"), &mut found);
            }
        }
    }
    // Configurations are text until their size was looked at; of what isn't there nothing is kept (`wire::Unkept`).
    let kept = [
        "patch /api/v1/templates/{template}: ",
        ".config: ",
        ".checkpointStorageConfig: ",
        ".clusterNamespaceMeta: ",
        ".clusterQuotaPairs: ",
    ];
    found.retain(|place| !kept.iter().any(|key| place.contains(key)));
    assert_eq!(found, Vec::<String>::new());
}

/// MB3: whoever asks for many changes at once has few before the one writer.
async fn r47_one_accounts_changes_wait_behind_its_own(database: Database) {
    const MANY: usize = 27;
    let master = TestMaster::start(database).await;
    let (bob, carol) = (master.user("bob").await, master.user("carol").await);
    let writer = master.store().write().await.expect("a transaction");
    let done = AtomicUsize::new(0);
    let many = future::join_all((0..MANY).map(async |n| {
        let setting = json!({"settings": [{"key": format!("k{n}"), "value": "1"}]});
        bob.post("/api/v1/users/setting").json(setting).await.ok();
        done.fetch_add(1, Ordering::Relaxed);
    }));
    let one = async {
        // They are there by then.
        for _ in 0..MANY {
            carol.get("/api/v1/me").await.ok();
        }
        let change = carol.patch(&carol.path()).json(json!({"displayName": "Carol"}));
        let change = async { change.await.ok() };
        let release = async {
            carol.get("/api/v1/me").await.ok();
            drop(writer);
        };
        tokio::join!(change, release);
        done.load(Ordering::Relaxed)
    };
    let (_, before) = tokio::join!(many, one);
    assert!(before < MANY / 2, "{before} of another account's {MANY} were first");
}

async fn a06_queries_have_a_limit(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for (query, part) in [
        ("x".repeat(13_000), "13000 bytes, and 12288 is the limit"),
        ("a&".repeat(1001), "more than 1000 parameters"),
        ("users=a&".repeat(251), "too many at once"),
    ] {
        let text = alice.get(&format!("/api/v1/commands?{query}")).await.refused(400);
        assert!(text.contains(part), "{text}");
    }
}

async fn a06_tasks_of_an_account_have_a_limit(database: Database) {
    let limits = |config: &mut master::Config| (config.limits.living_tasks, config.limits.tasks) = (2, 3);
    let master = TestMaster::configured(database, limits).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let first = alice.run_true().await;
    alice.run_true().await;
    let body = json!({"config": {"entrypoint": ["true"]}});
    let launch = async || alice.post("/api/v1/commands").json(body.clone()).await;
    let text = launch().await.refused(400);
    assert!(text.contains("2 tasks that aren't over, and 2 is the limit"), "{text}");
    bob.run_true().await;
    alice.post(&format!("/api/v1/commands/{first}/kill")).await.ok();
    let third = alice.run_true().await;
    alice.post(&format!("/api/v1/commands/{third}/kill")).await.ok();
    let text = launch().await.refused(400);
    assert!(text.contains("made 3 tasks, which is the limit") && text.contains("limits.tasks"), "{text}");
}

async fn a06_templates_workspaces_and_tokens_of_an_account_have_a_limit(database: Database) {
    let limits = |config: &mut master::Config| {
        let limits = &mut config.limits;
        (limits.templates, limits.workspaces, limits.tokens) = (1, 1, 1);
    };
    let master = TestMaster::configured(database, limits).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    alice.post("/api/v1/workspaces").json(json!({"name": "a"})).await.ok();
    let text = alice.post("/api/v1/workspaces").json(json!({"name": "b"})).await.refused(400);
    assert!(text.contains("1 workspaces, and 1 is the limit"), "{text}");
    bob.post("/api/v1/workspaces").json(json!({"name": "b"})).await.ok();
    let template = json!({"config": {}});
    alice.post("/api/v1/templates/a").json(template.clone()).await.ok();
    let text = alice.post("/api/v1/templates/b").json(template.clone()).await.refused(400);
    assert!(text.contains("1 templates, and 1 is the limit"), "{text}");
    bob.post("/api/v1/templates/b").json(template).await.ok();
    let new = json!({"description": "ci"});
    let made = alice.post("/api/v1/tokens").json(new.clone()).await.ok();
    let text = alice.post("/api/v1/tokens").json(new.clone()).await.refused(400);
    assert!(text.contains("1 access tokens, and 1 is the limit"), "{text}");
    let path = format!("/api/v1/tokens/{}", made["tokenId"]);
    alice.patch(&path).json(json!({"setRevoked": true})).await.ok();
    alice.post("/api/v1/tokens").json(new).await.ok();
}

async fn a06_the_oldest_session_ends_when_there_are_too_many(database: Database) {
    let master = TestMaster::configured(database, |config| config.limits.sessions = 3).await;
    let bob = master.user("bob").await;
    let first = master.user("alice").await;
    let second = master.log_in("alice").await;
    // It is known to the cache, and has a stream open.
    let id = first.run_true().await;
    let stream = first.follow(&id).await;
    let third = master.log_in("alice").await;
    first.get("/api/v1/me").await.expect(200);
    let fourth = master.log_in("alice").await;
    first.get("/api/v1/me").await.expect(401);
    assert!(stream.closes_within(testkit::DEADLINE).await, "its streams end with it");
    for session in [&second, &third, &fourth, &bob] {
        session.get("/api/v1/me").await.expect(200);
    }
}
