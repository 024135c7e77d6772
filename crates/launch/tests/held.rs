//! Who keeps the kernel waiting for him, by a file system of his or by his memory, keeps nothing of ours: no end from being
//! obeyed or told, no limit, no start from being given up.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use launch::spec::{Limits, Owner, Together};
use launch::{Exit, Limit, TaskSpec};
use support::machine::{Machine, Root};
use support::{Task, TestDir, script};

/// A killed process that waits for somebody's file system has what it has; who looks learns what it waits for (G7).
#[test]
fn b15_what_keeps_a_killed_task_is_told() {
    let dir = TestDir::new();
    let remote = dir.dir("remote", 0o700, 5001);
    let machine = Machine::new(Root::Private, "true");
    support::fuse::mount(&machine, &remote, 5001);
    let mut spec = script("echo ready; cat /x/silent");
    spec.bind_mounts = vec![support::bind(&remote, "/x")];
    let task = Task::create(&spec);
    assert!(task.start_on(&machine));
    task.wait_for("ready");
    let waiting = || {
        let lists = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        lists
            .filter(|path| fs::read(path.join("cmdline")).is_ok_and(|line| line == b"cat\0/x/silent\0"))
            .any(|path| fs::read_to_string(path.join("wchan")).is_ok_and(|at| at.contains("request_wait")))
    };
    support::wait_until("it waits for the file system", waiting);
    task.shim().unwrap().kill_now().unwrap();
    support::wait_until("that is told", || {
        task.output(launch::record::Source::Agent).contains("waits in the kernel (request_wait_answer)")
    });
    assert!(task.exit().is_none());
    // As an administrator would.
    let unmounted = machine.enter().args(["umount", "-f"]).arg(&remote).status().unwrap();
    task.wait();
    let done = task.outcome();
    assert!(done.exit.killed, "{unmounted}: {done:?}");
    assert_eq!(done.agent.matches("waits in the kernel").count(), 1, "{done:?}");
}

/// Whether a thread of a process whose command line has this in it waits in the kernel at one of these places.
fn waits(command: &str, at: &[&str]) -> bool {
    let lists = fs::read_dir("/proc").expect("readable").flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(command)
    };
    let threads =
        lists.filter(named).filter_map(|path| fs::read_dir(path.join("task")).ok()).flatten().flatten();
    threads
        .into_iter()
        .filter_map(|thread| fs::read_to_string(thread.path().join("wchan")).ok())
        .any(|place| at.iter().any(|at| place.contains(at)))
}

/// Who writes to a pipe keeps its readers in the kernel while that waits for his memory: what ends the task doesn't wait
/// with them (MG1).
#[test]
fn a04_b15_a_pipe_that_is_held_keeps_no_kill_from_being_obeyed() {
    let dir = TestDir::new();
    let (remote, ours) = (dir.dir("remote", 0o700, 5001), dir.dir("ours", 0o755, 5001));
    let machine = Machine::new(Root::Private, "true");
    support::fuse::mount(&machine, &remote, 5001);
    let program = r"
import mmap, os, threading, time
file = open('/x/silent', 'rb')
page = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
threading.Thread(target=lambda: os.writev(1, [b'x' * 4096, page]), daemon=True).start()
while not os.path.exists('/ours/go'):
    time.sleep(0.02)
os.write(2, b'look')
time.sleep(1000)
";
    let mut spec = script("echo ready; exec python3 -c \"$PROGRAM\" held-pipe");
    spec.env = vec![("PROGRAM".into(), program.into())];
    spec.bind_mounts = vec![support::bind(&remote, "/x"), support::bind(&ours, "/ours")];
    let task = Task::create(&spec);
    assert!(task.start_on(&machine));
    task.wait_for("ready");
    support::wait_until("it writes", || waits("held-pipe", &["request_wait", "folio", "page"]));
    fs::write(ours.join("go"), "").unwrap();
    let shim = task.task_dir.to_str().unwrap().to_owned();
    support::wait_until("the shim reads", || waits(&shim, &["pipe_read"]));
    task.shim().unwrap().kill_now().unwrap();
    // Some kernels let go of the page then, others only when its file system has gone.
    support::wait_until("that was obeyed", || {
        task.exit().is_some() || task.output(launch::record::Source::Agent).contains("waits in the kernel")
    });
    // MJ3: what it had on the disk kept others from theirs until then.
    support::wait_until("its directories are empty", || !task.task_dir.join("scratch/tmp").exists());
    let unmounted = machine.enter().args(["umount", "-f"]).arg(&remote).status().unwrap();
    task.wait();
    let done = task.outcome();
    assert!(done.exit.killed && done.stdout.starts_with("ready\n"), "{unmounted}: {done:?}");
    assert_eq!(done.stderr, "look", "nothing is lost: {done:?}");
}

/// Who reads a directory keeps others from reading it while that waits for his memory, once somebody wants to change it: a limit
/// doesn't wait with them (MG4).
#[test]
fn a04_a_directory_that_is_held_keeps_no_limit_from_being_obeyed() {
    let dir = TestDir::new();
    let remote = dir.dir("remote", 0o700, 5001);
    let machine = Machine::new(Root::Private, "true");
    support::fuse::mount(&machine, &remote, 5001);
    let program = r"
import ctypes, mmap, os, threading, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
silent = os.open('/x/silent', os.O_RDONLY)
page = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, silent, 0)
os.mkdir('/tmp/d')
d = os.open('/tmp/d', os.O_RDONLY)
reads = lambda: libc.syscall(217, d, ctypes.c_void_p(page), 4096)
threading.Thread(target=reads, daemon=True).start()
time.sleep(0.2)
threading.Thread(target=lambda: os.mkdir('/tmp/d/e'), daemon=True).start()
time.sleep(0.2)
with open('/var/tmp/large', 'wb') as file:
    file.write(bytes(40 << 20))
print('written', flush=True)
time.sleep(1000)
";
    let limits = Limits { scratch_bytes: Some(8 << 20), ..Limits::default() };
    let mut spec = TaskSpec { limits, ..script("exec python3 -c \"$PROGRAM\" held-directory") };
    spec.env = vec![("PROGRAM".into(), program.into())];
    spec.bind_mounts = vec![support::bind(&remote, "/x")];
    let task = Task::create(&spec);
    assert!(task.start_on(&machine));
    support::wait_until("its end", || task.output(launch::record::Source::Agent).contains("it is ended"));
    let agents = launch::holdings(&[&task.task_dir]);
    assert!(agents[0].as_ref().is_ok_and(|held| held.bytes > 8 << 20), "{agents:?}");
    let unmounted = machine.enter().args(["umount", "-f"]).arg(&remote).status().unwrap();
    task.wait();
    let done = task.outcome();
    assert_eq!(done.exit.limit, Some(Limit::Scratch), "{unmounted}: {done:?}");
}

/// Somebody on the machine who was given a descriptor of a task's directory keeps whoever removes it waiting, where no signal
/// ends that: its end is told all the same, and nothing of ours is kept.
#[test]
fn a04_mj2_a_directory_that_an_outsider_holds_keeps_no_end_from_being_told() {
    let dir = TestDir::new();
    let remote = dir.dir("remote", 0o700, 5001);
    let ours = dir.dir("ours", 0o777, 5001);
    let machine = Machine::new(Root::Private, "true");
    support::fuse::mount(&machine, &remote, 5001);
    let mut spec = script("mkdir /tmp/d; echo ready; until test -e /ours/go; do sleep 0.02; done; exit 3");
    spec.bind_mounts = vec![support::bind(&ours, "/ours")];
    spec.owner = Some(Owner { key: "eve".into(), account: None, limits: Together::default() });
    let task = Task::create(&spec);
    assert!(task.start_on(&machine));
    task.wait_for("ready");
    let program = r"
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
given = os.open(sys.argv[3], os.O_RDONLY)
os.setresgid(5001, 5001, 5001)
os.setresuid(5001, 5001, 5001)
silent = os.open(sys.argv[2], os.O_RDONLY)
page = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, silent, 0)
libc.syscall(217, given, ctypes.c_void_p(page), 4096)
";
    let mut outsider = machine.enter();
    outsider.args(["python3", "-c", program, "outsider"]).arg(remote.join("silent"));
    let mut outsider = outsider.arg(task.task_dir.join("scratch/tmp/d")).spawn().unwrap();
    support::wait_until("it holds it", || waits("outsider", &["request_wait", "folio", "page"]));
    fs::write(ours.join("go"), "").unwrap();
    task.wait();
    let done = task.outcome();
    // Nor whoever forgets it; the second time nobody waits.
    let forget = || launch::remove_task_dir(&task.task_dir).map_err(|e| e.kind());
    let (first, begun) = (forget(), Instant::now());
    let (second, took) = (forget(), begun.elapsed());
    // ML1: it stays its account's, wherever it is put, and who asks about that doesn't wait again either.
    let parent = task.task_dir.parent().unwrap();
    let lost = dir.dir("lost", 0o700, 0);
    let of = |owner| [parent, &lost].map(|parent| launch::leftovers(parent, owner)).concat();
    let (hers, his) = (of("eve"), of("bob"));
    let rest = lost.join("rest");
    let moved = launch::move_task_dir(&task.task_dir, &rest);
    let (later, begun) = (of("eve"), Instant::now());
    let again = (of("eve"), begun.elapsed());
    // First, for a test that fails removes its directories. It is busy, and silent no more.
    let _ = machine.enter().args(["umount", "-f"]).arg(&remote).output().unwrap();
    assert_eq!(done.exit, Exit { code: 3, ..Exit::default() }, "{done:?}");
    assert!(done.agent.contains("somebody on the machine holds one of them"), "{done:?}");
    let busy = Err(std::io::ErrorKind::ResourceBusy);
    assert_eq!((first, second), (busy, busy));
    assert!(took < Duration::from_secs(4), "nobody waits for it again");
    assert_eq!((hers, his), (vec![task.task_dir.clone()], vec![]));
    moved.unwrap();
    assert_eq!((&later, &again.0), (&vec![rest.clone()], &vec![rest.clone()]));
    assert!(again.1 < Duration::from_secs(4), "nor by its new name");
    outsider.wait().unwrap();
    support::wait_until("it is emptied", || of("eve").is_empty());
    launch::remove_task_dir(&rest).unwrap();
    assert!(!rest.exists());
    // ML2: nor is anything of that kept here, whatever its name was when it began, once something else is removed.
    let me = std::process::id().to_string();
    support::wait_until("nothing of it is left", || {
        launch::remove_task_dir(&rest).unwrap();
        let left = Command::new("ps").args(["-o", "pid,stat,comm", "--ppid", &me]).output().unwrap();
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        left.contains("ps") && !left.contains("muster-apart")
    });
}

/// A start that waits for somebody's file system is over when it is killed, whatever that does.
#[test]
fn a04_a_start_that_waits_for_a_file_system_is_over_when_it_is_killed() {
    let dir = TestDir::new();
    let remote = dir.dir("remote", 0o755, 5001);
    let machine = Machine::new(Root::Shared, "");
    let gate = support::fuse::mount_gated(&machine, &remote, 5001);
    let bind_mounts = vec![support::bind(&remote.join("gate"), "/x")];
    let task = Task::create(&TaskSpec { bind_mounts, ..script("echo ran") });
    assert!(task.start_on(&machine));
    gate.reached("gate");
    task.shim().expect("a shim").kill().expect("killed");
    task.wait();
    let done = task.outcome();
    assert!(done.exit.killed && done.stdout.is_empty(), "{done:?}");
    assert!(done.agent.contains("waits in the kernel"), "{done:?}");
    assert!(!task.task_dir.join("scratch/tmp").exists(), "emptied");
    gate.open_for_good();
    assert_eq!(task.output(launch::record::Source::Stdout), "");
}
