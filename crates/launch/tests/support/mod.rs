//! What the tests of this crate share: a directory of their own, a description to start from, and running it
//! through a real shim. No test sleeps; every wait has a deadline.

#![expect(dead_code, reason = "every test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

pub(crate) mod fuse;
pub(crate) mod machine;
pub(crate) mod world;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use launch::record::{HEADER_LEN, Source, decode_header};
use launch::spec::{BindMount, Identity, Limits, Mode, Propagation};
use launch::{Exit, Shim, TaskSpec, create_task_dir, read_exit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// First of the launcher's ids on the host: the group of all tasks of root.
pub(crate) const RANGE: u32 = 1_900_000_000;
/// First host id of a task of root whose account nobody told.
pub(crate) const ROOT: u32 = RANGE + 4096;
/// Longest that a task of a test may take, in seconds.
const DEADLINE: i64 = 60;

/// A directory that every user can enter, gone with the test.
pub(crate) struct TestDir(pub(crate) PathBuf);

impl TestDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new("/tmp").join(format!("launch-test-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        Self(path)
    }

    /// A directory in it.
    pub(crate) fn dir(&self, name: &str, bits: u32, owner: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        mode(&path, bits);
        chown(&path, Some(owner), Some(owner)).unwrap();
        path
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str, text: &str, bits: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        mode(&path, bits);
        path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

/// What a task left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) agent: String,
}

/// A task in its directory.
pub(crate) struct Task {
    pub(crate) dir: TestDir,
    pub(crate) task_dir: PathBuf,
    pub(crate) uid: u32,
}

/// A task named `alice`:`lab` (5001) that runs a shell script.
pub(crate) fn script(text: &str) -> TaskSpec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    TaskSpec {
        task_id: format!("test-{}-{n}", std::process::id()),
        argv: vec!["/bin/sh".into(), "-c".into(), text.into()],
        env: vec![],
        identity: identity("alice", 5001, "lab", 5001),
        groups: vec![],
        work_dir: None,
        bind_mounts: vec![],
        limits: Limits::default(),
        owner: None,
        kill_grace_ms: 0,
        seccomp: launch::spec::Seccomp::Default,
        shm_bytes: None,
        run_bytes: None,
        mode: Mode::Root { root_range_base: RANGE },
        masked: vec![],
        bind_prefixes: None,
        late_mounts: vec![],
        guarded: vec![],
        reach: vec![],
        devices: vec![],
        fence_devices: false,
        network: launch::spec::Network::Private,
        relay_env: vec![],
        shown: vec![],
        own_files: vec![],
        unfinished: false,
    }
}

/// The same as root.
pub(crate) fn root_script(text: &str) -> TaskSpec {
    TaskSpec { identity: identity("root", 0, "root", 0), ..script(text) }
}

/// The same for an agent without root.
pub(crate) fn own_script(text: &str) -> TaskSpec {
    TaskSpec { identity: identity("root", 0, "root", 0), mode: Mode::Unprivileged, ..script(text) }
}

pub(crate) fn identity(user: &str, uid: u32, group: &str, gid: u32) -> Identity {
    Identity { user: user.into(), uid, group: group.into(), gid }
}

pub(crate) fn bind(host: &Path, container: &str) -> BindMount {
    BindMount {
        host_path: host.to_owned(),
        container_path: container.into(),
        read_only: false,
        propagation: Propagation::Rprivate,
    }
}

/// Runs a task to its end in a directory of its own.
pub(crate) fn run(spec: &TaskSpec) -> Outcome {
    Task::create(spec).run()
}

impl Drop for Task {
    /// Leaves nothing behind, not even after a failed assertion.
    fn drop(&mut self) {
        if let Ok(Some(shim)) = Shim::open(&self.task_dir) {
            let _ = shim.kill_now();
            let mut fds = [PollFd::from_borrowed_fd(shim.pidfd(), PollFlags::IN)];
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 10, tv_nsec: 0 }));
        }
        let _ = launch::remove_task_dir(&self.task_dir);
    }
}

/// A small file system that goes with the test.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    pub(crate) fn mount(path: PathBuf, size: &str) -> Self {
        let options = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&path).status();
        assert!(status.unwrap().success());
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Task {
    pub(crate) fn create(spec: &TaskSpec) -> Self {
        Self::create_for(spec, 0)
    }

    /// A task whose agent runs as `uid`.
    pub(crate) fn create_for(spec: &TaskSpec, uid: u32) -> Self {
        let dir = TestDir::new();
        let tasks = dir.dir("tasks", 0o700, 0);
        let task_dir = create_task_dir(&tasks, &spec.task_id, spec).unwrap();
        for path in [&tasks, &task_dir, &task_dir.join("spec.json")] {
            chown(path, Some(uid), Some(uid)).unwrap();
        }
        Self { dir, task_dir, uid }
    }

    /// A task of the same agent as another one.
    pub(crate) fn create_beside(other: &Self, spec: &TaskSpec) -> Self {
        let tasks = other.task_dir.parent().unwrap();
        let task_dir = create_task_dir(tasks, &spec.task_id, spec).unwrap();
        Self { dir: TestDir::new(), task_dir, uid: other.uid }
    }

    pub(crate) fn run(&self) -> Outcome {
        assert!(self.start(), "the shim isn't up");
        self.wait();
        self.outcome()
    }

    /// Starts the shim and returns when it is up.
    pub(crate) fn start(&self) -> bool {
        let mut command = Command::new(self.shim_exe());
        if self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command.arg(&self.task_dir).status().unwrap().success()
    }

    /// The same on a machine of the test's own.
    pub(crate) fn start_on(&self, machine: &machine::Machine) -> bool {
        let mut command = machine.enter();
        if self.uid != 0 {
            let uid = self.uid.to_string();
            command.args(["-S", &uid, "-G", &uid]);
        }
        command.arg(self.shim_exe()).arg(&self.task_dir).status().unwrap().success()
    }

    pub(crate) fn run_on(&self, machine: &machine::Machine) -> Outcome {
        assert!(self.start_on(machine), "the shim isn't up");
        self.wait();
        self.outcome()
    }

    /// The same by way of a command that runs another one, such as `ip netns exec NAME`.
    pub(crate) fn start_by(&self, way: &[&str]) -> bool {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]);
        if self.uid != 0 {
            command.args(["setpriv", &format!("--reuid={}", self.uid), &format!("--regid={}", self.uid)]);
            command.arg("--clear-groups");
        }
        command.arg(self.shim_exe()).arg(&self.task_dir).status().unwrap().success()
    }

    fn shim_exe(&self) -> PathBuf {
        let mut shim = PathBuf::from(env!("CARGO_BIN_EXE_launch-test-shim"));
        if self.uid != 0 {
            // The build directory may be out of other users' reach.
            let copy = self.dir.0.join("shim");
            fs::copy(&shim, &copy).unwrap();
            shim = copy;
        }
        shim
    }

    pub(crate) fn shim(&self) -> Option<Shim> {
        Shim::open(&self.task_dir).unwrap()
    }

    /// Waits for the shim to exit.
    pub(crate) fn wait(&self) {
        if let Some(shim) = self.shim() {
            let mut fds = [PollFd::from_borrowed_fd(shim.pidfd(), PollFlags::IN)];
            let n = poll(&mut fds, Some(&Timespec { tv_sec: DEADLINE, tv_nsec: 0 })).unwrap();
            assert_eq!(n, 1, "the task didn't end: {:?}", self.output(Source::Stdout));
        }
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        read_exit(&self.task_dir).unwrap()
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            exit: self.exit().expect("exit.json"),
            stdout: self.output(Source::Stdout),
            stderr: self.output(Source::Stderr),
            agent: self.output(Source::Agent),
        }
    }

    /// What the log holds of one source.
    pub(crate) fn output(&self, wanted: Source) -> String {
        let log = fs::read(self.task_dir.join("log")).unwrap();
        let mut rest = &log[..];
        let mut text = vec![];
        while let Some((header, tail)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = decode_header(header).expect("a header");
            let Some((payload, tail)) = tail.split_at_checked(header.len as usize) else {
                break;
            };
            if header.source == wanted {
                text.extend_from_slice(payload);
            }
            rest = tail;
        }
        String::from_utf8(text).unwrap()
    }

    /// Waits until the task has written `text` to its standard output.
    pub(crate) fn wait_for(&self, text: &str) {
        let inotify = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).unwrap();
        let log = self.task_dir.join("log");
        rustix::fs::inotify::add_watch(&inotify, &log, rustix::fs::inotify::WatchFlags::MODIFY).unwrap();
        while !self.output(Source::Stdout).contains(text) {
            let mut fds = [PollFd::new(&inotify, PollFlags::IN)];
            let n = poll(&mut fds, Some(&Timespec { tv_sec: DEADLINE, tv_nsec: 0 })).unwrap();
            assert_eq!(n, 1, "the task never wrote {text:?}");
            rustix::io::read(&inotify, &mut [0_u8; 4096]).unwrap();
        }
    }
}

/// Lines of this thread's mountinfo, to see that nothing is left behind.
pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// A copy of the machine's mounts for this thread and what it starts, which nobody else changes.
pub(crate) fn own_mount_namespace() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root's right");
    let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("root's right");
}

/// Waits until something is so, which nothing tells.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it never came that {what}");
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
    }
}
