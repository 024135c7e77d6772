//! Configuration policies: who sets and sees them, and what they do to tasks.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    policies_come_back_as_they_were_set,
    tasks_get_no_more_than_they_may_have,
    what_holds_everywhere_counts_more_than_a_workspaces_own,
    what_is_no_policy_is_refused,
    who_sets_and_who_sees_them,
);

const GLOBAL: &str = "/api/v1/config-policies/global";

fn at(place: i64) -> String {
    format!("/api/v1/config-policies/workspaces/{place}")
}

async fn workspace(owner: &User, name: &str, private: bool) -> i64 {
    let made = owner.post("/api/v1/workspaces").json(json!({"name": name, "private": private})).await.ok();
    made["workspace"]["id"].as_i64().expect("an id")
}

async fn set(who: &User, path: &str, policies: &str) -> testkit::Response {
    who.put(path).json(json!({"configPolicies": policies, "workloadType": "is in the path"})).await
}

async fn policies_come_back_as_they_were_set(database: Database) {
    let mut master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let path = format!("{GLOBAL}/EXPERIMENT");
    assert_eq!(admin.get(&path).await.ok(), json!({"configPolicies": {}}));
    let yaml = "invariant_config:\n  resources: {slots_per_trial: 2}\n  labels: [a]\nconstraints:\n  priority_limit: 9\n";
    let sent = json!({
        "invariant_config": {"resources": {"slots_per_trial": 2}, "labels": ["a"]},
        "constraints": {"priority_limit": 9},
    });
    assert_eq!(set(&admin, &path, yaml).await.ok(), json!({ "configPolicies": sent }));
    master.restart().await;
    let admin = master.admin().await;
    assert_eq!(admin.get(&path).await.ok(), json!({ "configPolicies": sent }));
    // Of the other kind, and of a workspace, there are none.
    for other in [format!("{GLOBAL}/NTSC"), format!("{}/EXPERIMENT", at(1))] {
        assert_eq!(admin.get(&other).await.ok(), json!({"configPolicies": {}}));
    }
    set(&admin, &path, r#"{"constraints": {"priority_limit": 8}}"#).await.ok();
    assert_eq!(admin.get(&path).await.ok()["configPolicies"], json!({"constraints": {"priority_limit": 8}}));
    for _ in 0..2 {
        assert_eq!(admin.delete(&path).await.ok(), json!({}));
    }
    assert_eq!(admin.get(&path).await.ok(), json!({"configPolicies": {}}));
    let entries = admin.get("/api/v1/audit?action=config_policies.").await.ok();
    let noted: Vec<_> = entries["entries"].as_array().expect("a list").iter().collect();
    let actions: Vec<_> = noted.iter().map(|entry| &entry["record"]["action"]).collect();
    assert_eq!(actions, ["config_policies.delete", "config_policies.set", "config_policies.set"]);
    let target = json!({"kind": "config policies", "id": "global EXPERIMENT", "name": ""});
    assert_eq!(noted[0]["record"]["target"], target);
    assert_eq!(noted[2]["record"]["after"]["policies"]["constraints"]["priority_limit"], 9);
}

async fn run(who: &User, place: i64, resources: Value) -> testkit::Response {
    let config = json!({"entrypoint": ["true"], "resources": resources});
    who.post("/api/v1/commands").json(json!({ "config": config, "workspaceId": place })).await
}

async fn tasks_get_no_more_than_they_may_have(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let _agent = master.agent("node").await;
    let lab = workspace(&alice, "lab", false).await;
    let path = format!("{}/NTSC", at(lab));
    set(&alice, &path, "constraints: {resources: {max_slots: 1}, priority_limit: 50}").await.ok();
    let resource = "exceeds limit set by admin [1]: submitted workload failed a resource constraint";
    for (resources, why) in [
        (json!({"slots": 2}), format!("failed constraint check: requested resources.slots [2] {resource}")),
        (
            json!({"slots": 1, "max_slots": 2}),
            format!("failed constraint check: requested resources.max_slots [2] {resource}"),
        ),
        (
            json!({"slots": 1, "priority": 49}),
            "failed constraint check: requested priority [49] exceeds limit set by admin [50]: submitted workload failed priority constraint"
                .to_owned(),
        ),
    ] {
        assert_eq!(run(&alice, lab, resources).await.refused(400), why);
    }
    let made = run(&alice, lab, json!({"slots": 1, "priority": 50})).await.ok();
    assert_eq!(made["command"]["priority"], 50);
    // Who names none gets the limit, where the usual one would be too urgent.
    let made = run(&alice, lab, json!({"slots": 1})).await.ok();
    assert_eq!(made["command"]["priority"], 50);
    let id = made["command"]["id"].as_str().expect("an id").to_owned();
    let more_urgent = |who: &User| {
        let (who, path) = (who.clone(), format!("/api/v1/commands/{id}/set_priority"));
        async move { who.post(&path).json(json!({"priority": 49})).await }
    };
    for who in [&alice, &admin] {
        let said = more_urgent(who).await.refused(400);
        assert!(said.starts_with("priority exceeds task config policy's priority_limit"), "{said}");
    }
    // Elsewhere they don't hold, and nowhere once they are gone.
    run(&alice, 1, json!({"slots": 2, "priority": 1})).await.ok();
    alice.delete(&path).await.ok();
    run(&alice, lab, json!({"slots": 2, "priority": 1})).await.ok();
    more_urgent(&alice).await.ok();
}

async fn what_holds_everywhere_counts_more_than_a_workspaces_own(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let _agent = master.agent("node").await;
    let lab = workspace(&alice, "lab", false).await;
    set(&alice, &format!("{}/NTSC", at(lab)), "constraints: {resources: {max_slots: 2}, priority_limit: 60}")
        .await
        .ok();
    set(&admin, &format!("{GLOBAL}/NTSC"), "constraints: {resources: {max_slots: 1}}").await.ok();
    run(&alice, lab, json!({"slots": 2})).await.refused(400);
    let made = run(&alice, lab, json!({"slots": 1})).await.ok();
    assert_eq!(made["command"]["priority"], 60, "of what isn't set everywhere the workspace's own counts");
    run(&alice, 1, json!({"slots": 2})).await.refused(400);
    set(&admin, &format!("{GLOBAL}/EXPERIMENT"), "constraints: {resources: {max_slots: 4}}").await.ok();
    let wanted = "invariant_config: {resources: {slots_per_trial: 5}}";
    let said = set(&alice, &format!("{}/EXPERIMENT", at(lab)), wanted).await.refused(400);
    assert!(said.starts_with("workspace invariant_config conflicts with global constraints: "), "{said}");
    // They go with the workspace.
    alice.delete(&format!("/api/v1/workspaces/{lab}")).await.refused(400);
    for command in alice.get("/api/v1/commands").await.ok()["commands"].as_array().expect("a list") {
        let id = command["id"].as_str().expect("an id");
        alice.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
    }
    let empty = workspace(&alice, "empty", false).await;
    let path = format!("{}/NTSC", at(empty));
    set(&alice, &path, "constraints: {priority_limit: 60}").await.ok();
    alice.delete(&format!("/api/v1/workspaces/{empty}")).await.ok();
    alice.get(&path).await.refused(404);
    admin.get(&path).await.refused(404);
    set(&admin, &path, "constraints: {priority_limit: 60}").await.refused(404);
}

async fn what_is_no_policy_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let (tasks, experiments) = (format!("{GLOBAL}/NTSC"), format!("{GLOBAL}/EXPERIMENT"));
    for (path, text, why) in [
        (format!("{GLOBAL}/NOTEBOOK"), "{}", "invalid workload type: NOTEBOOK"),
        (tasks.clone(), "", "no specified config policies"),
        (tasks.clone(), "invariant_config: {}", "not supported: invariant config policies for tasks"),
        (tasks.clone(), "constraints: [", "invalid ntsc config policy: "),
        (tasks.clone(), "- 1", "invalid ntsc config policy: it must be a map of settings"),
        (tasks.clone(), "constraints: {max_slots: 1}", "unknown field `max_slots`"),
        (tasks, "constraints: {priority_limit: 0}", "0 is not between 1 and 99"),
        (experiments.clone(), "invariant_config: {searcher: {nam: x}}", "invalid experiment config policy: "),
        (experiments.clone(), "invariant_config: {name: '********'}", "the value was masked"),
        (
            experiments,
            "{invariant_config: {resources: {max_slots: 1}}, constraints: {resources: {max_slots: 1}}}",
            "invariant config & constraints are trying to set the max slots",
        ),
    ] {
        let said = set(&admin, &path, text).await.refused(400);
        assert!(said.contains(why), "{text}: {said}");
    }
    let large = format!("constraints: {{priority_limit: 5}} # {}", "x".repeat(70_000));
    let said = set(&admin, &format!("{GLOBAL}/NTSC"), &large).await.refused(400);
    assert!(said.contains("65536 is the limit"), "{said}");
    admin.put(&format!("{GLOBAL}/NTSC")).await.refused(400);
    admin.get(&format!("{}/NTSC", at(77))).await.refused(404);
}

async fn who_sets_and_who_sees_them(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let secret = "invariant_config: {environment: {environment_variables: ['KEY=hunter2']}}";
    let everywhere = format!("{GLOBAL}/EXPERIMENT");
    set(&admin, &everywhere, secret).await.ok();
    let seen = alice.get(&everywhere).await.ok().to_string();
    assert!(!seen.contains("hunter2") && seen.contains("KEY=********"), "{seen}");
    assert!(admin.get(&everywhere).await.ok().to_string().contains("hunter2"));
    let audit = admin.get("/api/v1/audit?action=config_policies.").await.ok().to_string();
    assert!(!audit.contains("hunter2"), "{audit}");
    assert_eq!(
        set(&alice, &everywhere, "no: policies").await.refused(403),
        "only admins may set global config policies"
    );
    alice.delete(&everywhere).await.refused(403);

    let (open, closed) = (workspace(&alice, "open", false).await, workspace(&alice, "closed", true).await);
    let text = "constraints: {priority_limit: 60}";
    for (place, status) in [(open, 403), (closed, 404)] {
        let path = format!("{}/NTSC", at(place));
        set(&alice, &path, text).await.ok();
        set(&bob, &path, text).await.refused(status);
        bob.delete(&path).await.refused(status);
        let read = bob.get(&path).await.status;
        assert_eq!(read, if status == 403 { 200 } else { 404 });
        admin.get(&path).await.ok();
    }
    // What an access token would leave behind for everybody's experiments, it can't leave.
    let (token, _) = alice.by_token(json!({})).await;
    set(&token, &format!("{}/NTSC", at(open)), text).await.ok();
    let said = set(&token, &format!("{}/EXPERIMENT", at(open)), "invariant_config: {name: x}").await;
    assert!(said.refused(403).contains("outlive"));
}
