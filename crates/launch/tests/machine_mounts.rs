//! Nothing that a task's configuration says changes the machine's own mounts (A1), and what no task may see is hidden
//! under every name that the machine's mounts give it (A13).

mod support;

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use launch::TaskSpec;
use launch::spec::{BindMount, Propagation};
use support::machine::{Machine, Root};
use support::{Task, TestDir, bind, own_script, script};

const PROPAGATIONS: [Propagation; 6] = [
    Propagation::Rprivate,
    Propagation::Private,
    Propagation::Rslave,
    Propagation::Slave,
    Propagation::Rshared,
    Propagation::Shared,
];

/// The agent's user, who has no account on the machine.
const USER: u32 = 65_530;

fn with(propagation: Propagation, bind: BindMount) -> BindMount {
    BindMount { propagation, ..bind }
}

fn read_only(bind: BindMount) -> BindMount {
    BindMount { read_only: true, ..bind }
}

/// Runs a task and compares the machine's mount table before, meanwhile and after.
#[track_caller]
fn leaves_alone(machine: &Machine, spec: &TaskSpec, what: &str) {
    let before = machine.mounts();
    let task = Task::create(spec);
    assert!(task.start_on(machine));
    task.wait_for("ready");
    let shared = task.output(launch::record::Source::Stdout);
    assert_eq!(shared, "ready 0\n", "{what}: the task has a mount in a peer group");
    assert_eq!(machine.mounts(), before, "{what}: while the task runs");
    task.shim().expect("a shim").kill().expect("killed");
    task.wait();
    assert_eq!(machine.mounts(), before, "{what}: after the task");
}

fn a01_the_machines_mounts_stay_whatever_is_asked(root: Root) {
    let dir = TestDir::new();
    let source = dir.dir("source", 0o755, 0);
    let sub = dir.dir("source/sub", 0o755, 0);
    dir.dir("source/state", 0o755, 0);
    let mine = dir.dir("mine", 0o700, 5001);
    let machine = Machine::new(
        root,
        &format!(
            "mount -t tmpfs none {0}; mount --make-shared {0}; mkdir {0}/point {0}/state",
            sub.display()
        ),
    );
    let before = machine.mounts();
    for propagation in PROPAGATIONS {
        let asked = |bind| with(propagation, bind);
        let cases = [
            ("plain", vec![asked(bind(&source, "/x"))]),
            ("on a directory", vec![asked(bind(&source, "/x")), asked(bind(&mine, "/x/state"))]),
            ("on a sub-mount", vec![asked(bind(&source, "/x")), asked(bind(&mine, "/x/sub"))]),
            ("in a sub-mount", vec![asked(bind(&source, "/x")), asked(bind(&mine, "/x/sub/point"))]),
            ("missing", vec![asked(read_only(bind(&source, "/x"))), asked(bind(&mine, "/x/new/deep"))]),
            (
                "missing in a sub-mount",
                vec![asked(read_only(bind(&source, "/x"))), asked(bind(&mine, "/x/sub/new"))],
            ),
            ("of the machine's own", vec![asked(bind(&mine, "/usr/share/new/deep"))]),
            ("of a mask's parent", vec![asked(bind(&dir.0, "/x")), asked(bind(&source, "/y"))]),
        ];
        for (name, bind_mounts) in cases {
            let masked = vec![source.join("state"), sub.join("state")];
            let spec = script("echo ready $(grep -c shared: /proc/self/mountinfo); exec sleep 1000");
            let masked = if name == "on a directory" { vec![] } else { masked };
            let spec = TaskSpec { bind_mounts, masked, ..spec };
            leaves_alone(&machine, &spec, &format!("root {root:?}, {propagation:?}, {name}"));
        }
    }
    assert_eq!(machine.mounts(), before);
    assert!(!source.join("new").exists() && !Path::new("/usr/share/new").exists());
}

#[test]
fn a01_the_machines_mounts_stay_when_they_are_shared() {
    a01_the_machines_mounts_stay_whatever_is_asked(Root::Shared);
}

#[test]
fn a01_the_machines_mounts_stay_when_they_are_private() {
    a01_the_machines_mounts_stay_whatever_is_asked(Root::Private);
}

#[test]
fn a01_the_machines_mounts_stay_when_they_are_slaves() {
    a01_the_machines_mounts_stay_whatever_is_asked(Root::Slave);
}

#[test]
fn a01_the_machines_passwd_is_not_replaced() {
    for root in Root::ALL {
        for propagation in PROPAGATIONS {
            let dir = TestDir::new();
            let forged = dir.file("forged", "root::0:0::/:/bin/sh\n", 0o644);
            chown(&forged, Some(5001), Some(5001)).unwrap();
            let machine = Machine::new(root, "");
            let bind_mounts = vec![
                with(propagation, bind(Path::new("/etc"), "/x")),
                with(propagation, bind(&forged, "/x/passwd")),
            ];
            let task = Task::create(&TaskSpec {
                bind_mounts,
                ..script("cat /x/passwd; echo ready; exec sleep 1000")
            });
            assert!(task.start_on(&machine));
            task.wait_for("ready");
            assert_eq!(task.output(launch::record::Source::Stdout), "root::0:0::/:/bin/sh\nready\n");
            let real = fs::read_to_string("/etc/passwd").unwrap();
            assert_eq!(machine.sh("cat /etc/passwd"), real, "root {root:?}, {propagation:?}");
            task.shim().unwrap().kill().unwrap();
            task.wait();
            assert_eq!(machine.sh("cat /etc/passwd"), real, "root {root:?}, {propagation:?}, afterwards");
        }
    }
}

#[test]
fn a01_a_slave_receives_where_that_is_listed_and_elsewhere_says_that_it_does_not() {
    for (propagation, listed) in PROPAGATIONS.into_iter().flat_map(|p| [(p, true), (p, false)]) {
        let dir = TestDir::new();
        let source = dir.dir("source", 0o755, 0);
        dir.dir("source/late", 0o755, 0);
        let machine = Machine::new(Root::Shared, &format!("mkfifo -m 666 {}/go", source.display()));
        // What is listed may be above, and nothing beside it counts.
        let late_mounts =
            if listed { vec![dir.0.clone()] } else { vec![dir.0.join("sour"), dir.0.join("source/late")] };
        let task = Task::create(&TaskSpec {
            bind_mounts: vec![with(propagation, bind(&source, "/x"))],
            late_mounts,
            ..script("echo ready; read go < /x/go; grep -c ' /x/late ' /proc/self/mountinfo")
        });
        assert!(task.start_on(&machine));
        task.wait_for("ready");
        machine.sh(&format!("mount -t tmpfs none {0}/late; echo go > {0}/go", source.display()));
        task.wait();
        let done = task.outcome();
        let private = matches!(propagation, Propagation::Rprivate | Propagation::Private);
        let shared = matches!(propagation, Propagation::Rshared | Propagation::Shared);
        let what = format!("{propagation:?}, {listed}: {done:?}");
        assert_eq!(done.stdout, if private || !listed { "ready\n0\n" } else { "ready\n1\n" }, "{what}");
        assert_eq!(done.agent.contains("it is mounted as rslave"), shared && listed, "{what}");
        assert_eq!(done.agent.contains("`agent.late_mounts`"), !private && !listed, "{what}");
    }
}

/// G8: somebody makes a chroot with a `/proc` below a directory that a task has mounted.
#[test]
fn a01_a_proc_that_is_mounted_later_is_seen_by_no_task() {
    for (root, propagation) in PROPAGATIONS.into_iter().flat_map(|p| [(Root::Shared, p), (Root::Slave, p)]) {
        let dir = TestDir::new();
        for name in ["source", "source/chroot", "source/chroot/proc", "source/chroot/dev"] {
            dir.dir(name, 0o755, 5001);
        }
        let source = dir.0.join("source");
        let machine = Machine::new(root, &format!("mkfifo -m 666 {}/go", source.display()));
        let text = "echo ready; read go < /x/go; ls -A /x/chroot/proc /x/chroot/dev /y/proc | tr '\\n' ' '
            grep -c -e /x/ -e /y/ /proc/self/mountinfo";
        let task = Task::create(&TaskSpec {
            bind_mounts: vec![
                with(propagation, bind(&source, "/x")),
                with(propagation, bind(&source.join("chroot"), "/y")),
            ],
            late_mounts: vec!["/net".into(), dir.0.join("homes")],
            ..script(text)
        });
        assert!(task.start_on(&machine));
        task.wait_for("ready");
        machine.sh(&format!(
            "cd {0}; mount -t proc proc chroot/proc; mount --rbind /dev chroot/dev; echo go > go",
            source.display()
        ));
        task.wait();
        let done = task.outcome();
        let empty = "ready\n/x/chroot/dev:  /x/chroot/proc:  /y/proc: 0\n";
        assert_eq!(done.stdout, empty, "{root:?}, {propagation:?}: {done:?}");
    }
}

#[test]
fn a01_what_is_read_only_receives_nothing_that_is_not() {
    for propagation in PROPAGATIONS {
        let dir = TestDir::new();
        let source = dir.dir("source", 0o755, 0);
        dir.dir("source/late", 0o755, 0);
        let machine = Machine::new(Root::Shared, &format!("mkfifo -m 666 {}/go", source.display()));
        let task = Task::create(&TaskSpec {
            bind_mounts: vec![read_only(with(propagation, bind(&source, "/x")))],
            ..script(
                "echo ready; read go < /x/go; grep -c ' /x/late ' /proc/self/mountinfo; touch /x/late/f && echo wrote",
            )
        });
        assert!(task.start_on(&machine));
        task.wait_for("ready");
        machine.sh(&format!("mount -t tmpfs -o mode=777 none {0}/late; echo go > {0}/go", source.display()));
        task.wait();
        let done = task.outcome();
        assert_eq!(done.stdout, "ready\n0\n", "{propagation:?}: {done:?}");
        let private = matches!(propagation, Propagation::Rprivate | Propagation::Private);
        assert_eq!(done.agent.contains("it is mounted as rprivate"), !private, "{propagation:?}: {done:?}");
    }
}

#[test]
fn a13_what_a_task_has_afresh_is_hidden_under_other_names() {
    let dir = TestDir::new();
    let machine = Machine::new(
        Root::Shared,
        &format!(
            "cd {}; mkdir chroot chroot/run chroot/dev part disk; chmod -R 755 .
             mount -t tmpfs none /run; echo s > /run/secret; mkdir -p /run/user/7 /run/media /run/whole; mount -t tmpfs none /run/user/7
             echo s > /run/user/7/secret; mount -t tmpfs none /mnt; echo d > /mnt/data
             mount --bind disk /run/media; echo d > disk/data; mount --bind / /run/whole
             mount --rbind /run chroot/run; mount --rbind /dev chroot/dev; mount --bind /run/user/7 part
             echo s > /dev/shm/secret; cp -a /dev/null chroot/dev/other 2>/dev/null; true",
            dir.0.display()
        ),
    );
    let outer = dir.0.display();
    for name in ["chroot/run", "chroot/run/user/7", "chroot/dev", "chroot/dev/shm", "part"] {
        let spec = TaskSpec { bind_mounts: vec![bind(&dir.0.join(name), "/x")], ..script("ls /x") };
        let done = Task::create(&spec).run_on(&machine);
        assert!(
            done.exit
                .failure
                .as_ref()
                .is_some_and(|f| f.contains("no task sees") || f.contains("never bound")),
            "{name}: {done:?}"
        );
    }
    // From outside a file system that is on the disk everything is as it was.
    let text = "ls -A /x/chroot/run /x/chroot/dev /x/part; cat /x/disk/data; ls /usr > /dev/null && echo end";
    let spec = TaskSpec { bind_mounts: vec![bind(&dir.0, "/x")], ..script(text) };
    let done = Task::create(&spec).run_on(&machine);
    let expected = "/x/chroot/dev:\n\n/x/chroot/run:\n\n/x/part:\nd\nend\n";
    assert_eq!(done.stdout, expected, "{outer}: {done:?}");
    machine.sh("rm -f /dev/shm/secret /dev/other");
}

/// Makes `data/state/db` below a directory, with aliases of the kinds that a machine may have.
fn aliases(dir: &TestDir, owner: u32) -> Machine {
    for name in
        ["data", "data/state", "data/state/deep", "alias", "direct", "part", "yard", "yard/in", "yard/in/a"]
    {
        dir.dir(name, 0o777, owner);
    }
    for name in ["data/state/db", "data/state/deep/db"] {
        chown(dir.file(name, "DATABASE", 0o666), Some(owner), Some(owner)).expect("owned");
    }
    dir.file("file", "", 0o644);
    Machine::new(
        Root::Shared,
        &format!(
            "cd {}
             mount --bind data alias; mount --bind data/state direct; mount --bind data/state/deep part
             mount --bind data/state/db file; mount --bind data yard/in/a; mount --rbind . /mnt
             mount -t tmpfs none /srv; mkdir -p /srv/on/disk /srv/two; mount --bind /srv/on /srv/two",
            dir.0.display()
        ),
    )
}

fn a13_hidden_under_every_name(script: fn(&str) -> TaskSpec, uid: u32, owner: u32) {
    let dir = TestDir::new();
    let machine = aliases(&dir, owner);
    let masked = vec![dir.0.join("data/state")];
    let task = |bind_mounts: Vec<BindMount>, text: &str| {
        let spec = TaskSpec { masked: masked.clone(), bind_mounts, ..script(text) };
        Task::create_for(&spec, uid).run_on(&machine)
    };
    let outer = dir.0.display();
    for name in ["direct", "part", "file", "alias/state", "alias/state/db", "yard/in/a/state/deep"] {
        let done = task(vec![bind(&dir.0.join(name), "/x")], "cat /x /x/db /x/deep/db");
        assert!(!done.stdout.contains("DATABASE"), "{name}: {done:?}");
        assert!(done.exit.failure.as_ref().is_some_and(|f| f.contains("Muster's own")), "{name}: {done:?}");
    }
    for (name, below) in
        [("alias", "state"), ("yard", "in/a/state"), ("yard/in", "a/state"), ("data", "state")]
    {
        let text = format!("ls /x/{below}; cat /x/{below}/db; cat /x/{below}/deep/db; echo end");
        let done = task(vec![bind(&dir.0.join(name), "/x")], &text);
        assert_eq!(done.stdout, "end\n", "{name}: {done:?}");
    }
    // All of it at once, and what the machine's own tree shows.
    let text = "grep -rs DATABASE /x /mnt; ls /x/data /mnt/data; echo end";
    let done = task(vec![bind(&dir.0, "/x")], text);
    assert_eq!(done.stdout, "/mnt/data:\nstate\n\n/x/data:\nstate\nend\n", "{outer}: {done:?}");
}

#[test]
fn a13_hidden_under_every_name_from_a_user() {
    a13_hidden_under_every_name(script, 0, 0);
}

#[test]
fn a13_hidden_under_every_name_from_the_agents_own_user() {
    a13_hidden_under_every_name(own_script, USER, USER);
}

#[test]
fn a13_a_disk_of_the_tasks_own_is_hidden_where_it_is_mounted_twice() {
    let dir = TestDir::new();
    let tasks = dir.dir("tasks", 0o755, 0);
    let twice = dir.dir("twice", 0o755, 0);
    // The tasks' directory is a disk of its own, and that disk is mounted a second time.
    let machine = Machine::new(
        Root::Shared,
        &format!(
            "mount -t tmpfs -o mode=755 none {0}; mount --bind {0} {1}",
            tasks.display(),
            twice.display()
        ),
    );
    let spec = TaskSpec {
        bind_mounts: vec![bind(&dir.0, "/y")],
        ..script("cat /y/twice/*/spec.json; ls -A /y/twice; echo end")
    };
    let task_dir = launch::create_task_dir(&dir.dir("new", 0o755, 0), &spec.task_id, &spec).unwrap();
    let name = task_dir.file_name().unwrap().to_str().unwrap();
    machine.sh(&format!(
        "cp -a {0} {1}; chmod 755 {1}/{name}; chmod 644 {1}/{name}/spec.json",
        task_dir.display(),
        tasks.display()
    ));
    let out = machine.sh(&format!(
        "{} {1}/{name}; for i in $(seq 600); do test -e {1}/{name}/exit.json && break; sleep 0.1; done
         LC_ALL=C tr -cd '[:print:]\n' < {1}/{name}/log",
        env!("CARGO_BIN_EXE_launch-test-shim"),
        tasks.display(),
    ));
    assert!(out.contains("end\n"), "{out:?}");
    assert!(!out.contains("argv") && !out.contains(name), "{out:?}");
}

#[test]
fn b16_a_fuse_mount_of_the_users_own_is_a_volume() {
    let dir = TestDir::new();
    let home = dir.dir("home", 0o755, 5001);
    let remote = dir.dir("home/remote", 0o700, 5001);
    let other = dir.dir("other", 0o700, 5001);
    let place = Path::new("/mnt").join(dir.0.file_name().unwrap());
    let machine = Machine::new(Root::Shared, &format!("mount -t tmpfs none /mnt; mkdir {}", place.display()));
    support::fuse::mount(&machine, &remote, 5001);
    // Beside a mount point that has to be made, too.
    support::fuse::mount(&machine, &place, 5001);
    let text = String::from_utf8_lossy(support::fuse::HELLO).into_owned();

    let task =
        |spec: TaskSpec, binds| Task::create(&TaskSpec { bind_mounts: binds, ..spec }).run_on(&machine);
    let done = task(script("cat /x/hello"), vec![bind(&remote, "/x")]);
    assert_eq!((done.exit.code, &done.stdout), (0, &text), "{done:?}");
    let done = task(script("cat /x/hello"), vec![read_only(bind(&remote.join("hello"), "/x/hello"))]);
    assert_eq!(done.stdout, text, "{done:?}");
    let done = task(script("cat /x/remote/hello"), vec![bind(&home, "/x")]);
    assert_eq!(done.stdout, text, "{done:?}");
    let done = task(
        script("cat /x/hello; touch /x/sub/mine && echo mine"),
        vec![bind(&remote, "/x"), bind(&other, "/x/sub")],
    );
    assert_eq!(done.stdout, format!("{text}mine\n"), "{done:?}");
    // What somebody else has there is in nobody's way.
    let done = task(script("ls -d /mnt/new; cat /mnt/*/hello"), vec![bind(&other, "/mnt/new")]);
    assert_eq!(done.stdout, format!("/mnt/new\n{text}"), "{done:?}");

    // Nobody else gets in, least of all root.
    let mut stranger = script("cat /x/hello");
    stranger.identity = support::identity("bob", 5002, "lab", 5001);
    for spec in [stranger, support::root_script("cat /x/hello")] {
        let done = task(spec, vec![bind(&remote, "/x")]);
        assert!(done.exit.failure.as_ref().is_some_and(|f| f.contains("may not enter it")), "{done:?}");
    }
}

#[test]
fn b06_a_task_has_the_devices_that_it_was_given_and_no_others() {
    // A machine with GPUs: a `/dev` of its own, whose "cards" are known devices by other names.
    let machine = Machine::new(
        Root::Shared,
        "mount -t tmpfs -o dev none /dev; cd /dev
         mknod -m 666 null c 1 3; mknod -m 666 zero c 1 5; mknod -m 666 full c 1 7; mknod -m 666 random c 1 8
         mknod -m 666 urandom c 1 9; mknod -m 666 tty c 5 0; mkdir nvidia-caps dri net; mknod -m 666 net/tun c 10 200
         mknod -m 666 nvidia0 c 1 11; mknod -m 666 nvidia1 c 1 5; mknod -m 666 nvidiactl c 1 3
         mknod -m 666 nvidia-caps/nvidia-cap1 c 1 5; mknod -m 666 nvidia-caps/nvidia-cap2 c 1 11; mknod -m 666 dri/card0 c 1 11",
    );
    let given = ["/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap1"];
    let text = "find /dev -name 'nvidia*' | sort; find /dev -name 'dri*'; head -c 3 /dev/nvidia1 | wc -c
                mknod /tmp/x c 1 11 && echo made; cat /dev/nvidia0 && echo read
                echo > /dev/null && head -c 1 /dev/zero /dev/urandom > /dev/null && script -qc true /dev/null && echo end";
    for spec in [script(text), support::root_script(text)] {
        let devices = given.map(Into::into).into();
        let done = Task::create(&TaskSpec { devices, fence_devices: true, ..spec }).run_on(&machine);
        let expected =
            "/dev/nvidia-caps\n/dev/nvidia-caps/nvidia-cap1\n/dev/nvidia1\n/dev/nvidiactl\n3\nend\n";
        assert_eq!(done.stdout, expected, "{done:?}");
        assert_eq!(done.agent, "", "{done:?}");
    }
    // A node that is there by mistake is still denied, where the machine has a controller for it.
    if Path::new("/sys/fs/cgroup/devices/cgroup.procs").exists() {
        let machine = Machine::new(
            Root::Shared,
            "mount -t tmpfs -o dev none /mnt; cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /mnt
             mknod -m 666 /mnt/other c 10 229; mount --rbind /mnt /dev; mount --bind /dev/other /dev/tty",
        );
        for (fence_devices, found) in [(false, "opened\n"), (true, "denied\n")] {
            let spec = TaskSpec { fence_devices, ..script("(: < /dev/tty) && echo opened || echo denied") };
            let done = Task::create(&spec).run_on(&machine);
            assert_eq!(done.stdout, found, "{done:?}");
        }
    }
}

#[test]
fn a13_system_file_systems_elsewhere_are_hidden_in_a_bind_mount() {
    let dir = TestDir::new();
    for name in ["chroot", "chroot/proc", "chroot/sys", "chroot/in"] {
        dir.dir(name, 0o755, 0);
    }
    let machine = Machine::new(
        Root::Shared,
        &format!(
            "cd {}/chroot; mount -t proc none proc; mount -t sysfs none sys; mount --rbind /srv in; mkdir -p /mnt
             mount -t proc none /srv",
            dir.0.display()
        ),
    );
    let spec = TaskSpec {
        bind_mounts: vec![bind(&dir.0, "/x")],
        ..script("ls -A /x/chroot/proc /x/chroot/sys /srv | tr '\\n' ' '")
    };
    let done = Task::create(&spec).run_on(&machine);
    assert_eq!(done.stdout, "/srv:  /x/chroot/proc:  /x/chroot/sys: ", "{done:?}");
}

#[test]
fn a13_what_cannot_be_found_cannot_be_hidden_and_nothing_runs() {
    // Somebody moves a directory above Muster's while a task starts.
    let gone = std::path::PathBuf::from("/tmp/launch-test-moved-away");
    let done = support::run(&TaskSpec { masked: vec![gone], ..script("echo ran") });
    assert_eq!((done.exit.code, done.stdout.as_str()), (125, ""));
    assert!(done.exit.failure.is_some_and(|f| f.contains("can't hide /tmp/launch-test-moved-away")));
}
