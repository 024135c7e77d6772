//! `muster up` by an ordinary user: everything runs under their own uid, and only what may.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{Muster, Setup, mode};

const UID: u32 = 6001;

#[track_caller]
fn up(config: &str) -> Muster {
    Setup::default().uid(UID).config(config).up()
}

#[test]
fn it_says_at_start_whose_tasks_it_takes() {
    let muster = up("");
    let said = muster.server().stderr.wait_for("the agent isn't root");
    let whose =
        "every task runs as uid 6001; it takes tasks of the default user and of accounts linked to that uid";
    assert!(said.contains(whose), "{said}");
    let data = fs::metadata(muster.data_dir()).expect("there");
    assert_eq!((data.uid(), data.mode() & 0o777), (UID, 0o700));
}

#[test]
fn the_default_users_command_runs_as_root_of_nothing() {
    let muster = up("");
    let me = muster.person("me");
    assert_eq!(me.muster("command run id").ok(), "uid=0(root) gid=0(root) groups=0(root)");
    let dir = muster.dir.path().join("mine");
    fs::create_dir(&dir).expect("a directory");
    mode(&dir, 0o755, UID);
    let volume = format!("--volume {}:/data", dir.display());
    me.script(&volume, "touch /data/made; cat /etc/shadow && exit 9; true").exits(0);
    assert_eq!(fs::metadata(dir.join("made")).expect("made").uid(), UID);
    me.script("", "exit 3").exits(3);
}

#[test]
fn a_task_does_not_see_musters_own_directory() {
    let muster = up("");
    let me = muster.person("me");
    let data = muster.data_dir();
    let tries = format!("ls -A {0}; cat {0}/muster.db; cat {0}/agent/agent.key; true", data.display());
    assert_eq!(me.script("", &tries).exits(0).out(), "");
    let refused = me.script(&format!("--volume {}:/x", data.display()), "true").exits(125);
    refused.says("it is one of Muster's own directories");
}

#[test]
fn accounts_of_other_users_are_refused_with_the_reason() {
    let muster = up("");
    let own = muster.linked_user("own", UID);
    assert_eq!(own.muster("command run id -un").ok(), "own");
    let alice = muster.linked_user("alice", 5001);
    let refused = alice.muster("command run id");
    assert_ne!(refused.code(), 0);
    assert_eq!(refused.out(), "");
    let refused = refused.says("runs as uid 6001 and can't start a task as alice:5001:lab:5001");
    refused.says("start the agent as root, or link the account to uid 6001");
    let bob = muster.user("bob");
    let refused = bob.muster("command run id");
    assert_ne!(refused.code(), 0);
    refused.says("takes tasks only of the default user").says("set agent.shared: true");
}

#[test]
fn a_shared_agent_takes_tasks_of_every_account_without_a_link() {
    let muster = up("agent: {shared: true}");
    muster.server().stderr.wait_for("it takes tasks of every account (agent.shared is on)");
    let (bob, alice) = (muster.user("bob"), muster.linked_user("alice", 5001));
    assert_eq!(bob.muster("command run id -u").ok(), "0");
    assert_ne!(alice.muster("command run id").code(), 0, "but nobody runs as somebody else");
}

#[test]
fn l02_its_tasks_outlive_it_too() {
    let mut muster = Setup::default().uid(UID).keeps_port().up();
    let me = muster.person("me");
    let running =
        me.start_script("", "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 7");
    running.stdout.wait_for("10\n");
    muster.kill();
    muster.begin();
    let all: String = (1..=100).map(|i| format!("{i}\n")).collect();
    assert_eq!(running.finish().exits(7).out(), all);
}
