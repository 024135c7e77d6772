//! What is private to a task: its places to write (R40, R41), its view of the machine, and Muster's directories.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use support::{ROOT, Task, TestDir, bind, mounts, root_script, run, script};

#[test]
fn every_task_has_its_own_places() {
    // Other tests mount things of theirs meanwhile.
    support::own_mount_namespace();
    let before = mounts();
    let names = ["tmp", "var/tmp", "dev/shm", "run/determined", "run/determined/train/model"];
    let text: String = names.iter().map(|n| format!("ls -A /{n} | grep mark; touch /{n}/mark && ")).collect();
    let text = format!("{text} echo private");
    assert_eq!(run(&script(&text)).stdout, "private\n");
    let done = run(&root_script(&text));
    assert_eq!(done.stdout, "private\n", "{done:?}");
    for name in names {
        assert!(!Path::new("/").join(name).join("mark").exists());
    }
    assert_eq!(mounts(), before, "a mount was left on the machine");
}

#[test]
fn the_layout_is_the_contracts() {
    let done = run(&script(
        "cd /run/determined; stat -c '%n %a %U:%G' . info pythonuserbase workdir train train/model train/logs /tmp /var/tmp
         stat -c '%n %a' / /dev /dev/shm /run",
    ));
    assert_eq!(
        done.stdout,
        ". 700 alice:lab\ninfo 755 alice:lab\npythonuserbase 755 alice:lab\nworkdir 700 alice:lab\n\
         train 755 alice:lab\ntrain/model 755 alice:lab\ntrain/logs 755 alice:lab\n/tmp 1777 root:root\n\
         /var/tmp 1777 root:root\n/ 755\n/dev 755\n/dev/shm 1777\n/run 755\n",
        "{done:?}"
    );
}

#[test]
fn b21_there_is_a_python_of_that_name() {
    let done = run(&script(
        "python -c 'print(6 * 7)'; readlink -f $(command -v python3) $(command -v python) | uniq | wc -l",
    ));
    assert_eq!(done.stdout, "42\n1\n", "{done:?}");
}

#[test]
fn the_machine_is_read_only() {
    let text = "for d in / /usr /etc /var /var/lib /opt /home /dev /sys /proc/sys /boot /mnt; do touch $d/x 2>/dev/null && echo $d; done; true";
    assert_eq!(run(&script(text)).stdout, "");
    assert_eq!(run(&root_script(text)).stdout, "");
}

#[test]
fn devices_terminals_and_shared_memory_work() {
    let done = run(&script(
        "echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; head -c 2 /dev/full | wc -c
         ls -l /proc/self/fd/0 | sed 's/.*-> //'; ls /dev | tr '\\n' ' '; script -qc 'tty' /dev/null | tr -d '\\r'; ls /dev/fd/ > /dev/null && echo fd",
    ));
    let mut lines = done.stdout.lines();
    assert_eq!([lines.next(), lines.next(), lines.next()], [Some("2"); 3], "{done:?}");
    assert_eq!(lines.next(), Some("/dev/null"));
    assert_eq!(
        lines.next(),
        Some("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero /dev/pts/0"),
        "{done:?}"
    );
    assert_eq!(lines.next(), Some("fd"));
    let mut spec = script("df -B1 --output=size /dev/shm | tail -1");
    spec.shm_bytes = Some(1 << 20);
    assert_eq!(run(&spec).stdout.trim(), "1048576");
}

#[test]
fn a12_places_in_memory_are_limited() {
    let text = "df -B1 --output=size /run /dev/shm | tail -2; df --output=itotal /run /dev/shm | tail -2
                head -c 100M /dev/zero > /run/lock/x; stat -c %s /run/lock/x; touch /dev/x /x";
    let done = run(&script(text));
    let numbers: Vec<u64> = done.stdout.lines().map(|n| n.trim().parse().unwrap()).collect();
    assert_eq!(numbers, [64 << 20, 2 << 30, 16_384, 524_288, 64 << 20], "{done:?}");
    let mut spec = script("df -B1 --output=size /run /dev/shm | tail -2");
    (spec.run_bytes, spec.limits.memory_bytes) = (Some(1 << 20), Some(1 << 30));
    let done = run(&spec);
    assert_eq!(
        done.stdout.split_ascii_whitespace().collect::<Vec<_>>(),
        ["1048576", "536870912"],
        "{done:?}"
    );
}

#[test]
fn a12_a_size_of_nothing_is_no_size_without_limit() {
    let mut spec = script(
        "head -c 1M /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x; df --output=size /dev/shm | tail -1",
    );
    spec.shm_bytes = Some(0);
    let done = run(&spec);
    assert_eq!(done.stdout.split_whitespace().collect::<Vec<_>>(), ["65536", "64"], "{done:?}");
}

#[test]
fn a12_nobody_gets_more_shared_memory_than_half_of_the_machines() {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    let spec =
        launch::TaskSpec { shm_bytes: Some(1 << 50), ..script("df -k --output=size /dev/shm | tail -1") };
    let size: u64 = run(&spec).stdout.trim().parse().unwrap();
    // Whole pages.
    assert!(size.abs_diff(total / 2) <= 64, "{size} of {total}");
}

#[test]
fn a14_the_machines_interfaces_are_not_shown() {
    for spec in [script("ls /sys/class/net; touch /sys/x"), root_script("ls /sys/class/net; touch /sys/x")] {
        let spec = launch::TaskSpec { network: launch::spec::Network::None, ..spec };
        let done = run(&spec);
        assert_eq!(done.stdout, "lo\n", "{done:?}");
        assert!(done.stderr.contains("Read-only") || done.stderr.contains("Permission denied"), "{done:?}");
    }
}

/// Who the machine's audit log says has logged in.
#[test]
fn a14_a_task_does_not_choose_who_logged_in() {
    let done = run(&script(
        "cat /proc/self/loginuid; echo; echo 6001 > /proc/self/loginuid; cat /proc/self/loginuid; echo",
    ));
    let (before, after) = done.stdout.trim().split_once('\n').expect("two lines");
    assert_eq!(before, after, "{done:?}");
}

#[test]
fn a14_cgroups_of_others_are_not_shown() {
    let mut other = script("echo ready; exec sleep 1000");
    other.limits.memory_bytes = Some(1 << 28);
    let other = Task::create(&other);
    assert!(other.start());
    other.wait_for("ready");
    let name = other.task_dir.file_name().unwrap().to_str().unwrap().to_owned();
    for (kind, as_root) in [(script as fn(&str) -> launch::TaskSpec, false), (root_script, true)] {
        let mut spec = kind("find /sys/fs/cgroup -name '*muster*'; cat /proc/self/cgroup /proc/self/mountinfo
             cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; mkdir /sys/fs/cgroup/x; ls /sys/fs > /dev/null && echo end");
        spec.limits.memory_bytes = Some(1 << 29);
        let done = run(&spec);
        assert!(done.stdout.ends_with("end\n"), "{as_root}: {done:?}");
        assert!(!done.stdout.contains(&name), "{as_root}: {done:?}");
        // Its own limit is what programs look for.
        assert!(done.stdout.contains(&format!("{}\n", 1 << 29)), "{as_root}: {done:?}");
    }
}

#[test]
fn extra_devices_are_shown() {
    let mut spec = script("test -c /dev/net/tun && echo tun; test -c /dev/kmsg && echo kmsg");
    if !Path::new("/dev/net/tun").exists() {
        return;
    }
    spec.devices = vec!["/dev/net/tun".into()];
    assert_eq!(run(&spec).stdout, "tun\n");
    for bad in ["/etc/passwd", "/dev/../etc/passwd", "/dev/shm", "/dev/none"] {
        spec.devices = vec![bad.into()];
        assert_eq!(run(&spec).exit.code, 125, "{bad}");
    }
}

#[test]
fn a_task_sees_its_own_processes_only() {
    let done = run(&script(
        "ls /proc | grep -c '^[0-9]'; cat /proc/1/comm > /dev/null; kill -9 1; ls /proc/1/fd; cat /proc/1/environ; echo $$",
    ));
    let mut lines = done.stdout.lines();
    assert!(lines.next().is_some_and(|n| n.parse::<u32>().unwrap() <= 5), "{done:?}");
    // Pid 2: the first after the init, which survives a kill and shows nothing.
    assert_eq!(lines.next(), Some("2"), "{done:?}");
    assert_eq!(lines.next(), None, "{done:?}");
}

#[test]
fn the_task_directory_is_invisible() {
    let task = Task::create(&script(""));
    let other = Task::create(&script("true"));
    let path = task.task_dir.display().to_string();
    let spec = script(&format!(
        "cat {path}/spec.json; ls {path}; ls {0}; find / -xdev -name spec.json 2>/dev/null; true",
        other.dir.0.display()
    ));
    let done = run(&spec);
    assert_eq!(done.stdout, "", "{done:?}");
    // Nor through a bind mount of a directory above it: it is masked there.
    let task = Task::create(&script("cat /x/tasks/*/spec.json; ls -A /x/tasks/*/; echo done"));
    let mut spec = launch::TaskSpec {
        bind_mounts: vec![bind(&task.dir.0, "/x")],
        ..script("cat /x/tasks/*/spec.json; ls -A /x/tasks/*/; echo done")
    };
    spec.task_id = "visible".into();
    let parent = task.dir.0.join("tasks");
    support::mode(&parent, 0o755);
    let task_dir = launch::create_task_dir(&parent, "visible", &spec).unwrap();
    support::mode(&task_dir, 0o755);
    support::mode(&task_dir.join("spec.json"), 0o644);
    let visible = Task { dir: TestDir::new(), task_dir, uid: 0 };
    let done = visible.run();
    assert!(!done.stdout.contains("argv"), "{done:?}");
}

#[test]
fn r40_work_folders_are_0700_of_the_user() {
    let text = "echo ready; exec sleep 1000";
    for (spec, uid) in [(script(text), 5001), (root_script(text), ROOT)] {
        let task = Task::create(&spec);
        assert!(task.start());
        task.wait_for("ready");
        let scratch = task.task_dir.join("scratch");
        for (name, bits, owner) in [
            ("workdir", 0o700, uid),
            ("determined", 0o700, uid),
            ("tmp", 0o1777, 0),
            ("var-tmp", 0o1777, 0),
            ("", 0o700, 0),
        ] {
            let found = fs::metadata(scratch.join(name)).unwrap();
            assert_eq!((found.mode() & 0o7777, found.uid()), (bits, owner), "{name}");
        }
    }
}

#[test]
fn r40_a_planted_link_is_not_followed() {
    let dir = TestDir::new();
    let victim = dir.dir("victim", 0o755, 0);
    let task = Task::create(&script("true"));
    symlink(&victim, task.task_dir.join("scratch")).unwrap();
    let done = task.run();
    assert_eq!(done.exit.code, 125);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
}

#[test]
fn r41_nothing_in_a_tree_of_the_user_changes_its_owner() {
    let dir = TestDir::new();
    let mine = dir.dir("mine", 0o777, 5001);
    let theirs = dir.file("mine/theirs", "x", 0o644);
    symlink("/etc/passwd", mine.join("link")).unwrap();
    let owner = fs::metadata("/etc/passwd").unwrap().uid();
    let spec = launch::TaskSpec {
        bind_mounts: vec![
            bind(&mine, "/run/determined/workdir/mine"),
            bind(&mine, "/run/determined/workdir"),
        ],
        ..script("ls")
    };
    assert_eq!(run(&spec).exit.code, 0);
    assert_eq!(fs::metadata(&theirs).unwrap().uid(), 0);
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), owner);
}

#[test]
fn the_machines_accounts_keep_their_names() {
    let done = run(&script(
        "id -un 0; getent passwd 5001; getent group 5001; grep -c . /etc/passwd > /dev/null && echo x > /etc/passwd; stat -c %U /etc/passwd",
    ));
    assert_eq!(
        done.stdout, "root\nalice:x:5001:5001::/run/determined/workdir:/bin/bash\nlab:x:5001:\nroot\n",
        "{done:?}"
    );
}

/// F18: to a tmpfs, a size of nothing is no limit.
#[test]
fn a12_no_shared_memory_is_hardly_any() {
    let text = "head -c 10000000 /dev/zero > /dev/shm/x; head -c 10000000 /dev/zero > /run/lock/x; du -bc /dev/shm/x /run/lock/x | tail -1";
    let spec = launch::TaskSpec { shm_bytes: Some(0), run_bytes: Some(1), ..root_script(text) };
    let done = run(&spec);
    let size: u64 = done.stdout.split_ascii_whitespace().next().unwrap().parse().unwrap();
    assert!(size <= 2 << 16, "{done:?}");
}
