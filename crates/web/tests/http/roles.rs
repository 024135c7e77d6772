//! Roles as Determined's clients know them: what members of workspaces are; and the switch that has those clients ask for
//! them (R36, B21).

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, on_sqlite};

on_sqlite!(r36_the_switch_shows_in_what_the_master_says_of_itself, roles_are_not_given_everywhere);
on_both_databases!(
    b21_roles_are_found_given_and_taken_in_workspaces,
    kf07_what_one_may_do_and_roles_of_ones_groups_are_told,
);

async fn r36_the_switch_shows_in_what_the_master_says_of_itself(database: Database) {
    for on in [false, true] {
        let configure = |config: &mut master::Config| config.security.authz.rbac_ui_enabled = on;
        let master = TestMaster::configured(database, configure).await;
        assert_eq!(master.anon().get("/api/v1/master").await.ok()["rbacEnabled"], on);
    }
}

fn names(answer: &Value) -> Vec<&str> {
    let roles = answer["roles"].as_array().expect("roles").iter();
    roles.filter_map(|role| role["name"].as_str().or(role["role"]["name"].as_str())).collect()
}

async fn roles_are_not_given_everywhere(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    for path in ["search", "search/by-assignability"] {
        let answer = alice.post(&format!("/api/v1/roles/{path}")).json(json!({"limit": 500})).await.ok();
        assert_eq!(names(&answer), ["Viewer", "Editor", "WorkspaceAdmin"]);
    }
    let everywhere =
        json!({"userRoleAssignments": [{"userId": alice.id, "roleAssignment": {"role": {"roleId": 3}}}]});
    for path in ["add-assignments", "remove-assignments"] {
        let path = format!("/api/v1/roles/{path}");
        for body in [json!({}), everywhere.clone()] {
            assert_eq!(alice.post(&path).json(body.clone()).await.refused(403), "access denied");
            let text = admin.post(&path).json(body).await.refused(400);
            assert!(text.contains("roles are given in workspaces"), "{text}");
        }
    }
}

async fn b21_roles_are_found_given_and_taken_in_workspaces(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let (eve, admin) = (master.user("eve").await, master.admin().await);
    let group = admin.post("/api/v1/groups").json(json!({"name": "lab"})).await.ok();
    let group = group["group"]["groupId"].as_i64().expect("a number");
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "vision", "private": true})).await.ok();
    let place = made["workspace"]["id"].as_i64().expect("a number");
    let role = |id: i64| json!({"role": {"roleId": id}, "scopeWorkspaceId": place});
    let of_user = |id: i64| json!({"userRoleAssignments": [{"userId": bob.id, "roleAssignment": role(id)}]});
    let of_group =
        |id: i64| json!({"groupRoleAssignments": [{"groupId": group, "roleAssignment": role(id)}]});
    let (add, remove) = ("/api/v1/roles/add-assignments", "/api/v1/roles/remove-assignments");

    // Who may: the workspace's administrators. For others it isn't there, or isn't theirs.
    eve.post(add).json(of_user(3)).await.refused(404);
    alice.post(add).json(of_user(2)).await.ok();
    assert_eq!(bob.post(add).json(of_user(3)).await.status, 403);
    alice.post(add).json(of_group(1)).await.ok();

    let (by_user, by_group) = (
        format!("/api/v1/roles/search/by-user/{}", bob.id),
        format!("/api/v1/roles/search/by-group/{group}"),
    );
    let of_bob = bob.get(&by_user).await.ok();
    assert_eq!(names(&of_bob), ["Editor"]);
    let assigned = &of_bob["roles"][0]["userRoleAssignments"][0];
    assert_eq!(
        (&assigned["userId"], &assigned["roleAssignment"]["scopeWorkspaceId"]),
        (&json!(bob.id), &json!(place))
    );
    let of_lab = alice.get(&by_group).await.ok();
    assert_eq!(
        of_lab["assignments"],
        json!([{"roleId": 1, "scopeWorkspaceIds": [place], "scopeCluster": false}])
    );
    // Who can't see into the workspace doesn't learn who is in it.
    assert_eq!(eve.get(&by_user).await.ok(), json!({"roles": []}));
    assert_eq!(eve.get(&by_group).await.ok(), json!({"roles": [], "assignments": []}));
    let ids = json!({"roleIds": [1, 2]});
    let (seen, unseen) = (
        bob.post("/api/v1/roles/search/by-ids").json(ids.clone()).await.ok(),
        eve.post("/api/v1/roles/search/by-ids").json(ids).await.ok(),
    );
    assert_eq!((names(&seen), names(&unseen)), (vec!["Viewer", "Editor"], vec!["Viewer", "Editor"]));
    assert_eq!(seen["roles"][0]["groupRoleAssignments"][0]["groupId"], json!(group));
    assert_eq!(unseen["roles"][1]["userRoleAssignments"], json!([]));

    let text = alice.post(remove).json(of_user(1)).await.refused(404);
    assert!(text.contains("don't have the role Viewer"), "{text}");
    alice.post(remove).json(of_user(2)).await.ok();
    assert_eq!(alice.get(&by_user).await.ok(), json!({"roles": []}));
    let two = json!({"userRoleAssignments": [of_user(1)["userRoleAssignments"][0], of_user(2)["userRoleAssignments"][0]]});
    assert!(alice.post(add).json(two).await.refused(400).contains("one role at a time"));
    assert!(alice.post(add).json(of_user(9)).await.refused(404).contains("roles/search"));
    alice.get("/api/v1/roles/search/by-group/99").await.refused(404);
    alice.get("/api/v1/roles/search/by-user/99").await.refused(404);
}

/// The permissions of a summary that count in a workspace, or with `None` everywhere.
fn permissions(summary: &Value, place: Option<i64>) -> Vec<String> {
    let assigned =
        summary["assignments"].as_array().expect("assignments").iter().filter(|assigned| match place {
            Some(id) => assigned["scopeWorkspaceIds"].as_array().is_some_and(|ids| ids.contains(&json!(id))),
            None => assigned["scopeCluster"] == true,
        });
    let ids: Vec<_> = assigned.map(|assigned| &assigned["roleId"]).collect();
    let roles =
        summary["roles"].as_array().expect("roles").iter().filter(|role| ids.contains(&&role["roleId"]));
    let found = roles.flat_map(|role| role["permissions"].as_array().expect("some"));
    let name = |found: &Value| {
        found["id"].as_str().expect("an id").trim_start_matches("PERMISSION_TYPE_").to_owned()
    };
    found.map(name).collect()
}

async fn kf07_what_one_may_do_and_roles_of_ones_groups_are_told(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let (eve, admin) = (master.user("eve").await, master.admin().await);
    let group = json!({"name": "lab", "addUsers": [bob.id]});
    let group = admin.post("/api/v1/groups").json(group).await.ok()["group"]["groupId"].clone();
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "vision", "private": true})).await.ok();
    let place = made["workspace"]["id"].as_i64().expect("a number");
    let role = json!({"role": {"roleId": 2}, "scopeWorkspaceId": place});
    let wanted = json!({"groupRoleAssignments": [{"groupId": group, "roleAssignment": role}]});
    alice.post("/api/v1/roles/add-assignments").json(wanted).await.ok();

    let path = format!("/api/v1/roles/search/by-user/{}", bob.id);
    let of_bob = bob.get(&path).await.ok();
    assert_eq!(names(&of_bob), ["Editor"]);
    assert_eq!(of_bob["roles"][0]["groupRoleAssignments"][0]["groupId"], group);
    assert_eq!(of_bob["roles"][0]["userRoleAssignments"], json!([]));
    assert_eq!(eve.get(&path).await.ok(), json!({"roles": []}), "who sees not into it");

    let summary = "/api/v1/permissions/summary";
    let [of_alice, of_bob, of_eve, of_admin] = [
        alice.get(summary).await.ok(),
        bob.get(summary).await.ok(),
        eve.get(summary).await.ok(),
        admin.get(summary).await.ok(),
    ];
    let has = |summary: &Value, place, name: &str| permissions(summary, place).iter().any(|had| had == name);
    let at = Some(place);
    // The owner, an editor by a group, a stranger, the administrator: in the private workspace.
    for (name, who) in [
        ("UPDATE_WORKSPACE", [true, false, false]),
        ("CREATE_NSC", [true, true, false]),
        ("VIEW_WORKSPACE", [true, true, false]),
        ("SET_WORKSPACE_AGENT_USER_GROUP", [false, false, false]),
    ] {
        assert_eq!([&of_alice, &of_bob, &of_eve].map(|summary| has(summary, at, name)), who, "{name}");
        assert!(has(&of_admin, None, name), "{name}: an administrator everywhere");
    }
    for summary in [&of_alice, &of_bob, &of_eve, &of_admin] {
        assert!(has(summary, None, "CREATE_WORKSPACE") && has(summary, Some(1), "CREATE_NSC"));
        assert_eq!(has(summary, None, "ADMINISTRATE_USER"), summary == &of_admin);
    }
    assert!(!has(&of_eve, None, "VIEW_WORKSPACE") && !has(&of_eve, Some(1), "UPDATE_WORKSPACE"));
    // It says what is so.
    bob.post(&format!("/api/v1/workspaces/{place}/projects")).json(json!({"name": "x"})).await.ok();
    assert_eq!(
        bob.patch(&format!("/api/v1/workspaces/{place}")).json(json!({"name": "y"})).await.status,
        403
    );
}
