//! What the machine mounts, unmounts and moves while a task starts is no way for anybody to see the machine: what is judged
//! is what is shown (A1, I8). A user's own file system (FUSE) stops the start wherever its owner wants.

mod support;

use launch::TaskSpec;
use launch::spec::{BindMount, Propagation};
use support::fuse::Gate;
use support::machine::{Machine, Root};
use support::{Task, TestDir, bind, own_script, script};

/// A machine on which user 5001 has a file system that answers when the test says so, at `DIR/fuse`.
fn gated(root: Root, dir: &TestDir, setup: &str) -> (Machine, Gate) {
    for name in ["fuse", "p", "p/chroot", "p/chroot/proc", "p/chroot/run"] {
        dir.dir(name, 0o755, 5001);
    }
    let machine = Machine::new(root, &format!("cd {}\n{setup}", dir.0.display()));
    let gate = support::fuse::mount_gated(&machine, &dir.0.join("fuse"), 5001);
    (machine, gate)
}

/// Binds something between two files that their owner answers for.
fn between(dir: &TestDir, binds: Vec<BindMount>) -> Vec<BindMount> {
    let gate = |name: &str, at: &str| bind(&dir.0.join("fuse").join(name), at);
    let mut all = vec![gate("gate-a", "/a")];
    all.extend(binds);
    all.push(gate("gate-b", "/b"));
    all
}

#[test]
fn a01_what_is_mounted_and_unmounted_while_a_task_starts_is_not_seen() {
    for root in Root::ALL {
        let dir = TestDir::new();
        let (machine, gate) = gated(root, &dir, "");
        let here = |text: &str| machine.sh(&format!("cd {}; {text}", dir.0.display()));
        let text = "ls -A /c/proc /c/run; grep -c ' /c/' /proc/self/mountinfo";
        let bind_mounts = between(&dir, vec![bind(&dir.0.join("p/chroot"), "/c")]);
        let task = Task::create(&TaskSpec { bind_mounts, ..script(text) });
        assert!(task.start_on(&machine));
        gate.reached("gate-a");
        here("mount -t proc proc p/chroot/proc; mount --rbind /run p/chroot/run");
        gate.open();
        gate.reached("gate-b");
        here("umount p/chroot/proc; umount -l p/chroot/run");
        gate.open_for_good();
        task.wait();
        let done = task.outcome();
        assert_eq!(done.stdout, "/c/proc:\n\n/c/run:\n0\n", "{root:?}: {done:?}");
    }
}

#[test]
fn a01_what_its_owner_moves_while_a_task_starts_is_not_seen() {
    for root in Root::ALL {
        let dir = TestDir::new();
        let (machine, gate) = gated(
            root,
            &dir,
            "mount -t tmpfs none /run; echo s > /run/secret
             mount -t proc proc p/chroot/proc; mount --rbind /run p/chroot/run",
        );
        let here = |text: &str| machine.sh(&format!("cd {}; {text}", dir.0.display()));
        let text = "ls -A /c/chroot/proc /c/chroot/run";
        let bind_mounts = between(&dir, vec![bind(&dir.0.join("p2"), "/c")]);
        let task = Task::create(&TaskSpec { bind_mounts, ..script(text) });
        assert!(task.start_on(&machine));
        gate.reached("gate-a");
        here("mv p p2");
        gate.open();
        gate.reached("gate-b");
        here("mv p2 p");
        gate.open_for_good();
        task.wait();
        let done = task.outcome();
        assert_eq!(done.stdout, "/c/chroot/proc:\n\n/c/chroot/run:\n", "{root:?}: {done:?}");
    }
}

/// What is cloned before the machine's mounts stand still, because it is to see later ones.
#[test]
fn a01_what_is_there_when_a_task_starts_is_hidden_where_later_mounts_are_seen() {
    for uid in [0, 65_530] {
        let dir = TestDir::new();
        let (machine, gate) = gated(
            Root::Shared,
            &dir,
            "mount -t proc proc p/chroot/proc; mount -t proc proc p/chroot/proc; mount --rbind /dev p/chroot/run
             mkdir p/more p/more/deep p/late; chown -R 5001:5001 p/more; mkfifo -m 666 p/go; mount -t sysfs none p/more/deep",
        );
        let source = dir.0.join("p");
        let text = "ls -A /c/chroot/proc /c/chroot/run /c/more/deep /d/deep; echo ready; read go < /c/go
            grep -c ' /c/late ' /proc/self/mountinfo";
        let script = if uid == 0 { script } else { own_script };
        // Something on top makes nothing visible, and what it covers has been hidden before.
        let bind_mounts = vec![
            BindMount { propagation: Propagation::Rslave, ..bind(&source, "/c") },
            bind(&dir.dir("other", 0o755, 5001), "/c/chroot"),
            bind(&source.join("chroot"), "/c/chroot"),
            bind(&source.join("more"), "/d"),
        ];
        let late_mounts = vec![dir.0.clone()];
        let task = Task::create_for(&TaskSpec { bind_mounts, late_mounts, ..script(text) }, uid);
        assert!(task.start_on(&machine));
        task.wait_for("ready");
        machine.sh(&format!("mount -t tmpfs none {0}/late; echo go > {0}/go", source.display()));
        task.wait();
        let done = task.outcome();
        let expected = "/c/chroot/proc:\n\n/c/chroot/run:\n\n/c/more/deep:\n\n/d/deep:\nready\n1\n";
        assert_eq!(done.stdout, expected, "{uid}: {done:?}");
        drop(gate);
    }
}

/// What another user's file system hides for now can't be covered, and isn't shown either.
#[test]
fn a01_what_a_users_own_file_system_covers_is_not_in_the_task() {
    let dir = TestDir::new();
    let (machine, _gate) = gated(Root::Shared, &dir, "mount -t proc proc p/chroot/proc");
    support::fuse::mount(&machine, &dir.0.join("p/chroot"), 5001);
    let text = "grep -c ' /c/chroot/proc ' /proc/self/mountinfo; cat /c/chroot/hello";
    let bind_mounts = vec![bind(&dir.0.join("p"), "/c")];
    let done = Task::create(&TaskSpec { bind_mounts, ..script(text) }).run_on(&machine);
    assert_eq!(done.stdout, "0\nhello from fuse\n", "{done:?}");
}

/// A file of the machine's `/run` that is mounted elsewhere, as a resolver's configuration is, is no reason not to start.
#[test]
fn a13_a_file_of_run_that_is_mounted_elsewhere_is_shown_and_a_socket_is_not() {
    let dir = TestDir::new();
    let machine = Machine::new(
        Root::Shared,
        &format!(
            "mount -t tmpfs none /run; echo shown > /run/file; cd {}; touch file socket
             python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/socket\")'
             mount --bind /run/file file; mount --bind /run/socket socket",
            dir.0.display()
        ),
    );
    let text = "cat /c/file; test -S /c/socket && echo socket; echo end";
    let done = Task::create(&TaskSpec { bind_mounts: vec![bind(&dir.0, "/c")], ..script(text) });
    let done = done.run_on(&machine);
    assert_eq!(done.stdout, "shown\nend\n", "{done:?}");
}
