//! As whom a command runs, and what it reaches on the machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::{Muster, Person, Setup, mode};

/// First of the ids that stand for a task's root.
const RANGE: u32 = 1 << 31;
/// First of those that are accounts' own, 4096 of each.
const ACCOUNTS: u32 = RANGE + 65_536 + (1 << 22);

/// A directory of the machine.
fn shared(muster: &Muster, name: &str, bits: u32, owner: u32) -> PathBuf {
    let dir = muster.dir.path().join(name);
    fs::create_dir(&dir).expect("a directory");
    mode(&dir, bits, owner);
    dir
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::metadata(path).expect("there");
    (meta.uid(), meta.gid())
}

#[track_caller]
fn volume(person: &Person, dir: &Path, script: &str) -> crate::support::Output {
    person.script(&format!("--volume {}:/data", dir.display()), script)
}

#[test]
fn d03_a_linked_user_is_that_user_in_files_and_in_name() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let dir = shared(&muster, "lab", 0o777, 0);
    fs::write(dir.join("of-bob"), "secret").expect("written");
    mode(&dir.join("of-bob"), 0o600, 5002);
    let said = volume(&alice, &dir, "id; id -un; echo hi > /data/mine; cat /data/of-bob").exits(1);
    assert_eq!(said.out(), "uid=5001(alice) gid=5001(lab) groups=5001(lab)\nalice\n");
    assert!(said.err().contains("/data/of-bob: Permission denied"), "{}", said.err());
    assert_eq!(owner(&dir.join("mine")), (5001, 5001));

    let closed = shared(&muster, "of-bob-only", 0o700, 5002);
    volume(&alice, &closed, "true").exits(125).says("user alice (uid 5001) may not enter it");
}

#[test]
fn d03_a_link_holds_for_tasks_that_start_afterwards() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let id = |person: &Person| person.muster("command run id -u").ok();
    assert_eq!(id(&alice), "0");
    let link =
        "user link-with-agent-user alice --agent-user alice --agent-group lab --agent-gid 5001 --agent-uid";
    alice.muster(&format!("-u admin {link} 5001")).exits(0);
    assert_eq!(id(&alice), "5001");
    alice.muster(&format!("-u admin {link} 5003")).exits(0);
    assert_eq!(id(&alice), "5003");
    let ran_as = alice.json("command list");
    let ran_as: Vec<_> = ran_as.as_array().expect("a list").iter().map(|c| c["runsAs"].clone()).collect();
    assert_eq!(ran_as, ["root:0:root:0", "alice:5001:lab:5001", "alice:5003:lab:5001"]);
}

#[test]
fn d04_d05_root_in_a_task_is_nobody_on_the_machine() {
    let muster = Muster::up();
    let me = muster.person("me");
    let dir = shared(&muster, "open", 0o777, 0);
    fs::write(dir.join("of-root"), "secret").expect("written");
    mode(&dir.join("of-root"), 0o600, 0);
    let script = "id; touch /data/made; for try in 'cat /etc/shadow' 'cat /data/of-root' 'chown 0 /data/of-root' \
                  'touch /usr/x' 'touch /etc/x' 'mount -t tmpfs none /mnt' 'mknod /data/sda b 8 0'; do \
                  $try && echo \"could $try\"; done; true";
    let said = volume(&me, &dir, script).exits(0);
    assert_eq!(said.out(), "uid=0(root) gid=0(root) groups=0(root)\n");
    // An id of this account's, and the group of all accounts.
    let (uid, gid) = owner(&dir.join("made"));
    assert!((ACCOUNTS..ACCOUNTS + (520_000 << 12)).contains(&uid) && gid == RANGE, "{uid} {gid}");
    assert_eq!((uid - ACCOUNTS) % 4096, 0, "root is an account's first");
    assert_eq!(owner(&dir.join("of-root")), (0, 0));
}

#[test]
fn d07_an_unprivileged_default_has_a_home_that_it_can_write() {
    let yaml = "security: {default_task: {user: det-nobody, uid: 65533, group: det-nobody, gid: 65533}}";
    let muster = Setup::default().config(yaml).up();
    let me = muster.person("me");
    let said =
        me.script("", "id; cd && echo fine > file && cat file; getent passwd det-nobody | cut -d: -f3").ok();
    assert_eq!(said, "uid=65533(det-nobody) gid=65533(det-nobody) groups=65533(det-nobody)\nfine\n65533");
    let alice = muster.linked_user("alice", 5001);
    assert_eq!(alice.muster("command run id -u").ok(), "5001", "a link goes before the default");
}

#[test]
fn d06_bind_mounts_are_read_only_or_not_and_where_they_should_be() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let dir = shared(&muster, "mine", 0o755, 5001);
    fs::write(dir.join("file"), "text").expect("written");
    let path = dir.display();
    let script = "cat /a/b/c/file relative/file && ! touch /a/b/c/x && touch relative/y";
    alice.script(&format!("--volume {path}:/a/b/c:ro --volume {path}:relative"), script).exits(0);
    assert_eq!(owner(&dir.join("y")), (5001, 5001));
    assert!(!dir.join("x").exists());
    let yaml = format!("bind_mounts: [{{host_path: {path}, container_path: /x, read_only: true}}]\n");
    fs::write(alice.home.join("config.yaml"), yaml).expect("written");
    assert_eq!(alice.script("--config-file config.yaml", "cat /x/file").ok(), "text");
}

#[test]
fn r39_a_task_has_no_rights_and_can_gain_none() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let status = alice.script("", "grep -E '^(Uid|Gid|Groups|Cap|NoNew)' /proc/self/status").ok();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["5001"; 4]);
    assert_eq!(field("Gid:"), ["5001"; 4]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    alice.script("", "su -c id root </dev/null || exit 42").exits(42);
}

#[test]
fn a_task_sees_its_own_processes_and_places_only() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let data = muster.data_dir();
    let script = format!(
        "ls /tmp /dev/shm; ls {0} && echo 'sees {0}'; ls -d /proc/[0-9]* | wc -l; cat /proc/1/environ; \
         touch /tmp/mine /dev/shm/mine /run/determined/workdir/mine && echo private",
        data.display()
    );
    let said = alice.script("", &script).exits(0);
    let lines: Vec<_> = said.out().lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    assert!(!said.out().contains("sees") && lines.contains(&"private"), "{}", said.out());
    let processes: u32 = lines.iter().find_map(|line| line.parse().ok()).expect("a number");
    assert!(processes < 8, "{}", said.out());
    assert!(!Path::new("/tmp/mine").exists() && !Path::new("/dev/shm/mine").exists());
}

const ALICE: &str = "alice:x:5001:5001::/home/alice:/bin/sh\n";
const LAB: &str = "lab:x:7001:alice\nvideo-lab:x:990:alice\ndocker:x:7002:alice\n";

/// What is said when root:lab 2770 is bound and written to, and the groups of a task of alice's.
fn in_the_lab(muster: &Muster, person: &Person) -> (i32, String) {
    let dir = muster.dir.path().join("lab");
    if !dir.exists() {
        fs::create_dir(&dir).expect("a directory");
        std::os::unix::fs::chown(&dir, Some(0), Some(7001)).expect("we are root");
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o2770)).expect("we are root");
    }
    let said = volume(person, &dir, "id -G; touch /data/mine && stat -c %g /data/mine");
    (said.code(), said.out().to_owned())
}

#[test]
fn b08_a_task_has_the_groups_that_the_machine_gives_its_user() {
    let muster = Setup::default().accounts(ALICE, LAB).up();
    let alice = muster.linked_user("alice", 5001);
    // None of the system's, and none that means power.
    assert_eq!(in_the_lab(&muster, &alice), (0, "5001 7001\n7001\n".to_owned()));
    // The name alone gives nothing.
    let link =
        "user link-with-agent-user bob --agent-uid 5003 --agent-user alice --agent-gid 5003 --agent-group x";
    let bob = muster.user("bob");
    bob.muster(&format!("-u admin {link}")).exits(0);
    assert_eq!(bob.muster("command run id -G").ok(), "5003");
    assert_eq!(in_the_lab(&muster, &bob).0, 125);
    // As the machine has it when the task starts.
    let machine = fs::read_to_string(muster.dir.path().join("group")).expect("readable");
    fs::write(muster.dir.path().join("group"), format!("{machine}late:x:7003:alice\n")).expect("written");
    assert_eq!(alice.muster("command run id -G").ok(), "5001 7001 7003");
    // Root in a task is nobody on the machine.
    let me = muster.person("me");
    assert_eq!(me.muster("command run id -G").ok(), "0");
}

#[test]
fn b08_groups_can_be_turned_off() {
    let muster = Setup::default().accounts(ALICE, LAB).config("agent: {groups: linked-only}").up();
    let alice = muster.linked_user("alice", 5001);
    assert_eq!(alice.muster("command run id -G").ok(), "5001");
    assert_eq!(in_the_lab(&muster, &alice).0, 125);
}

#[test]
fn a11_ids_of_the_system_are_not_linked_unless_its_administrator_lists_them() {
    let muster = Muster::up();
    let admin = muster.admin();
    let link = |admin: &Person, uid: u32, gid: u32| {
        let names = "--agent-user a --agent-group g";
        admin.muster(&format!("user link-with-agent-user admin --agent-uid {uid} --agent-gid {gid} {names}"))
    };
    link(&admin, 5001, 42).exits(1).says("gid 42 belongs to shadow, a group with power over this machine");
    link(&admin, 1000, 6).exits(1).says("disk");
    link(&admin, 33, 33).exits(1).says("uid 33 belongs to www-data").says("agent.allowed_ids.uids");
    link(&admin, 200, 300).exits(0);
    admin.muster("workspace create w").exits(0);
    admin.muster("workspace edit w --agent-gid 42 --agent-group g").exits(1).says("shadow");

    let muster = Setup::default().config("agent: {allowed_ids: {uids: [33], gids: [33]}}").up();
    let admin = muster.admin();
    link(&admin, 33, 33).exits(0);
    link(&admin, 33, 42).exits(1).says("shadow");
    assert_eq!(admin.muster("command run id -u").ok(), "33");
}

#[test]
fn a11_the_default_identity_is_none_of_the_system() {
    let yaml = "security: {default_task: {user: www, uid: 33, group: www, gid: 33}}";
    let muster = Setup::default().config(yaml).install();
    let said = crate::support::run(&mut muster.server_command(), "");
    said.exits(1).says("security.default_task: uid 33 belongs to www-data");
}
