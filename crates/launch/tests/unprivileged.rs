//! An agent without root: everything runs as its own user, and Muster's directories still can't be seen.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use launch::spec::Seccomp;
use launch::{Shim, TaskSpec};
use support::{Outcome, Task, bind, identity, own_script};

/// The agent's user, who has no account on the machine.
const USER: u32 = 65_530;

fn run(spec: &TaskSpec) -> Outcome {
    Task::create_for(spec, USER).run()
}

#[test]
fn d05_root_in_the_task_is_the_agents_user() {
    let task = Task::create_for(
        &own_script(
            "id -un; id -u; id -g; touch f; pwd; cat /proc/self/uid_map | tr -s ' '; echo ready; exec sleep 1000",
        ),
        USER,
    );
    assert!(task.start());
    task.wait_for("ready");
    let said = task.output(launch::record::Source::Stdout);
    assert_eq!(said, format!("root\n0\n0\n/run/determined/workdir\n 0 {USER} 1\nready\n"));
    assert_eq!(fs::metadata(task.task_dir.join("scratch/workdir/f")).unwrap().uid(), USER);
}

#[test]
fn d03_the_agents_user_is_itself() {
    let mut spec = own_script("id -un; id -u; id -gn");
    spec.identity = identity("bob", USER, "lab", USER);
    let done = run(&spec);
    assert_eq!(done.stdout, format!("bob\n{USER}\nlab\n"), "{done:?}");
}

#[test]
fn r37_nobody_else_is_possible() {
    for (uid, gid) in [(5001, USER), (USER, 5001)] {
        let mut spec = own_script("echo ran");
        spec.identity = identity("alice", uid, "lab", gid);
        let done = run(&spec);
        assert_eq!((done.exit.code, done.stdout.as_str()), (125, ""));
        assert!(done.exit.failure.is_some_and(|f| f.contains("start the agent as root")));
    }
    let done = run(&TaskSpec { ..support::script("echo ran") });
    assert!(done.exit.failure.is_some_and(|f| f.contains("start it as root")));
}

#[test]
fn r39_no_capability_is_left() {
    let spec = own_script(
        "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr -s '\\t ' ' '
         umount /tmp && echo UMOUNTED; mount -t tmpfs none /tmp && echo MOUNTED; touch /x && echo ROOT
         unshare -Ur true && unshare -Urm sh -c 'umount /proc || umount -l /tmp' && echo UNDONE; true",
    );
    let done = run(&TaskSpec { seccomp: Seccomp::Namespaces, ..spec });
    let none = "0000000000000000";
    assert_eq!(
        done.stdout,
        format!(
            "CapInh: {none}\nCapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\nCapAmb: {none}\nNoNewPrivs: 1\n"
        ),
        "{done:?}"
    );
}

#[test]
fn r38_masks_hold_against_the_same_user() {
    let spec = own_script(
        "cat /x/state/db; ls -A /x/state; ls -A /x/tasks/*; cat /x/tasks/*/spec.json
         umount /x/state; rmdir /x/state; mv /x/state /x/away; mv /x /y
         unshare -Urm sh -c 'umount /x/state; umount -l /x; cat /x/state/db; mount --bind /x /mnt && cat /mnt/state/db'
         ls -A /x",
    );
    let task = Task::create_for(&spec, USER);
    let state = task.dir.dir("state", 0o700, USER);
    fs::write(state.join("db"), "DATABASE").unwrap();
    chown(state.join("db"), Some(USER), Some(USER)).unwrap();
    chown(&task.dir.0, Some(USER), Some(USER)).unwrap();
    let seccomp = Seccomp::Namespaces;
    let bind_mounts = vec![bind(&task.dir.0, "/x")];
    let spec = TaskSpec { masked: vec![state.clone()], bind_mounts, seccomp, ..spec };
    fs::write(task.task_dir.join("spec.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    let done = task.run();
    assert_eq!(done.exit.code, 0, "{done:?}");
    assert_eq!(done.stdout, "shim\nstate\ntasks\n", "{done:?}");
    assert_eq!(fs::read_to_string(state.join("db")).unwrap(), "DATABASE");

    let bound =
        TaskSpec { bind_mounts: vec![bind(&state, "/x")], masked: vec![state], ..own_script("echo ran") };
    assert!(run(&bound).exit.failure.is_some_and(|f| f.contains("Muster's own")));
}

#[test]
fn r43_a_kill_ends_it() {
    let task = Task::create_for(&own_script("echo ready; setsid sleep 1000 & sleep 1000"), USER);
    assert!(task.start());
    task.wait_for("ready");
    task.shim().unwrap().kill().unwrap();
    task.wait();
    assert!(task.exit().unwrap().killed);
}

#[test]
fn the_places_work_and_limits_that_cannot_be_set_are_told() {
    let mut spec = own_script(
        "touch /tmp/a /var/tmp/a /dev/shm/a /run/determined/info/a a /mnt/data/a && script -qc true /dev/null && echo works",
    );
    spec.limits.memory_bytes = Some(1 << 30);
    let task = Task::create_for(&spec, USER);
    let data = task.dir.dir("data", 0o700, USER);
    let spec = TaskSpec { bind_mounts: vec![bind(&data, "/mnt/data")], ..spec };
    fs::write(task.task_dir.join("spec.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    let done = task.run();
    assert_eq!(done.stdout, "works\n", "{done:?}");
    assert!(done.agent.contains("the memory limit is not enforced"), "{done:?}");
    assert_eq!(fs::metadata(data.join("a")).unwrap().uid(), USER);
}

#[test]
fn directories_that_their_user_cannot_enter_are_removed() {
    let task = Task::create_for(&own_script("mkdir -p d/e; touch d/e/f; chmod 000 d/e d"), USER);
    assert_eq!(task.run().exit.code, 0);
    // As the agent's user, in whose way such directories are.
    let path = task.task_dir.clone();
    let gone = std::thread::spawn(move || {
        rustix::thread::set_thread_res_uid(None, Some(rustix::process::Uid::from_raw(USER)), None).unwrap();
        launch::remove_task_dir(&path).map(|()| path.exists())
    });
    assert!(!gone.join().unwrap().unwrap());
}

/// G10: an agent's user may have many descriptors on their way over sockets, and then no others, until they arrive.
#[test]
fn a07_too_many_descriptors_on_their_way_hold_up_a_start_and_no_more() {
    // A user of this test's own, for the kernel counts by user.
    let uid = 5079;
    let hog = r#"
import array, errno, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (3000, 3000))
fds, pairs = array.array("i", [0] * 250), []
try:
    while True:
        pairs.append(socket.socketpair()); pairs[-1][0].setblocking(False)
        try:
            while True: pairs[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except BlockingIOError: pass
except OSError as e: print(errno.errorcode[e.errno], flush=True)
if sys.argv[1:]: time.sleep(2)
else: sys.stdin.read()
"#;
    let begin = |argument: &[&str]| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", hog]).args(argument).uid(uid).gid(uid);
        let mut hog = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(hog.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ETOOMANYREFS\n");
        hog
    };
    let task = Task::create_for(&own_script("echo ready; exec sleep 1000"), uid);
    let mut first = begin(&["for a moment"]);
    assert!(task.start_by(&["sh", "-c", "ulimit -n 1024; exec \"$@\"", "sh"]), "the shim isn't up");
    task.wait_for("ready");
    first.wait().unwrap();

    // Meanwhile an agent that asks for the way to the master is told to ask again.
    let mut second = begin(&[]);
    assert!(Shim::relay_listener(&task.task_dir).is_err());
    drop(second.stdin.take());
    second.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Shim::relay_listener(&task.task_dir).is_ok_and(|listener| listener.is_some()) {
        assert!(Instant::now() < deadline, "no listener");
    }
    task.shim().unwrap().kill().unwrap();
    task.wait();
}
