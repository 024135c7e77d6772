//! Bind mounts: R38.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use launch::TaskSpec;
use launch::spec::BindMount;
use support::{Outcome, TestDir, bind, mode, own_script, root_script, run, script};

fn run_with(spec: TaskSpec, binds: Vec<launch::spec::BindMount>) -> Outcome {
    run(&TaskSpec { bind_mounts: binds, ..spec })
}

#[track_caller]
fn refused(host: &Path, container: &str, why: &str) {
    let done = run_with(script("echo ran"), vec![bind(host, container)]);
    assert_eq!((done.exit.code, done.stdout.as_str()), (125, ""), "{} was bound", host.display());
    let failure = done.exit.failure.unwrap_or_default();
    assert!(failure.contains(why), "{}: {failure:?} doesn't say {why:?}", host.display());
    assert!(failure.contains(&host.display().to_string()), "{failure:?} doesn't name the path");
    assert_eq!(done.exit.fault, Some(launch::Fault::Task), "{failure}");
}

#[test]
fn r38_a_bind_mount_is_read_and_written_as_the_user() {
    let dir = TestDir::new();
    let mine = dir.dir("mine", 0o700, 5001);
    let file = dir.file("file", "text\n", 0o644);
    let done = run_with(
        script("echo x > /data/new; cat /etc/extra/file; touch /data/ro/x; pwd; ls; ls data"),
        vec![
            bind(&file, "/etc/extra/file"),
            launch::spec::BindMount { read_only: true, ..bind(&dir.dir("ro", 0o777, 0), "/data/ro") },
            bind(&mine, "/data"),
            bind(&mine, "data"),
        ],
    );
    assert_eq!(done.exit.code, 0, "{done:?}");
    assert_eq!(done.stdout, "text\n/run/determined/workdir\ndata\nnew\nro\n");
    assert!(done.stderr.contains("Read-only file system"), "{done:?}");
    assert_eq!(fs::metadata(mine.join("new")).unwrap().uid(), 5001);
    // The mount point inside the user's own directory was made as the user.
    assert_eq!(fs::metadata(mine.join("ro")).unwrap().uid(), 5001);
    // The one in `/etc` was made nowhere but in the task.
    assert!(!Path::new("/etc/extra").exists() && !Path::new("/data").exists());
}

#[test]
fn r38_a_covered_directory_keeps_its_entries() {
    let dir = TestDir::new();
    let done = run_with(
        script("ls -ld /usr/share/new/deep /usr/share/doc > /dev/null && ls /usr/share; touch /usr/share/x"),
        vec![bind(&dir.dir("d", 0o755, 0), "/usr/share/new/deep")],
    );
    let mut machine: Vec<String> =
        fs::read_dir("/usr/share").unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    machine.push("new".into());
    machine.sort();
    let mut seen: Vec<&str> = done.stdout.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, machine, "{done:?}");
    assert!(done.stderr.contains("cannot touch '/usr/share/x'"), "{done:?}");
}

#[test]
fn r38_a_directory_with_too_many_entries_is_refused_clearly() {
    let dir = TestDir::new();
    let big = dir.dir("big", 0o755, 0);
    for n in 0..4100 {
        fs::write(big.join(n.to_string()), "").unwrap();
    }
    let source = dir.dir("source", 0o755, 0);
    let done = run_with(
        script("true"),
        vec![launch::spec::BindMount { read_only: true, ..bind(&big, "/big") }, bind(&source, "/big/point")],
    );
    assert!(done.exit.failure.is_some_and(|f| f.contains("more than 4096 entries")));
}

#[test]
fn r38_missing_and_forbidden_sources_are_refused_with_the_reason() {
    refused(Path::new("/nope"), "/x", "no such file or directory on agent machine");
    refused(Path::new("relative"), "/x", "not an absolute path");
    refused(Path::new("/root/.bashrc"), "/x", "user alice (uid 5001) may not enter it");
    refused(Path::new("/root"), "/x", "user alice (uid 5001) may not enter it");
    refused(Path::new("/etc/shadow"), "/x", "user alice (uid 5001) may not enter it");
    refused(Path::new("/"), "/x", "whole machine");
    refused(Path::new("/proc"), "/x", "never bound");
    refused(Path::new("/proc/self/root"), "/x", "link of /proc");
    refused(Path::new("/proc/self/cwd/x"), "/x", "link of /proc");
    refused(Path::new("/sys/fs/cgroup"), "/x", "never bound");
    refused(Path::new("/dev/null"), "/x", "never bound");
    refused(Path::new("/dev/shm"), "/x", "never bound");
    refused(Path::new("/run"), "/x", "bind prefix");
    refused(Path::new("/var/run/lock"), "/x", "bind prefix");
    let dir = TestDir::new();
    let _socket = std::os::unix::net::UnixListener::bind(dir.0.join("docker.sock")).unwrap();
    mode(&dir.0.join("docker.sock"), 0o666);
    refused(&dir.0.join("docker.sock"), "/x", "only directories and regular files");
    symlink("/proc/self", dir.0.join("link")).unwrap();
    refused(&dir.0.join("link"), "/x", "never bound");
    symlink("/", dir.0.join("slash")).unwrap();
    refused(&dir.0.join("slash"), "/x", "whole machine");
}

#[test]
fn r38_forbidden_targets_are_refused() {
    let dir = TestDir::new();
    for target in ["/", "/proc/x", "/sys", "/dev/shm", "/run/determined", "/a/../proc", "../../x"] {
        refused(&dir.0, target, "");
    }
    // Also through a link that the task's own tree has.
    let tree = dir.dir("tree", 0o755, 0);
    symlink("/proc", tree.join("link")).unwrap();
    let done = run_with(script("echo ran"), vec![bind(&tree, "/tree"), bind(&dir.0, "/tree/link")]);
    assert!(done.exit.failure.is_some_and(|f| f.contains("nothing can be mounted in /proc")));
}

#[test]
fn r38_root_in_the_task_binds_with_the_rights_of_nobody() {
    let dir = TestDir::new();
    let private = dir.dir("private", 0o700, 0);
    fs::create_dir(private.join("open")).unwrap();
    for path in [private.clone(), private.join("open"), "/root".into(), "/etc/shadow".into()] {
        let done = run_with(root_script("echo ran"), vec![bind(&path, "/x")]);
        assert!(done.exit.failure.is_some_and(|f| f.contains("may not enter it")), "{}", path.display());
    }
}

#[test]
fn r38_prefixes_narrow_and_open() {
    let dir = TestDir::new();
    let inside = dir.dir("allowed/inside", 0o755, 0);
    let outside = dir.dir("outside", 0o755, 0);
    symlink(&outside, dir.0.join("allowed/link")).unwrap();
    let prefixed = |path: &Path| {
        let spec = TaskSpec {
            bind_prefixes: Some(vec![dir.0.join("allowed"), "/run/lock".into(), "/proc".into()]),
            ..script("echo ran")
        };
        run_with(spec, vec![bind(path, "/x")]).exit.failure.unwrap_or_default()
    };
    assert_eq!(prefixed(&inside), "");
    assert_eq!(prefixed(Path::new("/run/lock")), "");
    assert!(prefixed(&outside).contains("administrator"));
    assert!(prefixed(&dir.0.join("allowed/link")).contains("administrator"));
    assert!(prefixed(&dir.0.join("allowed/../outside")).contains("administrator"));
    assert!(prefixed(Path::new("/proc/sys")).contains("never bound"));
}

#[test]
fn r38_nobody_writes_to_what_the_launcher_lives_by() {
    let dir = TestDir::new();
    let program = dir.dir("home/bin", 0o755, 5001);
    let own = dir.dir("home/bin/own", 0o755, 5001);
    let data = dir.dir("home/data", 0o755, 5001);
    symlink(&program, data.join("link")).unwrap();
    let guarded = |path: &Path, read_only: bool| {
        let spec = TaskSpec { guarded: vec![program.clone(), dir.0.join("gone")], ..script("echo ran") };
        let mount = BindMount { read_only, ..bind(path, "/x") };
        run_with(spec, vec![mount]).exit.failure.unwrap_or_default()
    };
    for path in [program.clone(), dir.0.join("home"), data.join("link")] {
        assert!(guarded(&path, false).contains("mount it read-only"), "{}", path.display());
        assert_eq!(guarded(&path, true), "", "{}", path.display());
    }
    for beside in [data, own] {
        assert_eq!(guarded(&beside, false), "", "{}", beside.display());
    }
}

#[test]
fn r38_swapping_a_link_during_the_launch_gains_nothing() {
    let dir = TestDir::new();
    let secret = dir.dir("secret", 0o700, 0);
    fs::write(secret.join("key"), "SECRET").unwrap();
    let masked = dir.dir("masked", 0o755, 0);
    fs::write(masked.join("key"), "SECRET").unwrap();
    mode(&masked.join("key"), 0o644);
    let yard = dir.dir("yard", 0o777, 5001);
    let good = dir.dir("yard/good", 0o755, 5001);
    fs::write(good.join("key"), "GOOD").unwrap();
    let swapped = yard.join("swapped");
    symlink(&good, &swapped).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (started, ready) = mpsc::channel();
    let swapper = std::thread::spawn({
        let (stop, yard) = (Arc::clone(&stop), yard.clone());
        move || {
            let goals = [good, secret, masked, "/proc".into(), "/".into()];
            for goal in goals.iter().cycle() {
                symlink(goal, yard.join("next")).unwrap();
                fs::rename(yard.join("next"), yard.join("swapped")).unwrap();
                let _ = started.send(());
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    });
    ready.recv().unwrap();
    let mut bound = 0;
    for _ in 0..60 {
        let spec = TaskSpec { masked: vec![dir.0.join("masked")], ..script("cat /x/key") };
        let done = run_with(spec, vec![bind(&swapped, "/x")]);
        assert!(!done.stdout.contains("SECRET"), "{done:?}");
        // Refused, or the one directory that may be bound.
        assert!(done.exit.code == 125 || done.stdout == "GOOD", "{done:?}");
        bound += u32::from(done.exit.code == 0);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(bound < 60, "the link was never swapped in time");
}

#[test]
fn r38_musters_own_directories_are_not_bound_and_not_seen() {
    let dir = TestDir::new();
    let data = dir.dir("data", 0o755, 0);
    let state = dir.dir("data/muster", 0o777, 0);
    let deep = dir.dir("data/muster/deep", 0o777, 0);
    fs::write(deep.join("db"), "DATABASE").unwrap();
    let config = dir.file("data/master.yaml", "CONFIG", 0o644);
    symlink(&state, dir.0.join("alias")).unwrap();
    let spec = |text| TaskSpec { masked: vec![dir.0.join("alias"), config.clone()], ..script(text) };
    for path in [&state, &deep, &deep.join("db"), &dir.0.join("alias/deep"), &config] {
        let done = run_with(spec("echo ran"), vec![bind(path, "/x")]);
        let failure = done.exit.failure.unwrap_or_default();
        assert!(failure.contains("Muster's own"), "{}: {failure}", path.display());
    }
    let done = run_with(
        spec(
            "ls -A /x/muster; cat /x/muster/deep/db; cat /x/master.yaml; touch /x/muster/new; umount /x/muster; mv /x/muster /x/other; ls /x",
        ),
        vec![bind(&data, "/x")],
    );
    assert_eq!(done.stdout, "master.yaml\nmuster\n", "{done:?}");
}

#[test]
fn r38_musters_directories_are_masked_where_the_machine_has_them() {
    let dir = TestDir::new();
    // Not below /tmp, which every task has afresh.
    let state = Path::new("/var/lib").join(dir.0.file_name().unwrap());
    fs::create_dir(&state).unwrap();
    fs::write(state.join("db"), "DATABASE").unwrap();
    let spec = TaskSpec { masked: vec![state.clone()], ..script("") };
    let text = format!("ls -A {0}; cat {0}/db; touch {0}/x; stat -c %a {0}", state.display());
    let done = run(&TaskSpec { argv: vec!["sh".into(), "-c".into(), text], ..spec });
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(done.stdout, "755\n", "{done:?}");
}

#[test]
fn r38_devices_and_setuid_do_nothing_in_a_bind_mount() {
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o755, 0);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        shared.join("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    mode(&shared.join("null"), 0o666);
    let done = run_with(
        script("echo > /x/null && echo DEVICE; grep ' /x ' /proc/self/mountinfo | cut -d' ' -f6"),
        vec![bind(&shared, "/x")],
    );
    assert_eq!(done.stdout, "rw,nosuid,nodev,relatime\n", "{done:?}");
}

#[test]
fn r38_an_agent_that_is_root_refuses_the_mode_of_one_that_is_not() {
    let done = run(&own_script("echo ran"));
    assert!(done.exit.failure.is_some_and(|f| f.contains("root mode")), "{:?}", done.stdout);
}

/// I2: what others name their things forges no line of Muster's own.
#[test]
fn a14_a_note_is_one_line_whatever_is_in_it() {
    let dir = TestDir::new();
    let place = dir.dir("a\nforged \u{1b}[2J", 0o755, 5001);
    let mut mount = bind(&place, "/x");
    mount.propagation = launch::spec::Propagation::Rslave;
    let mut spec = script("");
    spec.bind_mounts = vec![mount];
    spec.argv = vec!["none\nforged \u{202e}".into()];
    let done = run(&spec);
    assert!(done.agent.contains("a\\nforged \\u{1b}[2J: it is mounted as rprivate"), "{done:?}");
    assert!(done.agent.contains("none\\nforged \\u{202e}: command not found"), "{done:?}");
    assert!(done.agent.lines().all(|line| !line.starts_with("forged")), "{done:?}");
}
