//! The unmodified `det`: accounts and sessions.

use serde_json::{Value, json};

use crate::support::det::{BLANK, PASSWORD, administrator, created, det, refused};
use crate::support::{Muster, table};

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

#[test]
fn p08_logout_all_ends_every_session_of_the_cache() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    alice.det_with("-u admin user whoami", BLANK).exits(0);
    let kept = std::fs::read_to_string(alice.home.join("det/auth.json")).expect("kept");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let tokens = kept["masters"][&muster.url]["tokens"].as_object().expect("tokens");
    let tokens: Vec<_> =
        tokens.iter().map(|(name, token)| (name, token.as_str().expect("a token"))).collect();
    assert_eq!(tokens.len(), 2);
    alice.det("user logout --all").exits(0);
    for (name, token) in tokens {
        let mut thief = muster.person("thief").det_command();
        thief.env("DET_USER", name).env("DET_USER_TOKEN", token).args(["user", "whoami"]);
        crate::support::run(&mut thief, "").exits(1).says("Unauthenticated");
    }
    assert_eq!(alice.det("user whoami").ok(), "You are logged in as user 'determined'");
    alice.det("user logout").exits(0);
}

#[test]
fn p05_every_field_of_an_account_is_edited() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let edit = |flags: &str| det(&admin, &format!("-u admin user edit {flags}"));
    let row = |name: &str| {
        let rows = table(&admin.det("user list -a").ok());
        rows.into_iter().find(|row| row.contains(&format!("|{name}|"))).expect("listed")
    };
    det(&admin, "-u admin user create alice --password Correct0");
    det(&admin, "-u admin user create pupil --remote");
    assert_eq!(row("pupil"), "4|pupil||False|True|True|N/A|N/A|N/A|N/A");
    for (flags, field, name, expected) in [
        ("alice --display-name Al", "Display Name", "alice", "3|alice|Al|False|True|False|N/A|N/A|N/A|N/A"),
        ("alice --username alicia", "Username", "alicia", "3|alicia|Al|False|True|False|N/A|N/A|N/A|N/A"),
        ("alicia --admin true", "Admin", "alicia", "3|alicia|Al|True|True|False|N/A|N/A|N/A|N/A"),
        ("alicia --remote true", "Remote", "alicia", "3|alicia|Al|True|True|True|N/A|N/A|N/A|N/A"),
        ("alicia --active false", "Active", "alicia", "3|alicia|Al|True|False|True|N/A|N/A|N/A|N/A"),
    ] {
        assert_eq!(edit(flags), format!("Changes made to the following fields: {field}"));
        assert_eq!(row(name), expected);
    }
    let all = "alicia --display-name Ali --remote false --active true --admin false";
    assert_eq!(edit(all), "Changes made to the following fields: Display Name, Remote, Active, Admin");
    assert_eq!(row("alicia"), "3|alicia|Ali|False|True|False|N/A|N/A|N/A|N/A");
    refused(&admin, "-u admin user edit alicia", "No field provided. Use 'det user edit -h' for usage.");
    refused(&admin, "-u admin user edit nobody --admin true", "Failed to edit user fields: user not found");
    refused(&admin, "-u admin user edit admin --active false", "is the last active administrator");
}

#[test]
fn p05_what_others_are_refused_is_said_in_determineds_words() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let me = created(&muster, &admin, "alice");
    let link =
        "user link-with-agent-user alice --agent-uid 205 --agent-user a --agent-gid 205 --agent-group g";
    for (line, action, text) in [
        (
            "user create eve --password Correct0",
            "create user",
            "only admin privileged users can create users",
        ),
        ("user activate admin", "activate user", "only admin privileged users can update users"),
        ("user deactivate admin", "deactivate user", "only admin privileged users can update users"),
        ("user edit alice --admin true", "edit user fields", "only admin privileged users can update users"),
        (
            "user edit alice --remote true",
            "edit user fields",
            "only admin privileged users can update other users",
        ),
        (
            "user edit admin --username root",
            "edit user fields",
            "only admin privileged users can update other users",
        ),
        (
            "user edit admin --display-name Root",
            "edit user fields",
            "only admin privileged users can set another user's display name",
        ),
        (link, "link a user with UID/GID on agent", "only admin privileged users can update users"),
        ("master config show", "show master config", "user does not have permission"),
    ] {
        let contact = "Please contact your administrator in order to access this resource.";
        refused(&me, line, &format!("Failed to {action}: Forbidden({text}): {contact}"));
    }
    me.det("user edit alice --display-name Alice").exits(0);
}

#[test]
fn the_master_tells_of_itself() {
    let muster = Muster::up();
    let (admin, me) = (administrator(&muster), muster.person("me"));
    for line in ["auth list-providers", "auth login"] {
        assert_eq!(me.det(line).ok(), "No SSO providers found.");
    }
    let info: Value = serde_json::from_str(&det(&me, "master info --json")).expect("JSON");
    assert_eq!((&info["version"], &info["rbacEnabled"]), (&json!("0.38.1"), &json!(false)));
    let config = det(&admin, "-u admin master config show --json");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["resource_manager"]["type"], "agent");
}
