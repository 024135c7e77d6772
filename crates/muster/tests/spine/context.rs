//! Files that are sent along with a command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Muster, Setup};

#[track_caller]
fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("a directory");
        fs::write(path, text).expect("written");
    }
}

#[test]
fn a_context_becomes_the_work_directory() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    write(
        &alice.home,
        &[
            ("code/main.sh", "#!/bin/sh\necho main $1\n"),
            ("code/lib/deep/part.txt", "part"),
            ("code/with space ü.txt", "odd"),
            ("code/drop.log", "x"),
            ("code/keep.log", "x"),
            ("code/build/out.bin", "x"),
            ("code/__pycache__/a.pyc", "x"),
            ("code/.git/config", "x"),
            ("code/.detignore", "*.log\n!keep.log\nbuild/\n"),
            ("extra/more.txt", "more"),
            ("single.txt", "single"),
        ],
    );
    fs::create_dir(alice.home.join("code/empty")).expect("a directory");
    let main = alice.home.join("code/main.sh");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o755)).expect("ours");

    let options = "--context code --include extra --include single.txt";
    let listed = alice.script(options, "./main.sh 7; find . -type f | sort; ls -d empty; id -un").ok();
    let files = [
        "main 7",
        "./extra/more.txt",
        "./keep.log",
        "./lib/deep/part.txt",
        "./main.sh",
        "./single.txt",
        "./with space ü.txt",
        "empty",
        "alice",
    ];
    assert_eq!(listed, files.join("\n"));
    let owners = alice.script("--context code", r"find . -printf '%U:%G\n' | sort -u; pwd; echo $HOME").ok();
    assert_eq!(owners, "5001:5001\n/run/determined/workdir\n/run/determined/workdir");
}

#[test]
fn a_startup_hook_in_the_context_is_run_first() {
    let muster = Muster::up();
    let me = muster.person("me");
    write(&me.home, &[("code/startup-hook.sh", "echo hook\nexport GREETING=hello\n")]);
    assert_eq!(me.script("--context code", "echo $GREETING").ok(), "hook\nhello");
}

#[test]
fn links_and_modes_come_along() {
    let muster = Muster::up();
    let me = muster.person("me");
    write(&me.home, &[("code/real.txt", "real"), ("elsewhere/linked.txt", "linked")]);
    std::os::unix::fs::symlink("../elsewhere/linked.txt", me.home.join("code/link.txt")).expect("a link");
    fs::set_permissions(me.home.join("code/real.txt"), fs::Permissions::from_mode(0o640)).expect("ours");
    assert_eq!(me.script("--context code", "cat link.txt; stat -c ' %a' real.txt").ok(), "linked 640");
}

#[test]
fn r45_too_much_is_refused_before_it_is_sent() {
    let muster = Setup::default().config("max_context_bytes: 5000").up();
    let me = muster.person("me");
    write(&me.home, &[("code/big.bin", &"x".repeat(4000)), ("code/more.bin", &"y".repeat(1001))]);
    let refused = me.script("--context code", "true").exits(1);
    refused.says("the maximum allowed size is 4.8 KiB").says("big.bin (3.9 KiB), more.bin (1001 bytes)");
    assert_eq!(me.muster("command list -q").ok(), "", "nothing half done");
    fs::write(me.home.join("code/.detignore"), "more.bin\n").expect("written");
    assert_eq!(me.script("--context code", "ls").ok(), "big.bin");
}

#[test]
fn b17_what_stays_behind_is_said_and_the_rest_runs() {
    let muster = Muster::up();
    let me = muster.person("me");
    write(&me.home, &[("code/a.txt", "a")]);
    std::os::unix::fs::symlink("nowhere", me.home.join("code/broken")).expect("a link");
    std::os::unix::fs::symlink(".", me.home.join("code/loop")).expect("a link");
    let ran = me.script("--context code/", "ls");
    let ran = ran.says("broken is a link that leads nowhere").says("loop leads back to a directory");
    assert_eq!(ran.ok(), "a.txt");
    fs::create_dir_all(me.home.join("code").join(vec!["d"; 300].join("/"))).expect("made");
    me.script("--context code", "ls").exits(2).says("nested more than 128 directories deep");
    assert_eq!(me.muster("command list -q").ok().lines().count(), 1);
}

#[test]
fn what_can_not_be_sent_is_told() {
    let muster = Muster::up();
    let me = muster.person("me");
    write(&me.home, &[("code/a.txt", "a"), ("b/a.txt", "b")]);
    me.script("--context missing", "true").exits(1).says("can't read missing");
    me.script("--context code/a.txt", "true").exits(2).says("--context takes a directory");
    me.script("--context code --include b/a.txt", "true").exits(2).says("a.txt is sent along twice");
    me.script("--context code --config work_dir=/tmp", "true").exits(1).says("work_dir");
    assert_eq!(me.muster("command list -q").ok(), "");
}
