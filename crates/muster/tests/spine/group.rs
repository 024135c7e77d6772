//! Groups at Muster's own command line.

use serde_json::{Value, json};

use crate::support::{Muster, Person};

#[track_caller]
fn members(person: &Person, group: &str) -> Value {
    let group = person.json(&format!("group describe {group}"));
    group["users"].as_array().expect("a list").iter().map(|user| user["username"].clone()).collect()
}

#[test]
fn groups_are_made_changed_and_deleted() {
    let muster = Muster::up();
    let (admin, alice) = (muster.admin(), muster.user("alice"));
    muster.user("bob");
    admin.muster("group create lab --add-user alice").exits(0).says("Group lab was created.");
    admin.muster("group create lab").exits(1).says("row already exists");
    admin.muster("group add-user lab bob,admin").exits(0);
    admin.muster("group add-user lab bob").exits(1).says("row already exists");
    assert_eq!(members(&alice, "lab"), json!(["admin", "alice", "bob"]));
    admin.muster("group remove-user lab bob alice").exits(0);
    assert_eq!(members(&alice, "lab"), json!(["admin"]));
    admin.muster("group change-name lab team").exits(0).says("Group lab is team now.");

    let listed = json!([{"group": {"groupId": 1, "name": "team"}, "numMembers": 1}]);
    assert_eq!(alice.json("group list"), listed);
    assert_eq!(alice.json("group list --member admin"), listed);
    assert_eq!(alice.json("group list --member alice"), json!([]));
    assert_eq!(alice.muster("group list --csv").ok(), "Group ID,Name,Members\n1,team,1");
    assert!(alice.muster("group describe team --csv").ok().contains(",admin,"));

    for line in ["create eve", "add-user team alice", "remove-user team admin", "change-name team eve"] {
        alice.muster(&format!("group {line}")).exits(5).says("user does not have permission");
    }
    alice.muster("group delete team --yes").exits(5);
    for line in ["describe lab", "delete lab --yes", "add-user lab alice", "list --member nobody"] {
        admin.muster(&format!("group {line}")).exits(6);
    }
    admin.muster("group add-user team nobody").exits(6).says("nobody: user not found");
    admin.muster("group add-user team").exits(2);
    admin.muster("group delete team").exits(1).says("nothing was deleted");
    admin.muster_with("group delete team", "y\n").exits(0).says("Group team was deleted.");
    assert_eq!(alice.json("group list"), json!([]));
}
