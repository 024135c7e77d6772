//! Roles as Determined's clients know them: what members of workspaces are; and the switch that has those clients ask for
//! them (R36, B21).

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, on_sqlite};

on_sqlite!(r36_the_switch_shows_in_what_the_master_says_of_itself, roles_are_not_given_everywhere);
on_both_databases!(b21_roles_are_found_given_and_taken_in_workspaces);

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
    let nothing = json!({"roles": [], "assignments": []});
    assert_eq!(alice.get("/api/v1/permissions/summary").await.ok(), nothing);
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
