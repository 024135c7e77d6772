//! Accounts as administrators manage them, and what everybody else is refused. Logging in and out is in `session`.

use serde_json::{Value, json};

use crate::support::{Muster, Person, Setup};

/// Name, administrator, active: of all accounts, in the order of their names.
#[track_caller]
fn accounts(person: &Person) -> Value {
    let users = person.json("user list -a");
    let row = |user: &Value| json!([user["username"], user["admin"], user["active"]]);
    let mut rows: Vec<_> = users.as_array().expect("a list").iter().map(row).collect();
    rows.sort_by_key(Value::to_string);
    rows.into()
}

#[test]
fn p01_a_new_installation_has_two_users_with_blank_passwords() {
    let muster = Muster::up();
    let me = muster.person("me");
    assert_eq!(accounts(&me), json!([["admin", true, true], ["determined", false, true]]));
    for name in ["admin", "determined"] {
        muster
            .person(name)
            .muster(&format!("user login {name}"))
            .exits(0)
            .says(&format!("Logged in as {name}."));
    }

    let pedl = Setup::default().config("bootstrap: {default_user: pedl}").up();
    assert_eq!(pedl.person("me").muster("user whoami").ok(), "pedl");
    pedl.person("me").muster("user login determined").exits(4);
}

#[test]
fn p04_the_administrator_is_urged_to_set_a_password_while_it_is_blank() {
    let muster = Muster::up();
    let me = muster.person("me");
    let urge = "The password of admin is blank. Set one with: muster -u admin user change-password";
    for line in ["user whoami", "user login admin"] {
        me.muster(&format!("-u admin {line}")).exits(0).says(urge);
    }
    let changed =
        me.muster_with("-u admin user change-password --password-stdin", "correct horse\n").exits(0);
    assert!(!changed.err().contains("is blank"), "{}", changed.err());
    let quiet = me.muster("-u admin user whoami").exits(0);
    assert_eq!((quiet.out(), quiet.err()), ("admin\n", ""));

    muster.person("other").muster("-u admin user list").exits(4).says("admin is not logged in");
    let log_in = |password| muster.person("other").muster_with("user login admin --password-stdin", password);
    log_in("wrong horse\n").exits(4).says("wrong user name or password");
    let good = log_in("correct horse\n").exits(0);
    assert!(!good.err().contains("is blank"), "{}", good.err());
}

#[test]
fn p05_only_administrators_manage_accounts() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    muster.user("bob");
    let before = alice.json("user list -a");
    for line in [
        "user create eve",
        "user activate bob",
        "user deactivate bob",
        "user rename bob eve",
        "user edit bob --display-name Eve",
        "user edit alice --admin true",
        "user link-with-agent-user alice --agent-uid 5001 --agent-user a --agent-gid 5001 --agent-group g",
        "user unlink-agent-user alice",
        "superuser grant alice",
        "superuser revoke admin",
        "agent invite",
        "master config",
    ] {
        alice.muster(line).exits(5);
    }
    alice.muster_with("user change-password bob --password-stdin", "correct horse\n").exits(5);
    assert_eq!(alice.json("user list -a"), before, "nothing has changed");
    alice.muster("user edit alice --display-name Alice").exits(0);
}

#[test]
fn p12_a_created_user_is_active_with_a_blank_password() {
    let muster = Muster::up();
    let admin = muster.admin();
    admin.muster("user create alice").exits(0).says("User alice was created.");
    admin.muster("user create alice").exits(1).says("can't create user alice: user already exists");
    admin.muster_with("user create bob --admin --password-stdin", "correct horse\n").exits(0);
    let expected = json!([
        ["admin", true, true],
        ["alice", false, true],
        ["bob", true, true],
        ["determined", false, true]
    ]);
    assert_eq!(accounts(&admin), expected);
    assert_eq!(muster.person("a").muster("-u alice user whoami").ok(), "alice");
    muster.person("b").muster("-u bob user whoami").exits(4);
}

#[test]
fn p13_p14_a_changed_password_ends_the_sessions_that_rest_on_the_old_one() {
    let muster = Muster::up();
    let (alice, twin, admin) = (muster.user("alice"), muster.person("twin"), muster.admin());
    twin.muster("user login alice").exits(0);
    alice.muster_with("user change-password --password-stdin", "short\n").exits(1).says("too short");
    alice.muster_with("user change-password --password-stdin", "password123\n").exits(1).says("most common");
    assert_eq!(twin.muster("user whoami").ok(), "alice", "nothing was changed by that");

    let own = alice.muster_with("user change-password --password-stdin", "correct horse\n").exits(0);
    own.says("your other sessions have ended");
    assert_eq!(alice.muster("user whoami").ok(), "alice", "one's own session goes on");
    twin.muster("user whoami").exits(4);
    twin.muster_with("user login alice --password-stdin", "correct horse\n").exits(0);

    let line = "user change-password alice --password-stdin";
    admin.muster_with(line, "battery staple\n").exits(0).says("all sessions of alice have ended");
    for person in [&alice, &twin] {
        person.muster("user whoami").exits(4);
        person.muster_with("user login alice --password-stdin", "correct horse\n").exits(4);
    }
    admin.muster_with(line, "\n").exits(0).says("The password of alice is blank now.");
    assert_eq!(alice.muster("-u alice user whoami").ok(), "alice");
}

#[test]
fn a08_who_logged_in_before_is_known_among_others_who_guess() {
    let muster = Muster::up();
    let (alice, other) = (muster.user("alice"), muster.person("other"));
    alice.muster_with("user change-password --password-stdin", "correct horse\n").exits(0);
    let log_in =
        |person: &Person, password| person.muster_with("user login alice --password-stdin", password);
    log_in(&alice, "correct horse\n").exits(0);
    // The same Unix user, as far as the master can tell: after so many each guess there has to wait for seconds.
    for _ in 0..14 {
        log_in(&other, "wrong horse\n").exits(4);
    }
    std::thread::scope(|scope| {
        let guessing = scope.spawn(|| {
            for _ in 0..3 {
                log_in(&other, "wrong horse\n").exits(4);
            }
        });
        log_in(&alice, "correct horse\n").exits(0);
        assert!(!guessing.is_finished(), "she waits for none of them");
    });
    log_in(&other, "correct horse\n").exits(0);
}

#[test]
fn p17_p19_only_active_users_come_in() {
    let muster = Muster::up();
    let (alice, admin) = (muster.user("alice"), muster.admin());
    admin.muster_with("user change-password alice --password-stdin", "correct horse\n").exits(0);
    admin.muster("user deactivate alice").exits(0).says("User alice was deactivated.");
    let log_in = |password| alice.muster_with("user login alice --password-stdin", password);
    log_in("correct horse\n").exits(5).says("user is not active");
    log_in("wrong horse\n").exits(4).says("wrong user name or password");
    let listed = |line| admin.muster(line).ok().contains(" alice ");
    assert!(!listed("user list") && listed("user list -a"));
    admin.muster("user activate alice").exits(0);
    log_in("correct horse\n").exits(0);
    assert_eq!(alice.muster("user whoami").ok(), "alice");
}

#[test]
fn x07_the_last_administrator_stays() {
    let muster = Muster::up();
    let (admin, alice) = (muster.admin(), muster.user("alice"));
    let last = "is the last active administrator";
    for line in ["superuser revoke admin", "user deactivate admin", "user edit admin --admin false"] {
        admin.muster(line).exits(1).says(last);
    }
    admin.muster("superuser grant alice").exits(0).says("alice is an administrator now");
    alice.muster("superuser revoke admin").exits(0).says("admin is no administrator any more");
    admin.muster("user create bob").exits(5);
    alice.muster("superuser revoke alice").exits(1).says(last);
}

#[test]
fn d02_a_link_takes_all_four_parts() {
    let muster = Muster::up();
    let (admin, alice) = (muster.admin(), muster.user("alice"));
    let parts = ["--agent-uid 5001", "--agent-user alice", "--agent-gid 5002", "--agent-group lab"];
    let link = |parts: &[&str]| format!("user link-with-agent-user alice {}", parts.join(" "));
    for missing in 0..4 {
        let rest: Vec<_> = parts.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, p)| *p).collect();
        admin.muster(&link(&rest)).exits(2);
    }
    admin.muster(&link(&parts)).exits(0);
    let users = alice.json("user list");
    let linked = users.as_array().expect("a list").iter().find(|user| user["username"] == "alice");
    assert_eq!(
        linked.expect("listed")["agentUserGroup"],
        json!({"agentUid": 5001, "agentUser": "alice", "agentGid": 5002, "agentGroup": "lab"})
    );
}

#[test]
fn lists_come_as_table_json_and_csv() {
    let muster = Muster::up();
    let admin = muster.admin();
    admin.muster("user edit determined --display-name =1+1").exits(0);
    let head = "User Id,Username,Display Name,Admin,Active,Remote,Agent Uid,Agent Gid,Agent User,Agent Group";
    let csv = admin.muster("user list --csv").ok();
    assert_eq!(csv.lines().next(), Some(head));
    assert!(csv.contains(",determined,'=1+1,False,True,False,,,,"), "{csv}");
    let table = admin.muster("user list").ok();
    let cells: Vec<_> = table.lines().next().expect("a head").split('|').map(str::trim).collect();
    assert_eq!(cells.join(","), head);
    for list in ["user list", "command list", "agent list", "slot list", "task list"] {
        admin.json(list);
        assert!(admin.muster(&format!("{list} --csv")).ok().contains(','));
    }
    admin.muster("user list --csv --json").exits(2);
}
