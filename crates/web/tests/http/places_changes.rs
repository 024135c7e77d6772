//! How workspaces and projects change: names, keys, archiving, moving, deleting, members, and what the audit log says.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

use crate::places::{private_place, set_role};

on_both_databases!(
    names_are_checked_and_unique,
    the_shared_workspace_stays_as_it_is,
    lists_of_workspaces_are_filtered_and_sorted,
    archived_places_take_nothing_new,
    a_workspace_with_living_tasks_stays,
    a_deleted_workspace_frees_its_name_and_keeps_its_tasks,
    projects_have_keys_notes_and_tags,
    projects_move_with_their_members,
    members_are_users_and_groups_that_are_there,
    a_workspaces_unix_identity_is_laid_over_its_tasks,
    what_a_workspace_cannot_have_is_refused,
    every_change_of_a_place_is_in_the_audit_log,
    a_personal_workspace_follows_its_accounts_name,
    a14_renaming_oneself_finds_few_names_of_workspaces,
);

async fn workspace(user: &User, body: Value) -> i64 {
    let made = user.post("/api/v1/workspaces").json(body).await.ok();
    made["workspace"]["id"].as_i64().expect("an id")
}

async fn project(user: &User, workspace: i64, body: Value) -> Value {
    let made = user.post(&format!("/api/v1/workspaces/{workspace}/projects")).json(body).await.ok();
    made["project"].clone()
}

async fn names_are_checked_and_unique(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let id = workspace(&alice, json!({"name": "  Vision — 視覚  "})).await;
    let found = alice.get(&format!("/api/v1/workspaces/{id}")).await.ok();
    assert_eq!(found["workspace"]["name"], "Vision — 視覚");
    assert_eq!(
        (&found["workspace"]["username"], &found["workspace"]["userId"]),
        (&json!("alice"), &json!(alice.id))
    );
    let twice = bob.post("/api/v1/workspaces").json(json!({"name": "Vision — 視覚"})).await;
    assert!(twice.refused(409).starts_with("a workspace named 'Vision — 視覚' already exists"));
    for bad in ["", "   ", "a\nb", "a\u{0}b", "a\u{202e}b", &"x".repeat(81)] {
        let text = alice.post("/api/v1/workspaces").json(json!({"name": bad})).await.refused(400);
        assert_eq!(text, "workspace name must have 1 to 80 printable characters", "{bad:?}");
        let path = format!("/api/v1/workspaces/{id}/projects");
        let text = alice.post(&path).json(json!({"name": bad})).await.refused(400);
        assert_eq!(text, "project name must have 1 to 80 printable characters", "{bad:?}");
    }
    alice.post("/api/v1/workspaces").await.refused(400);
    let other = workspace(&alice, json!({"name": "other"})).await;
    let path = format!("/api/v1/workspaces/{other}");
    alice.patch(&path).json(json!({"name": "Vision — 視覚"})).await.refused(409);
    alice.patch(&path).json(json!({"name": "other"})).await.ok();

    project(&alice, id, json!({"name": "p"})).await;
    let path = format!("/api/v1/workspaces/{id}/projects");
    let twice = alice.post(&path).json(json!({"name": "p"})).await;
    assert_eq!(twice.refused(409), "a project named 'p' already exists in this workspace");
    project(&alice, other, json!({"name": "p"})).await;
}

async fn the_shared_workspace_stays_as_it_is(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let before = admin.get("/api/v1/workspaces/1").await.ok();
    assert_eq!(
        (&before["workspace"]["immutable"], &before["workspace"]["numProjects"]),
        (&json!(true), &json!(1))
    );
    let identity = json!({"agentUserGroup": {"agentUid": 205}});
    admin.patch("/api/v1/workspaces/1").json(json!({"name": "x"})).await.refused(400);
    admin.patch("/api/v1/workspaces/1").json(identity).await.refused(400);
    admin.post("/api/v1/workspaces/1/archive").await.refused(400);
    admin.delete("/api/v1/workspaces/1").await.refused(400);
    admin.put("/api/v1/workspaces/1/members").json(json!({"userId": 2, "role": "viewer"})).await.refused(400);
    admin.post("/api/v1/workspaces/1/projects").json(json!({"name": "x"})).await.refused(400);
    admin.patch("/api/v1/projects/1").json(json!({"name": "x"})).await.refused(400);
    admin.post("/api/v1/projects/1/archive").await.refused(400);
    admin.delete("/api/v1/projects/1").await.refused(400);
    let own = workspace(&admin, json!({"name": "w"})).await;
    let there = json!({"destinationWorkspaceId": own});
    admin.post("/api/v1/projects/1/move").json(there).await.refused(400);
    let made = project(&admin, own, json!({"name": "p"})).await;
    let back = json!({"destinationWorkspaceId": 1});
    admin.post(&format!("/api/v1/projects/{}/move", made["id"])).json(back).await.refused(400);
    assert_eq!(admin.get("/api/v1/workspaces/1").await.ok(), before);
    // Everybody may start tasks in it.
    master.user("alice").await.run_true().await;
}

async fn lists_of_workspaces_are_filtered_and_sorted(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let beta = workspace(&alice, json!({"name": "beta"})).await;
    workspace(&bob, json!({"name": "alpha"})).await;
    alice.post(&format!("/api/v1/workspaces/{beta}/archive")).await.ok();
    for (query, expected) in [
        ("", vec!["Uncategorized", "beta", "alpha"]),
        ("limit=1&offset=1", vec!["beta"]),
        ("sortBy=SORT_BY_ID&orderBy=ORDER_BY_DESC", vec!["alpha", "beta", "Uncategorized"]),
        ("name=ALPHA", vec!["alpha"]),
        ("nameCaseSensitive=ALPHA", vec![]),
        ("nameCaseSensitive=alpha", vec!["alpha"]),
        ("archived=true", vec!["beta"]),
        ("archived=false", vec!["Uncategorized", "alpha"]),
        ("users=alice", vec!["beta"]),
        ("users=nobody", vec![]),
        ("pinned=true", vec![]),
        ("pinned=false&users=bob", vec!["alpha"]),
    ] {
        let list = alice.get(&format!("/api/v1/workspaces?{query}")).await.ok();
        let list = list["workspaces"].as_array().expect("a list");
        let names: Vec<_> = list.iter().map(|each| each["name"].as_str().expect("a name")).collect();
        assert_eq!(names, expected, "{query}");
    }
    let by_id = format!("/api/v1/workspaces?userIds={}&sortBy=SORT_BY_NAME", bob.id);
    assert_eq!(alice.get(&by_id).await.ok()["pagination"]["total"], 1);
    alice.get("/api/v1/workspaces?archived=perhaps").await.refused(400);
}

async fn archived_places_take_nothing_new(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let id = workspace(&alice, json!({"name": "w"})).await;
    let elsewhere = workspace(&alice, json!({"name": "elsewhere"})).await;
    let made = project(&alice, elsewhere, json!({"name": "p"})).await;
    alice.post(&format!("/api/v1/workspaces/{id}/archive")).await.ok();
    let text = "workspace 'w' is archived: nothing new gets into it";
    let command = json!({"config": {"entrypoint": ["true"]}, "workspaceId": id});
    let into = json!({"destinationWorkspaceId": id});
    for (path, body) in [
        ("/api/v1/commands".to_owned(), command.clone()),
        (format!("/api/v1/workspaces/{id}/projects"), json!({"name": "q"})),
        ("/api/v1/templates/t".to_owned(), json!({"workspaceId": id})),
        (format!("/api/v1/projects/{}/move", made["id"]), into),
    ] {
        assert_eq!(alice.post(&path).json(body).await.refused(400), text, "{path}");
    }
    alice.post(&format!("/api/v1/workspaces/{id}/unarchive")).await.ok();
    alice.post("/api/v1/commands").json(command).await.ok();
    let path = format!("/api/v1/projects/{}", made["id"]);
    for (verb, archived) in [("archive", true), ("archive", true), ("unarchive", false)] {
        assert_eq!(alice.post(&format!("{path}/{verb}")).await.ok(), json!({}));
        assert_eq!(alice.get(&path).await.ok()["project"]["archived"], archived);
    }
}

async fn a_workspace_with_living_tasks_stays(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let id = workspace(&alice, json!({"name": "w"})).await;
    let command = json!({"config": {"entrypoint": ["true"]}, "workspaceId": id});
    let task = alice.post("/api/v1/commands").json(command).await.ok();
    let task = task["command"]["id"].as_str().expect("an id").to_owned();
    let text = alice.delete(&format!("/api/v1/workspaces/{id}")).await.refused(400);
    assert_eq!(text, "1 tasks in workspace 'w' aren't over: end them first, or archive it");
    alice.post(&format!("/api/v1/commands/{task}/kill")).await.ok();
    assert_eq!(alice.delete(&format!("/api/v1/workspaces/{id}")).await.ok(), json!({"completed": true}));
}

async fn a_deleted_workspace_frees_its_name_and_keeps_its_tasks(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let (bob, carl) = (master.user("bob").await, master.user("carl").await);
    let id = workspace(&alice, json!({"name": "w"})).await;
    let inside = project(&alice, id, json!({"name": "p"})).await;
    alice.post("/api/v1/templates/t").json(json!({"workspaceId": id})).await.ok();
    set_role(&alice, &format!("workspaces/{id}"), &bob, "editor").await;
    set_role(&alice, &format!("workspaces/{id}"), &carl, "editor").await;
    let command = json!({"config": {"entrypoint": ["true"]}, "workspaceId": id});
    let task = bob.post("/api/v1/commands").json(command.clone()).await.ok();
    let task = format!("/api/v1/commands/{}", task["command"]["id"].as_str().expect("an id"));
    bob.post(&format!("{task}/kill")).await.ok();
    carl.get(&task).await.ok();
    alice.delete(&format!("/api/v1/workspaces/{id}")).await.ok();

    for person in [&alice, &bob, &carl, &admin] {
        let path = format!("/api/v1/workspaces/{id}");
        for path in [path.clone(), format!("{path}/projects"), format!("{path}/members")] {
            let text = person.get(&path).await.refused(404);
            assert_eq!(text, format!("workspace '{id}' not found"), "{path} as {}", person.name);
        }
        person.patch(&path).json(json!({"name": "x"})).await.refused(404);
        person.delete(&path).await.refused(404);
        person.post("/api/v1/commands").json(command.clone()).await.refused(404);
        person.get(&format!("/api/v1/projects/{}", inside["id"])).await.refused(404);
        person.get("/api/v1/templates/t").await.refused(404);
    }
    bob.get(&task).await.ok();
    admin.get(&task).await.ok();
    carl.get(&task).await.refused(404);
    assert_eq!(bob.get("/api/v1/commands").await.ok()["pagination"]["total"], 1);
    assert_eq!(carl.get("/api/v1/commands").await.ok()["pagination"]["total"], 0);
    let again = workspace(&carl, json!({"name": "w"})).await;
    assert!(again > id);
}

async fn projects_have_keys_notes_and_tags(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let id = workspace(&alice, json!({"name": "w"})).await;
    let made = project(&alice, id, json!({"name": "image net", "description": null, "tags": ["a"]})).await;
    assert_eq!(
        (&made["key"], &made["tags"], &made["username"]),
        (&json!(format!("IMAG{}", made["id"])), &json!(["a"]), &json!("alice"))
    );
    // Every key that Determined's clients read must be there.
    for key in [
        "archived",
        "errorMessage",
        "immutable",
        "numActiveExperiments",
        "numExperiments",
        "numRuns",
        "state",
        "userId",
        "workspaceId",
    ] {
        assert!(made.get(key).is_some(), "{key}");
    }
    let second = project(&alice, id, json!({"name": "image net 2"})).await;
    assert_eq!(second["key"], format!("IMAG{}", second["id"]));
    let third = project(&alice, id, json!({"name": "x", "key": "abc"})).await;
    assert_eq!(third["key"], "ABC");
    let path = format!("/api/v1/projects/{}", third["id"]);
    let text = alice.patch(&path).json(json!({"key": made["key"]})).await.refused(409);
    assert_eq!(
        text,
        format!("project key {} is in use already: choose another one", made["key"]).replace('"', "'")
    );
    let text = alice.patch(&path).json(json!({"key": "toolong"})).await.refused(400);
    assert_eq!(text, "project key 'toolong' must be 1 to 5 letters or digits");
    let found = alice.get("/api/v1/projects/key/ABC").await.ok();
    assert_eq!(found["project"], third);
    alice.get("/api/v1/projects/key/nothing").await.refused(404);

    let notes = format!("{path}/notes");
    alice.post(&notes).json(json!({"name": "one", "contents": "1"})).await.ok();
    let two = alice.post(&notes).json(json!({"name": "two"})).await.ok();
    assert_eq!(two["notes"], json!([{"name": "one", "contents": "1"}, {"name": "two", "contents": ""}]));
    let put =
        alice.put(&notes).json(json!({"notes": [{"name": "3", "contents": "c"}], "projectId": 9})).await.ok();
    assert_eq!(alice.get(&path).await.ok()["project"]["notes"], put["notes"]);
    let changed = alice.patch(&path).json(json!({"tags": ["b", "c"], "description": "d"})).await.ok();
    assert_eq!(
        (&changed["project"]["tags"], &changed["project"]["description"]),
        (&json!(["b", "c"]), &json!("d"))
    );
    for bad in [
        json!({"description": "x".repeat((64 << 10) + 1)}),
        json!({"description": "a\u{0}b"}),
        json!({"description": "a\u{1b}[2Jb"}),
        json!({"tags": vec!["t"; 101]}),
    ] {
        alice.patch(&path).json(bad).await.refused(400);
    }
    assert_eq!(alice.delete(&path).await.ok(), json!({"completed": true}));
    alice.get(&path).await.refused(404);
}

async fn projects_move_with_their_members(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let (from, moved) = private_place(&alice, "from").await;
    let theirs = workspace(&bob, json!({"name": "theirs"})).await;
    set_role(&alice, &format!("projects/{moved}"), &bob, "administrator").await;
    let path = format!("/api/v1/projects/{moved}/move");
    let there = json!({"destinationWorkspaceId": theirs.to_string()});
    // The owner may take it away, but not put it there; its administrator may both.
    alice.post(&path).json(there.clone()).await.refused(403);
    assert_eq!(bob.post(&path).json(there).await.ok(), json!({}));
    let found = alice.get(&format!("/api/v1/projects/{moved}")).await.ok();
    assert_eq!(found["project"]["workspaceId"], theirs);
    bob.get(&format!("/api/v1/workspaces/{from}")).await.refused(404);
    bob.get(&format!("/api/v1/projects/{moved}/members")).await.ok();
    project(&alice, from, json!({"name": "from"})).await;
    let back = json!({"destinationWorkspaceId": from});
    set_role(&alice, &format!("workspaces/{from}"), &bob, "editor").await;
    let text = bob.post(&path).json(back).await.refused(409);
    assert_eq!(text, "a project named 'from' already exists in this workspace");
    bob.post(&path).await.refused(400);
}

async fn members_are_users_and_groups_that_are_there(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let id = workspace(&alice, json!({"name": "w"})).await;
    let path = format!("/api/v1/workspaces/{id}/members");
    let bad = [
        (json!({"userId": 999, "role": "viewer"}), 404, "user '999' not found"),
        (json!({"groupId": 999, "role": "viewer"}), 404, "group '999' not found"),
        (json!({"userId": bob.id, "role": "king"}), 400, "role: give viewer, editor or administrator"),
        (json!({"userId": bob.id}), 400, "role: give viewer, editor or administrator"),
        (json!({"role": "viewer"}), 400, "give userId or groupId, one of them"),
        (
            json!({"userId": bob.id, "groupId": 1, "role": "viewer"}),
            400,
            "give userId or groupId, one of them",
        ),
    ];
    for (body, status, text) in bad {
        assert_eq!(alice.put(&path).json(body.clone()).await.refused(status), text, "{body}");
    }
    let members = alice.put(&path).json(json!({"user_id": bob.id.to_string(), "role": "editor"})).await.ok();
    assert_eq!(members, json!({"members": [{"userId": bob.id, "name": "bob", "role": "editor"}]}));
    assert_eq!(alice.get(&path).await.ok(), members);
    let by_role = alice.get(&format!("/api/v1/roles/workspace/{id}")).await.ok();
    assert_eq!(by_role["usersAssignedDirectly"][0]["username"], "bob");
    assert_eq!(by_role["assignments"][1]["role"]["name"], "Editor");
    assert_eq!(by_role["assignments"][1]["userRoleAssignments"][0]["userId"], bob.id);
    let none = alice.delete(&format!("{path}?userId={}", bob.id)).await.ok();
    assert_eq!(none, json!({"members": []}));
}

async fn a_workspaces_unix_identity_is_laid_over_its_tasks(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let identity = json!({"agentUid": 5001, "agentGid": 5001, "agentUser": "alice", "agentGroup": "alice"});
    admin.patch(&alice.path()).json(json!({"agentUserGroup": identity})).await.ok();
    let id = workspace(&alice, json!({"name": "w"})).await;
    let path = format!("/api/v1/workspaces/{id}");
    let runs_as = async || {
        let body = json!({"config": {"entrypoint": ["true"]}, "workspaceId": id});
        let task = alice.post("/api/v1/commands").json(body).await.ok();
        task["command"]["runsAs"].as_str().expect("an identity").to_owned()
    };
    assert_eq!(runs_as().await, "alice:5001:alice:5001");
    let set = async |group: Value| admin.patch(&path).json(json!({"agentUserGroup": group})).await;
    let changed = set(json!({"agentGid": "7000", "agent_group": "lab"})).await.ok();
    let expected = json!({"agentUid": null, "agentGid": 7000, "agentUser": null, "agentGroup": "lab"});
    assert_eq!(changed["workspace"]["agentUserGroup"], expected);
    assert_eq!(runs_as().await, "alice:5001:lab:7000");
    // What is present replaces all four parts; what is absent or null leaves them.
    set(json!({"agentUser": "shared"})).await.ok();
    assert_eq!(runs_as().await, "shared:5001:alice:5001");
    set(Value::Null).await.ok();
    alice.patch(&path).json(json!({"name": "renamed", "agentUserGroup": null})).await.ok();
    assert_eq!(runs_as().await, "shared:5001:alice:5001");
    for (bad, text) in [
        (json!({"agentUid": -1}), "agentUid -1 is not a Unix id"),
        (json!({"agentUser": "a:b"}), "is not a Unix name"),
        (json!({"agentUid": 7, "agentGid": 0}), "agentGid 0 needs agentUid 0"),
    ] {
        assert!(set(bad).await.refused(400).contains(text), "{text}");
    }
    assert!(
        set(json!({"agentGid": 0})).await.refused(400).contains("a group with power over this machine"),
        "A11"
    );
    let cleared = set(json!({})).await.ok();
    assert_eq!(cleared["workspace"]["agentUserGroup"], Value::Null);
    assert_eq!(runs_as().await, "alice:5001:alice:5001");
    let new = json!({"name": "mine", "agentUserGroup": {"agentUid": 0}});
    let text = alice.post("/api/v1/workspaces").json(new.clone()).await.refused(403);
    assert_eq!(text, "only admin privileged users can set workspace agent user groups");
    let made = admin.post("/api/v1/workspaces").json(new).await.ok();
    assert_eq!(made["workspace"]["agentUserGroup"]["agentUid"], 0);
}

async fn what_a_workspace_cannot_have_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for (body, part) in [
        (json!({"checkpointStorageConfig": {"type": "s3"}}), "bucket is a required property of s3"),
        (json!({"checkpointStorageConfig": "s3"}), "invalid checkpoint storage: it must be a map"),
        (json!({"defaultComputePool": "gpu"}), "unable to bind a resource pool that does not exist"),
        (json!({"clusterNamespaceMeta": {"": {}}}), "Kubernetes"),
    ] {
        let mut body = body;
        body["name"] = json!("w");
        let text = alice.post("/api/v1/workspaces").json(body).await.refused(400);
        assert!(text.contains(part), "{text}");
    }
    let body = json!({"name": "w", "checkpointStorageConfig": null, "defaultAuxPool": "default"});
    let id = workspace(&alice, body).await;
    let pools = alice.get(&format!("/api/v1/workspaces/{id}/available-resource-pools")).await.ok();
    assert_eq!((&pools["resourcePools"], &pools["pagination"]["total"]), (&json!(["default"]), &json!(1)));
    let bindings = alice.get(&format!("/api/v1/workspaces/{id}/list-namespace-bindings")).await.ok();
    assert_eq!(bindings, json!({"namespaceBindings": {}}));
}

async fn every_change_of_a_place_is_in_the_audit_log(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let id = workspace(&alice, json!({"name": "w"})).await;
    let other = workspace(&alice, json!({"name": "o"})).await;
    let path = format!("/api/v1/workspaces/{id}");
    alice.patch(&path).json(json!({"private": true})).await.ok();
    alice.patch(&path).json(json!({"private": true})).await.ok();
    set_role(&alice, &format!("workspaces/{id}"), &bob, "viewer").await;
    set_role(&alice, &format!("workspaces/{id}"), &bob, "viewer").await;
    let made = project(&alice, id, json!({"name": "p"})).await;
    let inside = format!("/api/v1/projects/{}", made["id"]);
    alice.patch(&inside).json(json!({"description": "d"})).await.ok();
    set_role(&alice, &format!("projects/{}", made["id"]), &bob, "editor").await;
    alice.post(&format!("{inside}/move")).json(json!({"destinationWorkspaceId": other})).await.ok();
    alice.delete(&inside).await.ok();
    alice
        .post("/api/v1/templates/t")
        .json(json!({"workspaceId": id, "config": {"work_dir": "/x"}}))
        .await
        .ok();
    alice.patch("/api/v1/templates/t").json(json!({"work_dir": "/secret"})).await.ok();
    alice.delete("/api/v1/templates/t").await.ok();
    alice.delete(&path).await.ok();
    let log = admin.get("/api/v1/audit?user=alice").await.ok();
    let entries = log["entries"].as_array().expect("entries").iter().rev().map(|entry| &entry["record"]);
    let places = |entry: &&Value| {
        let kind = entry["target"]["kind"].as_str().expect("a kind");
        ["workspace", "project", "template"].contains(&kind)
    };
    let entries: Vec<_> = entries.filter(places).collect();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().expect("text")).collect();
    let expected = [
        "workspace.create",
        "workspace.create",
        "workspace.update",
        "workspace.set_members",
        "project.create",
        "project.update",
        "project.set_members",
        "project.move",
        "project.delete",
        "template.create",
        "template.update",
        "template.delete",
        "workspace.delete",
    ];
    assert_eq!(actions, expected, "changes only, each once");
    assert_eq!(entries[2]["before"], json!({"private": false}));
    assert_eq!(entries[2]["after"], json!({"private": true}));
    assert_eq!(entries[3]["after"], json!({"user": "bob", "role": "viewer"}));
    assert!(!log.to_string().contains("/secret"), "a configuration isn't for the log");
}

async fn a_personal_workspace_follows_its_accounts_name(database: Database) {
    use domain::authz::{CreateWorkspace, authorize};
    let master = TestMaster::start(database).await;
    let (admin, bob) = (master.admin().await, master.user("bob").await);
    let services = master.services();
    let caller = services.sessions.authenticate(&bob.token).await.expect("good");
    let permit = || {
        authorize::<CreateWorkspace>(&caller.actor, domain::place::NewWorkspace::default())
            .expect("everybody may")
    };
    let first = services.workspaces.personal(&permit()).await.expect("made");
    assert_eq!((first.name.as_str(), first.owner_name.as_str(), first.private), ("bob", "bob", false));
    let again = services.workspaces.personal(&permit()).await.expect("found");
    assert_eq!(again, first);
    admin.patch(&bob.path()).json(json!({"username": "robert"})).await.ok();
    let path = format!("/api/v1/workspaces/{}", first.id);
    assert_eq!(admin.get(&path).await.ok()["workspace"]["name"], "robert");
    workspace(&admin, json!({"name": "bert"})).await;
    admin.patch(&bob.path()).json(json!({"username": "bert"})).await.ok();
    assert_eq!(admin.get(&path).await.ok()["workspace"]["name"], "robert", "the name is taken");

    // Later it can't be called so any more by anybody else.
    workspace(&admin, json!({"name": "carl"})).await;
    let carl = master.user("carl").await;
    let caller = services.sessions.authenticate(&carl.token).await.expect("good");
    let permit = authorize::<CreateWorkspace>(&caller.actor, domain::place::NewWorkspace::default())
        .expect("everybody may");
    let made = services.workspaces.personal(&permit).await.expect("made all the same");
    assert_eq!((made.name, made.owner_name.as_str()), (format!("carl ({})", carl.id), "carl"));
}

async fn a14_renaming_oneself_finds_few_names_of_workspaces(database: Database) {
    use domain::authz::{CreateWorkspace, authorize};
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let services = master.services();
    let caller = services.sessions.authenticate(&bob.token).await.expect("good");
    let permit = authorize::<CreateWorkspace>(&caller.actor, domain::place::NewWorkspace::default())
        .expect("everybody may");
    services.workspaces.personal(&permit).await.expect("made");
    workspace(&alice, json!({"name": "secretplan", "private": true})).await;
    let mut found = 0;
    let refused = loop {
        let renamed = bob.patch(&bob.path()).json(json!({"username": "secretplan"})).await;
        if renamed.status == 429 {
            break renamed;
        }
        renamed.ok();
        found += 1;
        assert!(found < 20, "it gets slower");
        bob.patch(&bob.path()).json(json!({"username": "bob"})).await.ok();
    };
    assert!(found >= 10, "nobody is stopped by a few: {found}");
    assert!(!refused.header("retry-after").is_empty());
    // Whose name no workspace follows isn't told anything, and so may go on.
    alice.patch(&alice.path()).json(json!({"username": "alicia"})).await.ok();
}
