//! How a task ends and what stays: exit codes, kill (R43), the log, restarts.

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use launch::spec::Limits;
use launch::{Exit, Shim, TaskSpec, create_task_dir, remove_task_dir};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use support::{Task, run, script};

fn argv(words: &[&str]) -> TaskSpec {
    TaskSpec { argv: words.iter().map(|&w| w.to_owned()).collect(), ..script("") }
}

/// Processes on the machine whose command line holds `mark`.
fn processes(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .flatten()
        .filter_map(|e| fs::read(e.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(mark))
        .count()
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    assert_eq!(run(&script("exit 7")).exit, Exit { code: 7, ..Exit::default() });
    let done = run(&script("kill -SEGV $$"));
    assert_eq!(done.exit, Exit { code: 139, signal: Some(11), ..Exit::default() });
    let done = run(&argv(&["no-such-command"]));
    assert_eq!((done.exit.code, done.exit.failure), (127, None));
    assert!(done.agent.contains("no-such-command: command not found"), "{}", done.agent);
    assert_eq!(run(&argv(&["/no/such/command"])).exit.code, 127);
    let done = run(&argv(&["/etc/passwd"]));
    assert_eq!(done.exit.code, 126);
    assert!(done.agent.contains("/etc/passwd"), "{}", done.agent);
}

#[test]
fn the_command_is_found_in_the_tasks_path_only() {
    let mut spec = argv(&["true"]);
    spec.env = vec![("PATH".into(), "/nowhere".into())];
    assert_eq!(run(&spec).exit.code, 127);
    spec.env = vec![("PATH".into(), "/nowhere:/bin".into())];
    assert_eq!(run(&spec).exit.code, 0);
}

#[test]
fn the_environment_is_the_given_one() {
    let mut spec = argv(&["env"]);
    spec.env =
        vec![("A".into(), "b c\nd".into()), ("HOME".into(), "/".into()), ("PATH".into(), "/bin".into())];
    let done = run(&spec);
    assert_eq!(done.stdout, "A=b c\nd\nHOME=/\nPATH=/bin\nUSER=alice\nLOGNAME=alice\nSHELL=/bin/bash\n");
}

#[test]
fn a_missing_work_dir_is_a_clear_failure_and_not_made() {
    let mut spec = script("pwd");
    spec.work_dir = Some("/no/such/dir".into());
    let done = run(&spec);
    assert_eq!(done.exit.code, 125);
    assert!(done.exit.failure.is_some_and(|f| f.contains("work_dir /no/such/dir")));
    spec.work_dir = Some("/usr/share".into());
    assert_eq!(run(&spec).stdout, "/usr/share\n");
    spec.work_dir = Some("/root".into());
    assert_eq!(run(&spec).exit.code, 125);
}

#[test]
fn the_context_is_unpacked_as_the_user_in_the_work_dir() {
    let task = Task::create(&script("cat unpacked; stat -c '%u %g %a' unpacked"));
    fs::write(task.task_dir.join("context.tar.gz"), "archive\n").unwrap();
    assert_eq!(task.run().stdout, "archive\n5001 5001 644\n");

    let task = Task::create(&script("echo ran"));
    fs::write(task.task_dir.join("context.tar.gz"), "bad").unwrap();
    let done = task.run();
    assert_eq!((done.exit.code, done.stdout.as_str()), (125, ""));
    assert!(done.exit.failure.is_some_and(|f| f.contains("the archive is damaged")));
}

#[test]
fn output_is_kept_apart_and_complete() {
    let done = run(&script(
        "echo out; echo err >&2; printf 'no newline'; echo x > /dev/stderr; cat; exec >&- 2>&-; sleep 0.1",
    ));
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\nno newline", "err\nx\n"), "{done:?}");
}

#[test]
fn a_million_lines_arrive() {
    let done = run(&script("seq 1 1000000; seq 1 1000 >&2"));
    let want: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    assert!(done.stdout == want, "{} bytes instead of {}", done.stdout.len(), want.len());
    assert_eq!(done.stderr.lines().count(), 1000);
}

#[test]
fn records_are_written_at_once() {
    // The task ends only when it is killed, and that happens only when its line was seen.
    let task = Task::create(&script("mkfifo fifo; echo first; read x < fifo"));
    assert!(task.start());
    task.wait_for("first\n");
    assert_eq!(task.exit(), None);
    task.shim().unwrap().kill().unwrap();
    task.wait();
    assert_eq!(task.exit().map(|e| e.code), Some(137));
}

#[test]
fn r43_kill_ends_all_of_the_task_and_nothing_else() {
    let mark = format!("86{}", std::process::id());
    // The same user's process outside of any task.
    let mut bystander =
        Command::new("/bin/sleep").arg(&mark).uid(5001).gid(5001).stdout(Stdio::null()).spawn().unwrap();
    let other = Task::create(&script("echo ready; exec sleep 1000"));
    assert!(other.start());
    let task = Task::create(&script(&format!(
        "setsid sleep {mark} & (setsid nohup setsid sleep {mark} > /dev/null 2>&1 &); trap '' TERM; echo ready; \
         sleep {mark}; sleep {mark}"
    )));
    assert!(task.start());
    task.wait_for("ready");
    other.wait_for("ready");
    // Also what a task tries itself stays inside of it.
    assert!(run(&script("kill -9 -1; kill -9 1; sleep 0")).exit.code >= 0);
    assert!(processes(&mark) >= 4);
    task.shim().unwrap().kill().unwrap();
    task.wait();
    assert_eq!(task.exit(), Some(Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }));
    assert_eq!(processes(&mark), 1, "only the bystander lives");
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander was killed");
    assert!(other.shim().is_some() && other.exit().is_none(), "another task of the user was killed");
    other.shim().unwrap().kill().unwrap();
    other.wait();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn r43_a_kill_right_after_the_start_is_obeyed() {
    for _ in 0..20 {
        let task = Task::create(&script("sleep 1000"));
        assert!(task.start());
        task.shim().unwrap().kill().unwrap();
        task.wait();
        assert_eq!(task.exit(), Some(Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }));
    }
}

#[test]
fn r43_the_end_of_the_command_ends_its_daemons() {
    let mark = format!("87{}", std::process::id());
    let done = run(&script(&format!("setsid sleep {mark} & echo ready")));
    assert_eq!((done.exit.code, done.stdout.as_str()), (0, "ready\n"));
    assert_eq!(processes(&mark), 0);
}

#[test]
fn l02_killing_the_shim_ends_the_task_which_is_not_started_again() {
    let mark = format!("88{}", std::process::id());
    let task = Task::create(&script(&format!("setsid sleep {mark} & echo ready; sleep {mark}")));
    assert!(task.start());
    task.wait_for("ready");
    let shim = task.shim().unwrap();
    let pid: i32 = fs::read_to_string(task.task_dir.join("shim.pid"))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let sleepers: Vec<_> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| {
            fs::read(e.path().join("cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(&mark))
        })
        .filter_map(|e| Pid::from_raw(e.file_name().to_str()?.parse().ok()?))
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect();
    assert!(sleepers.len() >= 2);
    let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    for fd in sleepers.iter().chain([&shim.into_pidfd()]) {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap(), 1, "still alive");
    }
    assert_eq!(task.exit(), None);
    assert!(task.shim().is_none());
    assert!(task.start());
    task.wait();
    assert!(task.exit().unwrap().failure.is_some_and(|f| f.contains("not started a second time")));
}

#[test]
fn l02_starting_twice_runs_once() {
    let task = Task::create(&script("echo ran; mkfifo f; read x < f"));
    assert!(task.start() && task.start());
    task.wait_for("ran\n");
    let shim = task.shim().unwrap();
    assert!(task.start());
    shim.kill().unwrap();
    task.wait();
    assert!(task.start());
    task.wait();
    assert_eq!(task.outcome().stdout, "ran\n");
    assert!(task.exit().unwrap().killed);
}

#[test]
fn l02_a_pid_used_again_is_not_taken_for_the_shim() {
    let task = Task::create(&script("true"));
    assert!(task.shim().is_none());
    task.run();
    fs::write(task.task_dir.join("shim.pid"), "1 1\n").unwrap();
    assert!(task.shim().is_none());
}

#[test]
fn the_task_dir_is_all_or_nothing() {
    let dir = support::TestDir::new();
    let spec = script("true");
    let path = create_task_dir(&dir.0, &spec.task_id, &spec).unwrap();
    assert_eq!(create_task_dir(&dir.0, &spec.task_id, &spec).unwrap(), path);
    let other = TaskSpec { argv: vec!["false".into()], ..spec.clone() };
    assert!(create_task_dir(&dir.0, &spec.task_id, &other).is_err());
    for bad in ["../x", ".x", "a/b", ""] {
        assert!(create_task_dir(&dir.0, bad, &TaskSpec { task_id: bad.into(), ..spec.clone() }).is_err());
    }
    assert_eq!(Command::new("stat").args(["-c", "%a"]).arg(&path).output().unwrap().stdout, b"700\n");
    remove_task_dir(&path).unwrap();
    remove_task_dir(&path).unwrap();
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
}

#[test]
fn a_shim_without_a_task_says_so() {
    let task = Task::create(&script("true"));
    fs::remove_dir_all(&task.task_dir).unwrap();
    assert!(!task.start());
    assert!(Shim::open(&task.task_dir).unwrap().is_none());
}

#[test]
fn limits_are_enforced_and_running_out_of_memory_is_told() {
    if !launch::probe().cgroup.memory {
        return;
    }
    let mut spec = script("head -c 200000000 /dev/zero | tail");
    spec.limits =
        Limits { memory_bytes: Some(32 << 20), pids: Some(20), cpus: Some(0.5), ..Limits::default() };
    let task = Task::create(&spec);
    let done = task.run();
    assert_eq!(done.agent, "the task ran out of memory (limit 32 MiB)\n", "{done:?}");
    assert_ne!(done.exit.code, 0);
    for controller in ["memory", "pids", "cpu", "unified", ""] {
        let path = format!("/sys/fs/cgroup/{controller}/muster/muster-{}", spec.task_id);
        assert!(!std::path::Path::new(&path).exists(), "{path} was left behind");
    }
}

#[test]
fn the_command_is_in_the_cgroup_that_is_killed_as_a_whole() {
    if !launch::probe().cgroup.kill {
        return;
    }
    let spec = script("cat /proc/self/cgroup");
    let done = run(&spec);
    let line = format!("0::/muster/muster-{}\n", spec.task_id);
    assert!(done.stdout.contains(&line), "{done:?}");
}

#[test]
fn too_many_processes_are_refused_to_the_task_alone() {
    if !launch::probe().cgroup.pids {
        return;
    }
    let mut spec = script("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo all");
    spec.limits.pids = Some(5);
    let done = run(&spec);
    assert!(!done.stdout.contains("all") || done.stderr.contains("fork"), "{done:?}");
    // ME26: which setting that was is told where the program has failed by it.
    let told = done.agent.contains("it may have 5 (agent.task_limits.pids)");
    assert_eq!(told, done.exit.code != 0, "{done:?}");
}

#[test]
fn l03_a_full_disk_loses_nothing() {
    let place = support::TestDir::new();
    let disk = support::Disk::mount(place.dir("disk", 0o755, 0), "1m");
    let filler = disk.0.join("filler");
    // Leaves room for the description and little more.
    let spec = script("seq 1 100000");
    let task_dir = create_task_dir(&disk.0, &spec.task_id, &spec).unwrap();
    fs::write(&filler, vec![0; 900 << 10]).unwrap();
    let task = Task { dir: support::TestDir::new(), task_dir: task_dir.clone(), uid: 0 };
    assert!(task.start());
    let shim = task.shim().expect("a shim that waits for space");
    // The log grows until there is too little left.
    support::wait_until("the disk is full", || {
        nix::sys::statvfs::statvfs(&disk.0).unwrap().blocks_free() < 20
    });
    assert_eq!(launch::read_exit(&task_dir).unwrap(), None);
    fs::remove_file(&filler).unwrap();
    drop(shim);
    task.wait();
    let done = task.outcome();
    assert_eq!(done.exit.code, 0);
    let want: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(done.stdout == want, "{} bytes instead of {}", done.stdout.len(), want.len());
}

#[test]
fn probe_says_what_there_is() {
    let found = launch::probe();
    assert!(found.root && found.userns, "{found:?}");
}
