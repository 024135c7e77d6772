//! Groups of accounts: made, found, changed, deleted, with the words that Determined's clients know.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a_group_is_made_found_changed_and_deleted,
    names_are_unique_and_checked,
    members_come_and_go_with_the_clients_words,
    membership_is_a_change_of_the_account,
    several_accounts_go_into_several_groups,
    searches_are_paged,
    only_administrators_change_groups,
);

const GROUPS: &str = "/api/v1/groups";

async fn search(who: &User, request: Value) -> testkit::Response {
    who.post(&format!("{GROUPS}/search")).json(request).await
}

async fn names(who: &User, request: Value) -> Vec<String> {
    let found = search(who, request).await.ok();
    let groups = found["groups"].as_array().expect("a list").iter();
    groups.map(|found| found["group"]["name"].as_str().expect("a name").to_owned()).collect()
}

async fn create(who: &User, name: &str, users: &[i64]) -> testkit::Response {
    who.post(GROUPS).json(json!({"name": name, "addUsers": users})).await
}

async fn put(who: &User, id: i64, change: Value) -> testkit::Response {
    who.put(&format!("{GROUPS}/{id}")).json(change).await
}

fn members(group: &Value) -> Vec<&str> {
    let users = group["group"]["users"].as_array().expect("a list").iter();
    users.map(|user| user["username"].as_str().expect("a name")).collect()
}

async fn a_group_is_made_found_changed_and_deleted(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let made = create(&admin, " Vision lab ", &[alice.id]).await.ok();
    let user = alice.get(&alice.path()).await.ok()["user"].clone();
    assert_eq!(made, json!({"group": {"groupId": 1, "name": "Vision lab", "users": [user]}}));
    create(&admin, "empty", &[]).await.ok();

    // As `det` sends it.
    let found = search(&alice, json!({"name": "Vision lab", "limit": 1, "offset": 0})).await.ok();
    let expected = json!({
        "groups": [{"group": {"groupId": 1, "name": "Vision lab"}, "numMembers": 1}],
        "pagination": {"offset": 0, "limit": 1, "startIndex": 0, "endIndex": 1, "total": 1}
    });
    assert_eq!(found, expected);
    assert_eq!(alice.get(&format!("{GROUPS}/1")).await.ok(), made);
    assert_eq!(names(&alice, json!({"limit": 200, "userId": alice.id.to_string()})).await, ["Vision lab"]);
    assert!(names(&alice, json!({"limit": 1, "name": "vision"})).await.is_empty(), "exact names");

    let renamed = put(&admin, 1, json!({"groupId": 1, "name": "Sound lab"})).await.ok();
    assert_eq!((&renamed["group"]["name"], members(&renamed)), (&json!("Sound lab"), vec!["alice"]));
    assert_eq!(admin.delete(&format!("{GROUPS}/1")).await.ok(), json!({}));
    assert_eq!(alice.get(&format!("{GROUPS}/1")).await.refused(404), "Error getting group 1: not found");
    for missing in ["1", "x", "0"] {
        admin.delete(&format!("{GROUPS}/{missing}")).await.refused(404);
        admin.put(&format!("{GROUPS}/{missing}")).await.refused(404);
    }
    assert_eq!(names(&alice, json!({"limit": 200})).await, ["empty"]);
    let again = create(&admin, "Sound lab", &[]).await.ok();
    assert_eq!(again["group"]["groupId"], 3, "no number is used twice");
}

async fn names_are_unique_and_checked(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    create(&admin, "lab", &[]).await.ok();
    create(&admin, "Lab", &[]).await.ok();
    let text = "Error creating group lab: row already exists";
    assert_eq!(create(&admin, "lab", &[]).await.refused(409), text);
    let text = "Error updating group lab: row already exists";
    assert_eq!(put(&admin, 2, json!({"name": "lab"})).await.refused(409), text);
    for (name, text) in [
        ("7DeterminedPersonalGroup", "group name cannot contain 'DeterminedPersonalGroup'"),
        (" ", "group name cannot be empty"),
        ("a|b", "group name cannot contain control characters or '|'"),
        ("a\u{0}b", "group name cannot contain control characters or '|'"),
    ] {
        assert_eq!(create(&admin, name, &[]).await.refused(400), text);
        assert_eq!(put(&admin, 1, json!({"name": name})).await.refused(400), text);
    }
    assert!(names(&admin, json!({"limit": 1, "name": "a\u{0}"})).await.is_empty());
}

async fn members_come_and_go_with_the_clients_words(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    create(&admin, "lab", &[]).await.ok();
    let both = put(&admin, 1, json!({"addUsers": [alice.id, bob.id, bob.id]})).await.ok();
    assert_eq!(members(&both), ["alice", "bob"]);
    let again = put(&admin, 1, json!({"addUsers": [alice.id]})).await;
    assert!(again.refused(409).contains("row already exists"));
    let swapped = put(&admin, 1, json!({"addUsers": [1], "removeUsers": [bob.id]})).await.ok();
    assert_eq!(members(&swapped), ["admin", "alice"]);
    let none = put(&admin, 1, json!({"removeUsers": [bob.id]})).await;
    assert_eq!(
        none.refused(404),
        "Error removing 1 user(s) from 1 group(s) because none were members of these groups: not found"
    );
    // One of them was.
    let left = put(&admin, 1, json!({"removeUsers": [bob.id, alice.id]})).await.ok();
    assert_eq!(members(&left), ["admin"]);
    // All or nothing.
    put(&admin, 1, json!({"name": "other", "addUsers": [bob.id, 999]})).await.refused(404);
    let same = admin.get(&format!("{GROUPS}/1")).await.ok();
    assert_eq!((&same["group"]["name"], members(&same)), (&json!("lab"), vec!["admin"]));
    assert_eq!(create(&admin, "new", &[999]).await.refused(404), "user not found");
    assert_eq!(names(&admin, json!({"limit": 9})).await, ["lab"]);
}

async fn membership_is_a_change_of_the_account(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let modified = async || alice.get("/api/v1/me").await.ok()["user"]["modifiedAt"].clone();
    let mut last = modified().await;
    create(&admin, "lab", &[]).await.ok();
    for change in [json!({"addUsers": [alice.id]}), json!({"removeUsers": [alice.id]})] {
        master.clock.advance(Duration::from_secs(1));
        put(&admin, 1, change).await.ok();
        let now = modified().await;
        assert_ne!(now, last);
        last = now;
    }
    put(&admin, 1, json!({"addUsers": [alice.id]})).await.ok();
    master.clock.advance(Duration::from_secs(1));
    admin.delete(&format!("{GROUPS}/1")).await.ok();
    assert_ne!(modified().await, last);
}

async fn several_accounts_go_into_several_groups(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    for (name, users) in [("one", vec![alice.id]), ("two", vec![]), ("three", vec![alice.id, bob.id])] {
        create(&admin, name, &users).await.ok();
    }
    let path = "/api/v1/users/assignments";
    let body = json!({"userIds": [alice.id, bob.id], "addGroups": [1, 2], "removeGroups": [3]});
    assert_eq!(admin.patch(path).json(body).await.ok(), json!({}));
    for (id, expected) in [(1, vec!["alice", "bob"]), (2, vec!["alice", "bob"]), (3, vec![])] {
        let group = admin.get(&format!("{GROUPS}/{id}")).await.ok();
        assert_eq!(members(&group), expected);
    }
    let body = json!({"userIds": [alice.id], "addGroups": [3, 9], "removeGroups": []});
    assert_eq!(admin.patch(path).json(body).await.refused(404), "Error getting group 9: not found");
    assert!(members(&admin.get(&format!("{GROUPS}/3")).await.ok()).is_empty());
    let body = json!({"userIds": [alice.id], "addGroups": [3]});
    assert_eq!(alice.patch(path).json(body).await.refused(403), "user does not have permission");
}

async fn searches_are_paged(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for n in 0..3 {
        create(&admin, &format!("g{n}"), &[]).await.ok();
    }
    let text = "Bad request: limit is required and must be <= 500";
    for request in [json!({}), json!({"limit": 0}), json!({"limit": 501}), json!({"limit": -1})] {
        assert_eq!(search(&admin, request).await.refused(400), text);
    }
    assert_eq!(names(&admin, json!({"limit": 2})).await, ["g0", "g1"]);
    assert_eq!(names(&admin, json!({"limit": 500, "offset": 2})).await, ["g2"]);
    let beyond = search(&admin, json!({"limit": 2, "offset": 9})).await.ok();
    assert_eq!((&beyond["groups"], &beyond["pagination"]["total"]), (&json!([]), &json!(3)));
    search(&admin, json!({"limit": 2, "offset": -1})).await.refused(400);
}

async fn only_administrators_change_groups(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    create(&admin, "lab", &[]).await.ok();
    let text = "user does not have permission";
    assert_eq!(create(&alice, "x", &[]).await.refused(403), text);
    assert_eq!(put(&alice, 1, json!({"addUsers": [alice.id]})).await.refused(403), text);
    assert_eq!(put(&alice, 9, json!({})).await.refused(403), text, "there or not");
    assert_eq!(alice.delete(&format!("{GROUPS}/1")).await.refused(403), text);
    let body = json!({"userIds": [1], "activate": false});
    let bulk = alice.patch("/api/v1/users").json(body).await.ok();
    let refused = json!([{"id": 1, "error": "only admin privileged users can update users"}]);
    assert_eq!(bulk["results"], refused);
}
