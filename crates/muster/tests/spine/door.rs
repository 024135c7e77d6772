//! How people come in and go: the first accounts, registration, deletion. Logging in is in `session`.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Muster, Setup};

const WISH: &str = "a quiet lake\n";

#[test]
fn p01_x02_x03_the_first_administrators_password_is_made_up_and_read_once() {
    let config =
        "bootstrap: {admin: {username: root, email: root@lab.example, password: null}, default_user: pedl}";
    let mut muster = Setup::default().config(config).up();
    let file = muster.data_dir().join("initial-admin-password");
    assert_eq!(std::fs::metadata(&file).expect("made").permissions().mode() & 0o7777, 0o600);
    let password = std::fs::read_to_string(&file).expect("readable");
    let told = format!("first password is in {}", file.display());
    muster.server().stderr.wait_for(&told);
    assert!(!muster.server().stderr.text().contains(password.trim()));
    assert_eq!(muster.person("me").muster("user whoami").ok(), "pedl");

    // It is told of again, until somebody has used it.
    muster.stop();
    muster.begin();
    muster.server().stderr.wait_for(&told);
    let root = muster.person("root");
    root.muster_with("user login root --password-stdin", &password).exits(0);
    assert!(!file.exists());
    assert_eq!(root.muster("user whoami").ok(), "root");

    // Changing the configuration changes nothing.
    muster.stop();
    let other = "bootstrap: {admin: {username: boss, password: another lake}, default_user: nobody}\n";
    std::fs::write(muster.dir.path().join("master.yaml"), other).expect("written");
    muster.begin();
    let (root, me) = (muster.person("root"), muster.person("me"));
    root.muster_with("user login root --password-stdin", &password).exits(0);
    root.muster_with("user login boss --password-stdin", "another lake\n").exits(4);
    assert_eq!(me.muster("user whoami").ok(), "pedl");
    let (said, _) = muster.stop();
    assert!(!said.err().contains("first password is in"), "{}", said.err());
    muster.begin();
}

#[test]
fn x05_x11_who_registers_waits_for_an_administrator() {
    let muster = Muster::up();
    let (admin, alice) = (muster.admin(), muster.person("alice"));
    let register = "user register alice --email alice@lab.example --password-stdin";
    alice.muster_with(register, "short\n").exits(1).says("too short");
    alice.muster_with(register, "\n").exits(2).says("needs a password");
    alice.muster_with(register, WISH).exits(0).says("waits for an administrator");
    alice.muster_with(register, WISH).exits(1).says("this name is taken");
    let wrong = alice.muster_with("user login alice --password-stdin", "wrong lake\n").exits(4);
    let right = alice.muster_with("user login alice --password-stdin", WISH).exits(4);
    assert_eq!(right.err(), wrong.err(), "R16");

    let waiting = admin.json("user list --pending");
    assert_eq!(
        (&waiting[0]["username"], &waiting[0]["email"]),
        (&"alice".into(), &"alice@lab.example".into())
    );
    muster.person("eve").muster("user list --pending").exits(5);
    muster.person("eve").muster("user activate alice").exits(5);
    admin.muster("user activate alice").exits(0).says("User alice was activated.");
    alice.muster_with("user login alice --password-stdin", WISH).exits(0);
    admin.muster("user reject alice").exits(1).says("deactivate or delete");

    let bob = muster.person("bob");
    bob.muster_with("user register bob --email bob@lab.example --password-stdin", WISH).exits(0);
    for _ in 0..2 {
        admin.muster("user reject bob").exits(0).says("The registration of bob was rejected.");
    }
    bob.muster_with("user login bob --password-stdin", WISH).exits(4);
    admin.muster("user reject nobody").exits(6);

    let code = admin.muster("user invite --days 1").exits(0);
    let input = format!("{WISH}{}", code.out());
    let line = "user register bob --email bob@lab.example --password-stdin --invitation-stdin";
    bob.muster_with(line, &input).exits(0).says("log in with `muster user login bob`");
    bob.muster_with("user login bob --password-stdin", WISH).exits(0);
    bob.muster_with(&line.replace("bob", "carol"), &input).exits(5).says("the invitation is not valid");
    assert_eq!(admin.json("user invitations")[0]["usedBy"], admin.json("user list")[3]["id"]);
}

#[test]
fn x05_det_activates_who_registered() {
    let muster = Muster::up();
    let alice = muster.person("alice");
    let register = "user register alice --email alice@lab.example --password-stdin";
    alice.muster_with(register, WISH).exits(0);
    alice.det_with("user login alice", WISH).exits(1).says("Invalid username/password combination");
    muster.person("admin").det_with("-u admin user activate alice", "\n\n").exits(0);
    alice.det_with("user login alice", WISH).exits(0);
}

#[test]
fn x06_r35_a_deleted_user_is_gone_and_the_name_stays_with_what_was_made() {
    let muster = Muster::up();
    let (admin, alice) = (muster.admin(), muster.user("alice"));
    muster.user("bob");
    alice.muster("command run --detach sleep 600").exits(0);
    let id = alice.only_command();
    admin.muster("user delete alice").exits(2).says("--yes");
    alice.muster("user delete bob --yes").exits(5);
    admin.muster("user delete alice --yes").exits(1).says("alice has a task alive");
    admin.muster(&format!("command kill {id}")).exits(0);
    alice.wait_for_state(&id, "TERMINATED");
    admin.muster("user delete alice --yes --assets-to nobody").exits(6);
    admin.muster("user delete alice --yes").exits(0).says("User alice was deleted.");
    alice.muster("user whoami").exits(4);
    assert!(admin.muster("command list --all").ok().contains("alice"));
    assert!(!admin.muster("user list --all").ok().contains("alice"));
    // ME10
    admin.muster("user create alice").exits(1).says("user already exists: alice was deleted");
    admin.muster("user create Bob").exits(1).says("user already exists: bob, which differs in case alone");
    admin.muster("user rename bob alice").exits(1).says("user already exists");
    admin.muster("user delete admin --yes").exits(1);
    admin.muster("user delete determined --yes").exits(1).says("is the default user");
    admin.muster("user delete alice --yes").exits(6);
}
