//! The unmodified `det`: accounts and sessions.

use serde_json::Value;

use crate::support::{Muster, Person, table};

/// A blank answer to whatever `det` asks for.
const BLANK: &str = "\n\n\n";
/// Good enough for `det`, which makes no accounts without a password.
const PASSWORD: &str = "Correct0\n";

#[track_caller]
fn det(person: &Person, line: &str) -> String {
    person.det_with(line, BLANK).ok()
}

/// Makes an account and logs in with it.
#[track_caller]
fn created(muster: &Muster, admin: &Person, name: &str) -> Person {
    det(admin, &format!("-u admin user create {name} --password Correct0"));
    let person = muster.person(name);
    person.det_with(&format!("user login {name}"), PASSWORD).exits(0);
    person
}

/// Somebody who has a token as admin already, so that only what is under test asks for passwords.
fn administrator(muster: &Muster) -> Person {
    let admin = muster.person("admin");
    assert_eq!(det(&admin, "-u admin user whoami"), "You are logged in as user 'admin'");
    admin
}

#[track_caller]
fn refused(person: &Person, line: &str, reason: &str) {
    person.det_with(line, BLANK).exits(1).says(reason);
}

#[test]
fn p02_whoami_without_anything() {
    let muster = Muster::up();
    let me = muster.person("me");
    let said = me.det("user whoami").exits(0);
    assert_eq!(said.out(), "You are logged in as user 'determined'\n");
}

#[test]
fn p07_p08_login_and_logout() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    assert_eq!(alice.det("user whoami").ok(), "You are logged in as user 'alice'");
    refused(&muster.person("x"), "user login nobody", "Invalid username/password combination");
    let kept = std::fs::read_to_string(alice.home.join("det/auth.json")).expect("kept");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let token = kept["masters"][&muster.url]["tokens"]["alice"].as_str().expect("a token");
    alice.det("user logout").exits(0);
    assert_eq!(alice.det("user whoami").ok(), "You are logged in as user 'determined'");
    let mut thief = muster.person("thief").det_command();
    thief.env("DET_USER", "alice").env("DET_USER_TOKEN", token).args(["user", "whoami"]);
    crate::support::run(&mut thief, "").exits(1).says("Unauthenticated");
}

#[test]
fn p11_u_acts_once() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    created(&muster, &admin, "alice");
    let asked = admin.det_with("-u alice user whoami", PASSWORD).ok();
    assert_eq!(asked, "You are logged in as user 'alice'");
    assert_eq!(admin.det("-u alice user whoami").ok(), "You are logged in as user 'alice'", "asked once");
    assert_eq!(admin.det("user whoami").ok(), "You are logged in as user 'determined'");
    admin.det("-u alice user logout").exits(0);
}

#[test]
fn p05_p12_d02_an_administrator_manages_accounts() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let me = muster.person("me");
    det(&admin, "-u admin user create alice --password Correct0");
    det(&admin, "-u admin user create boss --admin --password Correct0");
    refused(&admin, "-u admin user create alice --password Correct0", "user already exists");
    let link = "user link-with-agent-user alice --agent-uid 5001 --agent-user alice --agent-gid 5001 --agent-group lab";
    det(&admin, &format!("-u admin {link}"));
    let expected = [
        "User Id|Username|Display Name|Admin|Active|Remote|Agent Uid|Agent Gid|Agent User|Agent Group",
        "1|admin||True|True|False|N/A|N/A|N/A|N/A",
        "3|alice||False|True|False|5001|5001|alice|lab",
        "4|boss||True|True|False|N/A|N/A|N/A|N/A",
        "2|determined||False|True|False|N/A|N/A|N/A|N/A",
    ];
    let mut rows = table(&me.det("user list").ok());
    rows[1..].sort_by_key(|row| row.split('|').nth(1).expect("a name").to_owned());
    assert_eq!(rows, expected);

    refused(&me, link, "Forbidden");
    refused(&me, "user create eve --password Correct0", "Forbidden");
    refused(&me, "user rename alice eve", "Forbidden");
    refused(
        &admin,
        "-u admin user link-with-agent-user alice --agent-uid 5001",
        "agent-user argument required",
    );

    det(&admin, "-u admin user rename alice alicia");
    assert_eq!(
        det(&admin, "-u admin user edit alicia --display-name Al").lines().last(),
        Some("Changes made to the following fields: Display Name")
    );
    let rows = table(&me.det("user list -a").ok());
    assert!(rows.contains(&"3|alicia|Al|False|True|False|5001|5001|alice|lab".to_owned()), "{rows:#?}");
}

#[test]
fn p06_p17_p18_p19_deactivated_and_activated() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    alice.det("cmd run -d true").exits(0);
    det(&admin, "-u admin user deactivate alice");
    // `det` asks for the password again, and the right one doesn't help.
    alice.det_with("user whoami", PASSWORD).exits(1).says("user is not active");
    alice.det_with("user login alice", PASSWORD).exits(1).says("user is not active");
    let active = |line: &str| table(&admin.det(line).ok()).iter().any(|row| row.contains("|alice|"));
    assert!(!active("user list") && active("user list -a") && active("cmd list -a"));
    det(&admin, "-u admin user activate alice");
    alice.det_with("user login alice", PASSWORD).exits(0);
}

#[test]
fn p13_p14_passwords() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    alice.det_with("user change-password", "Another0\nAnother0\n").exits(0);
    assert_eq!(alice.det("user whoami").ok(), "You are logged in as user 'alice'");
    let other = muster.person("other");
    other.det_with("user login alice", PASSWORD).exits(1).says("Invalid username/password combination");
    other.det_with("user login alice", "Another0\n").exits(0);
    admin.det_with("-u admin user change-password alice", "Battery1\nBattery1\n").exits(0);
    other.det_with("user login alice", "Battery1\n").exits(0);
    other.det_with("-u alice user change-password admin", "Battery1\nBattery1\n").exits(1).says("Forbidden");

    // What one client sets, the other one takes.
    let muster_too = muster.person("muster");
    muster_too.muster_with("user login alice --password-stdin", "Battery1\n").exits(0);
    muster_too.muster_with("user change-password --password-stdin", "correct horse\n").exits(0);
    other.det_with("user login alice", "correct horse\n").exits(0);
}
