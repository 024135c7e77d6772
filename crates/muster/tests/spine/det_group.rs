//! The unmodified `det`: groups and roles, which it asks for only where `security.authz.rbac_ui_enabled` is on.

use crate::support::det::{administrator, created, det, refused};
use crate::support::{Muster, Setup, table};

const CONTACT: &str = "Please contact your administrator in order to access this resource.";

fn with_groups() -> Muster {
    Setup::default().config("security: {authz: {rbac_ui_enabled: true}}").up()
}

#[test]
fn every_verb_of_user_group() {
    let muster = with_groups();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    created(&muster, &admin, "bob");
    assert_eq!(
        det(&admin, "-u admin user-group create lab --add-user alice --add-user determined"),
        "user group with name lab and ID 1 created\ndetermined, alice was added to the group"
    );
    assert_eq!(
        det(&admin, "-u admin user-group create empty"),
        "user group with name empty and ID 2 created"
    );
    let rows = ["Groupid|Name|Nummembers", "1|lab|2", "2|empty|0"];
    assert_eq!(table(&det(&alice, "user-group list")), rows);
    assert_eq!(table(&det(&alice, "user-group list --groups-user-belongs-to alice")), rows[..2]);
    assert_eq!(table(&det(&alice, "user-group list --limit 1 --offset 1")), [rows[0], rows[2]]);
    let described = det(&alice, "user-group describe lab");
    let (head, members) = described.split_once('\n').expect("a table");
    assert_eq!(head, "group ID 1 group name lab with users added");
    let names: Vec<_> =
        table(members).iter().filter_map(|row| row.split('|').nth(1).map(str::to_owned)).collect();
    assert_eq!(names, ["Username", "determined", "alice"]);
    let json: serde_json::Value =
        serde_json::from_str(&det(&alice, "user-group describe lab --json")).expect("JSON");
    assert_eq!((&json["groupId"], &json["users"][1]["username"]), (&1.into(), &"alice".into()));

    assert_eq!(
        det(&admin, "-u admin user-group add-user lab admin,bob"),
        "user group with ID 1 name lab\nuser added to group with username admin and ID 1\n\
         user added to group with username bob and ID 4"
    );
    refused(&admin, "-u admin user-group add-user lab bob", "row already exists");
    assert_eq!(
        det(&admin, "-u admin user-group remove-user lab bob"),
        "user group with ID 1 name lab\nuser removed from the group with username bob and ID 4"
    );
    refused(
        &admin,
        "-u admin user-group remove-user lab bob",
        "Error removing 1 user(s) from 1 group(s) because none were members of these groups: not found",
    );
    assert_eq!(
        det(&admin, "-u admin user-group change-name lab team"),
        "user group with ID 1 name changed from lab to team"
    );
    refused(&admin, "-u admin user-group create team", "Error creating group team: row already exists");
    refused(&alice, "user-group describe lab", "could not find user group name lab");
    for (line, action) in [
        ("create eve", "create a user group"),
        ("add-user team bob", "add users to a group"),
        ("remove-user team alice", "remove user from a group"),
        ("change-name team eve", "change name of a user group"),
        ("delete team --yes", "delete a user group"),
    ] {
        let text = format!("Failed to {action}: Forbidden(user does not have permission): {CONTACT}");
        refused(&alice, &format!("user-group {line}"), &text);
    }
    let said = det(&admin, "-u admin user-group delete team --yes");
    assert_eq!(said, "user group with name team and ID 1 deleted");
    assert_eq!(table(&det(&alice, "user-group list")), [rows[0], rows[2]]);
    // Then the clients show no administrators.
    let head = table(&det(&alice, "user list"))[0].clone();
    assert_eq!(
        head,
        "User Id|Username|Display Name|Active|Remote|Agent Uid|Agent Gid|Agent User|Agent Group"
    );
}

#[test]
fn b21_roles_of_workspaces_are_seen_given_and_taken() {
    let muster = with_groups();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    created(&muster, &admin, "bob");
    det(&admin, "-u admin user-group create lab");
    let mine = det(&alice, "rbac my-permissions");
    assert!(mine.starts_with("global permissions assigned") && mine.contains("CREATE_WORKSPACE"), "{mine}");
    assert!(mine.contains("over workspace 'Uncategorized'") && mine.contains("CREATE_NSC"), "{mine}");
    assert!(!mine.contains("UPDATE_WORKSPACE") && !mine.contains("ADMINISTRATE_USER"), "{mine}");
    assert!(det(&admin, "-u admin rbac my-permissions").contains("ADMINISTRATE_USER"));
    for (line, said) in [
        ("list-users-roles bob", "user has no role assignments"),
        ("list-groups-roles lab", "group has no role assignments"),
    ] {
        assert_eq!(det(&alice, &format!("rbac {line}")), said);
    }
    for line in ["list-roles", "list-roles --exclude-global-roles"] {
        let said = det(&alice, &format!("rbac {line}"));
        for name in ["role 'Viewer'", "role 'Editor'", "role 'WorkspaceAdmin'"] {
            assert!(said.contains(name), "{said}");
        }
    }
    det(&alice, "workspace create vision");
    let place = "--workspace-name vision";
    let said = det(&alice, &format!("rbac assign-role WorkspaceAdmin --username-to-assign bob {place}"));
    assert!(said.contains("assigned role 'WorkspaceAdmin' with ID 3 to user 'bob'"), "{said}");
    det(&alice, &format!("rbac assign-role Viewer --group-name-to-assign lab {place}"));
    assert!(det(&alice, "rbac list-users-roles bob").contains("WorkspaceAdmin"));
    assert!(det(&alice, "rbac list-groups-roles lab").contains("role 'Viewer' with ID 1 assigned"));
    let described = det(&alice, "rbac describe-role WorkspaceAdmin");
    assert!(described.contains("bob") && described.contains("vision"), "{described}");
    det(&alice, &format!("rbac unassign-role WorkspaceAdmin --username-to-assign bob {place}"));
    assert_eq!(det(&alice, "rbac list-users-roles bob"), "user has no role assignments");
    // What somebody has through a group is theirs as well.
    det(&admin, "-u admin user-group add-user lab bob");
    let of_bob = table(&det(&alice, "rbac list-users-roles bob"));
    assert!(of_bob.len() == 2 && of_bob[1].starts_with("Viewer|1|False|lab|1|False|vision|"), "{of_bob:?}");
    let mine = det(&alice, "rbac my-permissions");
    assert!(mine.contains("over workspace 'vision'") && mine.contains("UPDATE_WORKSPACE"), "{mine}");
    refused(&alice, "rbac assign-role Viewer --username-to-assign bob", "access denied");
    refused(&alice, "rbac assign-role Cook --username-to-assign bob", "could not find role name Cook");
}

#[test]
fn r36_without_the_switch_the_client_refuses_by_itself() {
    let muster = Muster::up();
    let me = muster.person("me");
    for (line, noun) in [("user-group list", "User groups"), ("rbac my-permissions", "RBAC")] {
        let text = format!(
            "Master does not support this operation: {noun} commands require the Determined Enterprise Edition"
        );
        refused(&me, line, &text);
    }
}
