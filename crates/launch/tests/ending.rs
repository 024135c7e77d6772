//! How a task is ended: with grace (B15), for limits (A4, A12), on a full disk (A4); and what is said of it (B14).

mod support;

use std::fs;
use std::time::{Duration, Instant};

use launch::spec::{Limits, Seccomp};
use launch::{Exit, Limit, TaskSpec, create_task_dir};
use support::{Disk, Task, TestDir, run, script};

/// With time to clean up.
fn graceful(text: &str, seconds: u64) -> TaskSpec {
    TaskSpec { kill_grace_ms: seconds * 1000, ..script(text) }
}

/// Runs it until it says `ready`, asks for its end and waits for that; how long it took.
fn ended(spec: &TaskSpec) -> (support::Outcome, Duration) {
    let task = Task::create(spec);
    assert!(task.start());
    task.wait_for("ready");
    let asked = Instant::now();
    task.shim().expect("alive").kill().expect("asked");
    task.wait();
    (task.outcome(), asked.elapsed())
}

#[test]
fn b14_a_status_is_no_signal() {
    for code in [129, 137, 255] {
        assert_eq!(run(&script(&format!("exit {code}"))).exit, Exit { code, ..Exit::default() });
    }
    let done = run(&script("kill -KILL $$"));
    assert_eq!(done.exit, Exit { code: 137, signal: Some(9), ..Exit::default() });
    // Signals without a name, too.
    let done = run(&script("kill -40 $$; sleep 10"));
    assert_eq!(done.exit, Exit { code: 168, signal: Some(40), ..Exit::default() });
}

#[test]
fn b15_a_task_has_time_to_clean_up() {
    let (done, _) = ended(&graceful("trap 'echo cleaned; exit 3' TERM; echo ready; sleep 1000", 60));
    assert_eq!((done.stdout.as_str(), done.exit.code), ("ready\ncleaned\n", 3));
    assert_eq!((done.exit.killed, done.exit.signal), (true, None));
    // A program that the shell has started, while the shell itself has no handler.
    let inner = "sh -c 'trap \"sleep 0.3; echo cleaned; exit 0\" TERM; echo ready; while :; do sleep 0.05; done'; true";
    let (done, _) = ended(&graceful(inner, 60));
    assert_eq!(done.stdout, "ready\ncleaned\n", "{done:?}");
    assert_eq!((done.exit.signal, done.exit.killed), (Some(15), true));
    // Who doesn't care ends at once.
    let (done, took) = ended(&graceful("echo ready; exec sleep 1000", 60));
    assert_eq!(done.exit, Exit { code: 143, signal: Some(15), killed: true, ..Exit::default() });
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn b15_what_does_not_end_is_killed_after_the_grace() {
    let (done, took) =
        ended(&graceful("trap '' TERM; setsid sleep 999 & echo ready; while :; do sleep 0.1; done", 1));
    assert_eq!(done.exit, Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() });
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let (done, _) = ended(&graceful("trap '' TERM; echo ready; while :; do sleep 0.1; done", 0));
    assert_eq!(done.exit.signal, Some(9));
}

#[test]
fn b15_the_second_kill_is_immediate() {
    let task = Task::create(&graceful("trap '' TERM; echo ready; while :; do sleep 0.1; done", 600));
    assert!(task.start());
    task.wait_for("ready");
    let shim = task.shim().expect("alive");
    shim.kill().expect("asked");
    shim.kill().expect("repeating it changes nothing");
    shim.kill_now().expect("asked");
    task.wait();
    assert_eq!(task.exit(), Some(Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }));
}

#[test]
fn a04_its_directories_are_empty_before_the_end_is_known() {
    let task = Task::create(&script(
        "mkdir -p /tmp/a/b; echo x | tee /tmp/a/b/f /var/tmp/f f /run/determined/info/f",
    ));
    fs::write(task.task_dir.join("context.tar.gz"), "archive").expect("written");
    assert_eq!(task.run().exit.code, 0);
    assert_eq!(fs::read_dir(task.task_dir.join("scratch")).expect("stays").count(), 0);
    assert!(!task.task_dir.join("context.tar.gz").exists());
    // It is not started a second time all the same.
    fs::remove_file(task.task_dir.join("exit.json")).expect("there");
    assert!(task.start());
    task.wait();
    assert!(task.exit().expect("ended").failure.is_some_and(|f| f.contains("not started a second time")));
}

#[test]
fn a04_too_much_disk_space_ends_the_task() {
    let limits = Limits { scratch_bytes: Some(8 << 20), ..Limits::default() };
    let text = "head -c 1000000 /dev/zero > /tmp/fine; echo fine; head -c 20000000 /dev/zero > /var/tmp/f; sleep 1000";
    let done = run(&TaskSpec { limits, ..script(text) });
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Scratch), Some(9)), "{done:?}");
    assert!(!done.exit.killed && done.stdout == "fine\n", "{done:?}");
    assert!(done.agent.contains("limit of 8 MiB (agent.task_limits.scratch): it is ended"), "{done:?}");
    // Without a name, it is space all the same.
    let text = "exec 3> /tmp/f; rm /tmp/f; head -c 20000000 /dev/zero >&3; sleep 1000";
    let done = run(&TaskSpec { limits, ..script(text) });
    assert_eq!(done.exit.limit, Some(Limit::Scratch), "{done:?}");
    // What is linked twice is there once, and holes are nothing.
    let text = "head -c 6000000 /dev/zero > f; for i in 1 2 3 4; do ln f f$i; done; truncate -s 1G g; sleep 1; echo fine";
    assert_eq!(run(&TaskSpec { limits, ..script(text) }).stdout, "fine\n");
}

#[test]
fn a04_a_full_log_says_so() {
    let limits = Limits { log_bytes: Some(1 << 20), ..Limits::default() };
    let text = "head -c 3000000 /dev/zero | tr '\\0' x; echo over > /tmp/f; cat /tmp/f >&2";
    let done = run(&TaskSpec { limits, ..script(text) });
    assert_eq!((done.exit.code, done.exit.limit), (0, None), "{}", done.agent);
    assert!(done.stdout.len() < 1 << 20 && done.stdout.len() > 900_000 && done.stderr.is_empty());
    assert!(
        done.agent.contains("the log has reached its limit of 1 MiB (agent.task_limits.log)"),
        "{}",
        done.agent
    );
    assert!(done.agent.contains("of output beyond the log's limit were thrown away"), "{}", done.agent);

    let limits = Limits { log_ends_task: true, ..limits };
    let done = run(&TaskSpec { limits, ..script("yes; sleep 1000") });
    assert_eq!((done.exit.limit, done.exit.signal, done.exit.killed), (Some(Limit::Log), Some(9), false));
    assert!(done.agent.contains("the task is ended"), "{}", done.agent);
}

/// A task in a directory on a small disk, with what else goes on it.
fn on(disk: &Disk, spec: &TaskSpec) -> Task {
    let task_dir = create_task_dir(&disk.0, &spec.task_id, spec).expect("made");
    Task { dir: TestDir::new(), task_dir, uid: 0 }
}

#[test]
fn a04_a_task_that_fills_the_disk_is_killed_and_its_end_is_known() {
    let place = TestDir::new();
    let disk = Disk::mount(place.dir("disk", 0o755, 0), "8m");
    // One that fills it with files and one that fills it with output; both go on trying.
    for filling in ["while :; do cat /dev/zero >> /tmp/f; done 2> /dev/null", "yes"] {
        let other = on(&disk, &script("echo ready; read x < /dev/null; exec sleep 1000"));
        assert!(other.start());
        other.wait_for("ready");
        let task = on(&disk, &script(&format!("echo ready; {filling}")));
        assert!(task.start());
        task.wait_for("ready");
        support::wait_until("the disk is full", || {
            nix::sys::statvfs::statvfs(&disk.0).expect("mounted").blocks_free() < 40
        });
        // Others end, and what they wrote is kept.
        other.shim().expect("alive").kill().expect("asked");
        other.wait();
        assert_eq!(other.outcome().stdout, "ready\n", "{filling}");
        task.shim().expect("alive").kill().expect("asked");
        task.wait();
        assert_eq!(task.exit(), Some(Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }));
        assert!(task.outcome().stdout.starts_with("ready\n"));
        drop((task, other));
        // It has healed.
        let next = on(&disk, &script("head -c 3000000 /dev/zero > /tmp/f && echo fine"));
        assert_eq!(next.run().stdout, "fine\n", "after {filling}");
    }
}

#[test]
fn a04_output_leaves_others_enough_of_a_disk_to_start() {
    let place = TestDir::new();
    let disk = Disk::mount(place.dir("disk", 0o755, 0), "64m");
    let free = || {
        let disk = nix::sys::statvfs::statvfs(&disk.0).expect("mounted");
        disk.blocks_free() * disk.fragment_size()
    };
    let task = on(&disk, &script("yes"));
    assert!(task.start());
    support::wait_until("the disk is as full as can be", || free() < (1 << 20) + (128 << 10));
    for _ in 0..5 {
        let next = on(&disk, &script("echo fine; exec tail -c 100 /dev/null"));
        assert_eq!(next.run().stdout, "fine\n");
    }
    task.shim().expect("alive").kill().expect("asked");
    task.wait();
}

#[test]
fn a12_a_fork_bomb_is_its_own_problem() {
    if !launch::probe().cgroup.pids {
        return;
    }
    let limits = Limits { pids: Some(64), cpus: Some(0.5), ..Limits::default() };
    let bomb = Task::create(&TaskSpec {
        limits,
        // The bomb itself may end for want of a process; the task stays.
        ..script("(f() { f | f & }; while :; do f; done) 2> /dev/null & echo ready; exec sleep 1000")
    });
    assert!(bomb.start());
    bomb.wait_for("ready");
    assert_eq!(
        run(&script("for i in 1 2 3 4 5; do sh -c 'echo x' & done; wait; echo fine")).stdout,
        "x\nx\nx\nx\nx\nfine\n"
    );
    bomb.shim().expect("alive").kill().expect("asked");
    bomb.wait();
    assert!(bomb.exit().expect("ended").killed);
}

#[test]
fn a12_b14_out_of_memory_is_named() {
    if !launch::probe().cgroup.memory {
        return;
    }
    let limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    let done = run(&TaskSpec { limits, ..script("exec tail /dev/zero") });
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{:?}", done.exit);
    assert_eq!(run(&script("cat /proc/self/oom_score_adj")).stdout, "500\n");
}

#[test]
fn a14_what_no_training_needs_is_refused() {
    let python = "import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    ctypes.set_errno(0)
    libc.syscall(*args)
    return errno.errorcode.get(ctypes.get_errno(), 'fine')
def sock(family, kind=socket.SOCK_RAW, protocol=0):
    try:
        socket.socket(family, kind, protocol).close()
        return 'fine'
    except OSError as e:
        return errno.errorcode[e.errno]
names = dict(io_uring_setup=425, io_setup=206, io_submit=209, keyctl=250, add_key=248, bpf=321, perf_event_open=298, userfaultfd=323,
             init_module=175, open_by_handle_at=304, x32_getpid=0x40000027)
print(*(f'{n}={call(v, 0, 0, 0, 0, 0)}' for n, v in names.items()))
print('personality', call(135, 0xffffffff), call(135, 0x0400000))
print('sti', call(16, 0, 0x5412, 0), call(16, 0, 0xff00005412, 0))
print('vsock', sock(40, 1), 'alg', sock(38, 5), 'packet', sock(17), 'netfilter', sock(16, 3, 12), 'route', sock(16, 3, 0))
print('unix', sock(1, 1), 'inet', sock(2, 1), 'inet6', sock(10, 1))
a, b = socket.socketpair()
print(os.popen('echo sub').read().strip(), len(socket.if_nameindex()) > 0)
";
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let argv = |seccomp| TaskSpec {
        argv: vec!["/usr/bin/python3".into(), "-c".into(), python.into()],
        seccomp,
        ..script("")
    };
    let done = run(&argv(Seccomp::Default));
    assert_eq!(
        done.stdout,
        "io_uring_setup=ENOSYS io_setup=ENOSYS io_submit=ENOSYS keyctl=ENOSYS add_key=ENOSYS bpf=EPERM perf_event_open=EPERM userfaultfd=ENOSYS \
         init_module=EPERM open_by_handle_at=EPERM x32_getpid=ENOSYS\npersonality fine EPERM\nsti EPERM EPERM\n\
         vsock EAFNOSUPPORT alg EAFNOSUPPORT packet EAFNOSUPPORT netfilter EAFNOSUPPORT route fine\n\
         unix fine inet fine inet6 fine\nsub True\n",
        "{done:?}"
    );
    let done = run(&argv(Seccomp::Off));
    assert!(done.stdout.contains("keyctl=fine") || !done.stdout.contains("keyctl=ENOSYS"), "{done:?}");
    assert!(run(&support::root_script("grep Seccomp: /proc/self/status")).stdout.contains('2'));
}

#[test]
fn b08_a_task_enters_what_its_groups_may_enter() {
    let dir = TestDir::new();
    let lab = dir.dir("lab", 0o2770, 0);
    std::os::unix::fs::chown(&lab, Some(0), Some(7001)).expect("we are root");
    support::mode(&lab, 0o2770);
    let text = "id -G; touch /lab/f && stat -c %g /lab/f";
    let bound = TaskSpec { bind_mounts: vec![support::bind(&lab, "/lab")], ..script(text) };
    let inside = TaskSpec { groups: vec![7001], ..bound.clone() };
    assert_eq!(run(&inside).stdout, "5001 7001\n7001\n");
    assert!(run(&bound).exit.failure.is_some_and(|f| f.contains("may not enter it")));
    for bad in [0, u32::MAX, support::RANGE] {
        assert_eq!(run(&TaskSpec { groups: vec![bad], ..inside.clone() }).exit.code, 125, "{bad}");
    }
}
