//! The unmodified `polyaxon` 0.6.1: accounts and projects.

use crate::support::Muster;

#[test]
fn x07_polyaxon_logs_in_and_manages_accounts() {
    let muster = Muster::up();
    let admin = muster.admin();
    let alice = muster.user("alice");
    alice.muster_with("user change-password --password-stdin", "a quiet lake\n").exits(0);
    // A blank password can't be told to this client.
    admin.muster_with("user change-password --password-stdin", "a deep forest\n").exits(0);
    for person in [&admin, &alice] {
        person.polyaxon_here();
    }
    assert!(alice.polyaxon("whoami").exits(1).out().contains(r#"{"detail":"Invalid token."}"#));
    let refused = alice.polyaxon_login("alice", "wrong").exits(1);
    assert!(refused.out().contains("400 on"), "{}", refused.out());
    assert!(alice.polyaxon_login("alice", "a quiet lake").ok().contains("Login successful"));
    assert!(alice.polyaxon("whoami").ok().contains("Username: alice, Email: None"));
    assert!(alice.polyaxon("version --platform").ok().contains("0.6.1"));

    let refused = alice.polyaxon("superuser grant alice").exits(1);
    assert!(refused.out().contains("only admin privileged users can update users."), "{}", refused.out());
    admin.polyaxon_login("admin", "a deep forest").exits(0);
    admin.polyaxon("superuser grant alice").exits(0);
    assert_eq!(alice.json("user list")[2]["admin"], true);
    alice.polyaxon("superuser revoke admin").exits(0);
    let last = alice.polyaxon("superuser revoke alice").exits(1);
    assert!(last.out().contains("alice is the last active administrator"), "{}", last.out());

    alice.muster("user deactivate admin").exits(0);
    assert!(admin.polyaxon("whoami").exits(1).out().contains("Invalid token"));
    alice.polyaxon("user activate admin").exits(0);
    admin.polyaxon_login("admin", "a deep forest").exits(0);
    alice.muster("user create carl").exits(0);
    assert!(admin.polyaxon("user delete carl").exits(1).out().contains("403 on"));
    alice.polyaxon("user delete carl").exits(0);
    let names = alice.json("user list -a").to_string();
    assert!(!names.contains("carl"), "{names}");
    assert!(alice.polyaxon("user delete carl").exits(1).out().contains("Not found."));
    assert!(alice.polyaxon("user activate nobody").exits(1).out().contains("Not found."));
    assert!(alice.polyaxon("logout").ok().contains("You are logged out"));
}

#[test]
fn x10_polyaxon_keeps_projects() {
    let muster = Muster::up();
    let (alice, bob) = (muster.user("alice"), muster.user("bob"));
    for (person, name) in [(&alice, "alice"), (&bob, "bob")] {
        person.muster_with("user change-password --password-stdin", "a quiet lake\n").exits(0);
        person.polyaxon_here();
        person.polyaxon_login(name, "a quiet lake").exits(0);
    }
    assert!(alice.polyaxon("project list").ok().contains("No projects found"));
    alice.polyaxon("project create --name=vision --description=digits --tags=a,b").exits(0);
    alice.polyaxon("project create --name=secret --private").exits(0);
    let twice = alice.polyaxon("project create --name=vision").exits(1);
    assert!(twice.out().contains("a project named 'vision' already exists"), "{}", twice.out());
    assert!(alice.polyaxon("project create --name=no.dots").code() != 0);
    let list = alice.polyaxon("project list").ok();
    assert!(list.contains("vision") && list.contains("secret") && list.contains("['a', 'b']"), "{list}");

    // Bob reads what is public, changes nothing, and for him the private one isn't there.
    let seen = bob.polyaxon("project -p alice/vision get").ok();
    assert!(seen.contains("digits"), "{seen}");
    let refused = bob.polyaxon("project -p alice/vision update --description=mine").exits(1);
    assert!(refused.out().contains("403 on"), "{}", refused.out());
    let reason = |output: &crate::support::Output| {
        let line = output.out().lines().find(|line| line.starts_with("Reason")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no reason in {}", output.out()))
    };
    let hidden = reason(&bob.polyaxon("project -p alice/secret get").exits(1));
    assert_eq!(hidden, reason(&bob.polyaxon("project -p alice/nothing get").exits(1)));
    assert_eq!(hidden, r#"Reason: {"detail":"Not found."}"#);

    alice.polyaxon("project -p secret update --private=false --description=open").exits(0);
    assert!(bob.polyaxon("project -p alice/secret get").ok().contains("open"));
    for kind in ["experiments", "groups", "jobs", "builds", "tensorboards"] {
        let none = bob.polyaxon(&format!("project -p alice/vision {kind}")).ok();
        assert!(none.contains("No "), "{kind}: {none}");
    }
    bob.polyaxon("project -p alice/vision bookmark").exits(0);
    assert!(bob.polyaxon("bookmark projects").ok().contains("vision"));
    bob.polyaxon("project -p alice/vision unbookmark").exits(0);
    assert!(!bob.polyaxon("bookmark projects").ok().contains("vision"));

    // It is a project like any other.
    let described = alice.det("project describe alice vision").ok();
    assert!(described.contains("vision"), "{described}");
    let refused = bob.polyaxon_args(["project", "-p", "alice/vision", "delete"], "y\n").exits(1);
    assert!(refused.out().contains("403 on"), "{}", refused.out());
    let deleted = alice.polyaxon_args(["project", "-p", "vision", "delete"], "y\n").ok();
    assert!(deleted.contains("was delete successfully"), "{deleted}");
    assert!(!alice.polyaxon("project list").ok().contains("vision"));
}
