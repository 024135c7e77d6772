//! Where a mount of the machine's own system is when a task starts says nothing of where it will be: its directory may be a
//! user's, who moves it from under what covers it, or back from where nobody reached it. No task has such a mount at all,
//! hidden or not (A1, S1).

mod support;

use launch::TaskSpec;
use launch::spec::{BindMount, Propagation};
use support::machine::{Machine, Root};
use support::{Outcome, Task, TestDir, bind, own_script, script};

/// Starts a task, does something on the machine when it runs, and then lets it look at directories and count the mounts of
/// the machine's system below them.
fn look_after(machine: &Machine, spec: TaskSpec, fifo: &str, then: &str, at: &[&str]) -> Outcome {
    let at = at.join(" ");
    let text = format!(
        "echo ready; read go < {fifo}; ls -A {at} | tr '\\n' ' '
         for dir in {at}; do grep -c \" $dir .* - proc \" /proc/self/mountinfo; done"
    );
    let task = Task::create(&TaskSpec { argv: script(&text).argv, ..spec });
    assert!(task.start_on(machine));
    task.wait_for("ready");
    machine.sh(&format!("{then}; echo go > {fifo}"));
    task.wait();
    task.outcome()
}

/// The task's own `/var/tmp` lies over the machine's, from where its owner moves it.
#[test]
fn a01_what_is_moved_from_under_a_place_of_the_tasks_own_shows_nothing() {
    for root in Root::ALL {
        let machine = Machine::new(
            root,
            "mount -t tmpfs none /var; mkdir -p /var/tmp /var/home/p/chroot/proc; chmod 1777 /var/tmp
             mkfifo -m 666 /var/go; mount -t proc proc /var/home/p/chroot/proc; mv /var/home/p /var/tmp/p",
        );
        let at = "/var/home/p/chroot/proc";
        let done = look_after(&machine, script(""), "/var/go", "mv /var/tmp/p /var/home/p", &[at]);
        assert_eq!(done.stdout, "ready\n0\n", "{root:?}: {done:?}");
    }
}

/// A volume of the machine's lies over it, and whoever has the directory from before moves it. What honest mounts there are
/// beside it stay as they are, those that lie on each other too.
#[test]
fn a01_what_is_moved_from_under_a_volume_of_the_machines_shows_nothing() {
    for root in Root::ALL {
        let machine = Machine::new(
            root,
            "mount -t tmpfs none /srv; mkdir -p /srv/p/chroot/proc /srv/mnt /srv/two /srv/on; mkfifo -m 666 /srv/go
             mkdir -p /mnt; mount --bind /srv /mnt; mount --make-private /mnt
             mount -t proc proc /srv/p/chroot/proc; mount -t tmpfs none /srv/p/chroot/proc; mount -t proc proc /srv/p/chroot/proc
             mv /srv/p/chroot /srv/mnt; mount -t tmpfs none /srv/mnt; touch /srv/mnt/volume
             mount -t tmpfs none /srv/two; mount -t tmpfs none /srv/two; touch /srv/two/top
             mount -t proc proc /srv/on; mount -t tmpfs none /srv/on; touch /srv/on/volume",
        );
        let at = "/srv/p/chroot/proc";
        let then = "mv /mnt/mnt/chroot /mnt/p/chroot";
        let done =
            look_after(&machine, script(""), "/srv/go", then, &[at, "/srv/mnt", "/srv/two", "/srv/on"]);
        let expected =
            "ready\n/srv/mnt: volume  /srv/on: volume  /srv/p/chroot/proc:  /srv/two: top 0\n0\n0\n0\n";
        assert_eq!(done.stdout, expected, "{root:?}: {done:?}");
    }
}

/// A bind mount of `b`, where the proc is, whose start waits; meanwhile its owner moves the directory out of `b`, so that no
/// table has it, and back when the task runs.
fn moved_out_and_back(uid: u32, propagation: Propagation, machine: impl Fn(&str) -> Machine, then: &str) {
    let dir = TestDir::new();
    let owner = if uid == 0 { 5001 } else { uid };
    for name in ["b", "b/p", "b/p/proc", "away", "fuse"] {
        dir.dir(name, 0o777, owner);
    }
    let here = dir.0.display();
    let machine = machine(&format!("mkfifo -m 666 {here}/b/go; mount -t proc proc {here}/b/p/proc"));
    let gate = support::fuse::mount_gated(&machine, &dir.0.join("fuse"), owner);
    let text = "echo ready; read go < /c/go; ls -A /c/p/proc; ls -A /srv/in/p/proc 2> /dev/null
        grep -c '/p/proc .* - proc ' /proc/self/mountinfo";
    let source = BindMount { propagation, ..bind(&dir.0.join("b"), "/c") };
    let bind_mounts = vec![source, bind(&dir.0.join("fuse/gate"), "/a")];
    let script = if uid == 0 { script(text) } else { own_script(text) };
    let late_mounts = vec![dir.0.clone()];
    let task = Task::create_for(&TaskSpec { bind_mounts, late_mounts, ..script }, uid);
    assert!(task.start_on(&machine));
    gate.reached("gate");
    machine.sh(&format!("mv {here}/b/p {here}/away/p"));
    gate.open_for_good();
    task.wait_for("ready");
    machine.sh(&format!("mv {here}/away/p {here}/b/p; {then}; echo go > {here}/b/go"));
    task.wait();
    let done = task.outcome();
    let covered = if uid == 0 { 0 } else { 1 };
    assert_eq!(done.stdout, format!("ready\n{covered}\n"), "{uid}, {propagation:?}: {done:?}");
}

/// Its directory isn't in what a bind mount or the machine shows of a disk, so that no table has it, until it is moved back.
#[test]
fn a01_what_is_moved_back_to_where_a_task_sees_it_shows_nothing() {
    // In `/srv/in` it is like that before anything starts.
    let before = "mount -t tmpfs none /srv; mkdir -p /srv/part/p/proc /srv/in; mount --bind /srv/part /srv/in
        mount -t proc proc /srv/in/p/proc; mv /srv/part/p /srv/p";
    for root in Root::ALL {
        for propagation in [Propagation::Rprivate, Propagation::Rslave] {
            let machine = |setup: &str| Machine::new(root, &format!("{setup}\n{before}"));
            moved_out_and_back(0, propagation, machine, "mv /srv/p /srv/part/p");
        }
    }
}

#[test]
fn a01_what_is_moved_back_to_where_a_task_without_root_sees_it_shows_nothing() {
    for propagation in [Propagation::Rprivate, Propagation::Rslave] {
        moved_out_and_back(65_530, propagation, |setup| Machine::new(Root::Shared, setup), "true");
    }
}

/// An agent without root can't leave a mount out: what it can't cover ends the start.
#[test]
fn a01_what_an_agent_without_root_cannot_cover_ends_the_start() {
    let hidden = "mount -t tmpfs none /srv; mkdir -p /srv/p/chroot/proc /srv/mnt; mount -t proc proc /srv/p/chroot/proc
        mv /srv/p/chroot /srv/mnt; mount -t tmpfs none /srv/mnt";
    let unreachable =
        "mount -t tmpfs none /srv; mkdir -p /srv/part/p/proc /srv/in; mount --bind /srv/part /srv/in
        mount -t proc proc /srv/in/p/proc; mv /srv/part/p /srv/p";
    for setup in [hidden, unreachable] {
        let machine = Machine::new(Root::Shared, setup);
        let done = Task::create_for(&own_script("echo ran"), 65_530).run_on(&machine);
        assert_eq!(done.stdout, "", "{setup}: {done:?}");
        let why = done.exit.failure.expect("a reason");
        assert!(why.contains("unmount it on the machine") && why.contains("(proc)"), "{why}");
    }
}
