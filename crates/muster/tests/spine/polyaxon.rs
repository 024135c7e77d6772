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
    assert!(refused.out().contains("Only admin privileged users can update users."), "{}", refused.out());
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
    assert!(alice.polyaxon("user activate nobody").exits(1).out().contains("Not found."));
    assert!(alice.polyaxon("logout").ok().contains("You are logged out"));
}
