//! What each task has for itself: `/proc`, `/sys`, `/dev`, `/run`, `/tmp`, `/var/tmp`. The files in `/etc` that say
//! who the task is are in `etc`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, OFlags, Uid, fchown, fstat};

use super::{Context, Root, clone_fd, clone_host};
use crate::failure::{Explain, Failure};
use crate::identity::How;
use crate::spec::{DEFAULT_PATH, NAMES_DIR, Shown};
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY, new_fs};
use crate::task_dir::SCRATCH_DIR;

/// Device nodes that every task has.
pub(super) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in `/dev` that programs rely on.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];
/// Where in the task each scratch directory is; parents first.
const SCRATCH: [(&str, &str); 4] = [
    ("tmp", "tmp"),
    ("var-tmp", "var/tmp"),
    ("determined", "run/determined"),
    ("workdir", "run/determined/workdir"),
];

/// Where the machine has its cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Bytes of a tmpfs for each file that may be in it. A file without content takes memory, too.
const BYTES_PER_FILE: u64 = 4096;
/// Least size of a tmpfs, in bytes.
const LEAST_TMPFS: u64 = 64 << 10;

/// Smallest size of a tmpfs, in bytes: one of the kernel's pages, on most machines.
const PAGE: u64 = 4096;
/// Most pseudo-terminals of a task: all tasks of a machine share one number (`kernel.pty.max`), which root's agent raises to
/// more than they have together (`shared_numbers`).
const TERMINALS: &str = "32";

/// What of `/proc` is the whole machine's, and holds a lock of the kernel's for as long as somebody makes it walk through all that
/// there is (MA1): the file locks of everybody, with which who reads it also learns how many others have; the memory's free
/// lists; tables of file systems, devices and drivers. What programs read of the machine is elsewhere (`meminfo`, `stat`,
/// `cpuinfo`, `driver/nvidia`).
const MACHINES: [&str; 16] = [
    "acpi",
    "allocinfo",
    "asound",
    "buddyinfo",
    "bus",
    "fs",
    "kcore",
    "keys",
    "latency_stats",
    "locks",
    "pagetypeinfo",
    "sched_debug",
    "scsi",
    "slabinfo",
    "timer_list",
    "zoneinfo",
];

/// How long the machine's processes wait for what: to be read.
const PRESSURE: &str = "proc/pressure";

/// Clones of the machine's files that the fresh parts are made of.
pub(super) struct Fresh {
    sys: Option<OwnedFd>,
    /// The task's own cgroups with their path below [`CGROUPS`]: those of others tell what runs here (A14).
    cgroups: Vec<(PathBuf, OwnedFd)>,
    /// Device nodes with their path in the task.
    devices: Vec<(String, OwnedFd)>,
    /// Scratch directories with their path in the task.
    scratch: Vec<(&'static str, OwnedFd)>,
    /// What the launcher shows, with its name in `/run`.
    shown: Vec<(String, OwnedFd)>,
}

/// Clones them.
pub(super) fn gather(context: Context<'_>) -> Result<Fresh, Failure> {
    // A new one shows the interfaces of the task's own network, and nothing that is mounted below the machine's.
    let attrs = RDONLY | NOSUID | NODEV | NOEXEC;
    let sys =
        match new_fs("sysfs", &[], attrs).map_or_else(|_| clone_host(Path::new("/sys"), true, attrs), Ok) {
            Ok(sys) => Some(sys),
            Err(_) if context.unprivileged() => None,
            Err(e) => return Err(e).explain(|| "can't show /sys to the task".into()),
        };
    let mut cgroups = vec![];
    for (root, dir) in crate::cgroup::dirs(context.spec) {
        let Ok(below) = root.strip_prefix(CGROUPS) else { continue };
        // What can't be shown isn't.
        if let Ok(tree) = clone_host(&dir, false, RDONLY | NOSUID | NODEV | NOEXEC) {
            cgroups.push((below.to_owned(), tree));
        }
    }
    let mut devices = vec![];
    let standard = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    for path in standard.chain(context.spec.devices.iter().cloned()) {
        devices.push(device(&path)?);
    }
    let mut scratch = vec![];
    for (name, at) in SCRATCH {
        let path = context.task_dir.join(SCRATCH_DIR).join(name);
        let tree = clone_host(&path, false, NOSUID | NODEV)
            .explain(|| format!("can't show the task's own /{at} to it"))?;
        scratch.push((at, tree));
    }
    let mut shown = vec![];
    for Shown { host_path, name, writable, .. } in &context.spec.shown {
        let attrs = NOSUID | NODEV | if *writable { 0 } else { RDONLY };
        let tree =
            clone_host(host_path, false, attrs).explain(|| format!("can't show the task its /run/{name}"))?;
        shown.push((name.clone(), tree));
    }
    Ok(Fresh { sys, cgroups, devices, scratch, shown })
}

/// Clones one device node. Only nodes below `/dev` may be shown: a task must find them where they are known.
fn device(path: &Path) -> Result<(String, OwnedFd), Failure> {
    let shown = path.display();
    let inside = path
        .strip_prefix("/dev")
        .ok()
        .and_then(Path::to_str)
        .filter(|p| !p.is_empty() && !p.split('/').any(|part| matches!(part, ".." | "." | "")))
        .ok_or_else(|| Failure::machine(format!("device {shown} is not below /dev")))?;
    let tree = clone_host(path, false, NOSUID | NOEXEC)
        .explain(|| format!("can't show device {shown} to the task"))?;
    let kind = FileType::from_raw_mode(fstat(&tree).explain(|| format!("device {shown}"))?.st_mode);
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        Ok((format!("dev/{inside}"), tree))
    } else {
        Err(Failure::machine(format!("{shown} is not a device")))
    }
}

/// Builds the fresh parts.
pub(super) fn build(root: &mut Root<'_>, fresh: Fresh) -> Result<(), Failure> {
    for dir in ["proc", "sys", "dev", "run", "tmp"] {
        root.mkdir(dir, 0o755)?;
    }
    let proc = new_fs("proc", &[], NOSUID | NODEV | NOEXEC)
        .explain(|| "can't mount /proc in the task (is part of the machine's /proc hidden?)".into())?;
    root.attach_at(proc.as_fd(), "proc")?;
    cover_machines(root)?;
    if let Some(sys) = fresh.sys {
        root.attach_at(sys.as_fd(), "sys")?;
        own_cgroups(root, fresh.cgroups)?;
    }
    dev(root, fresh.devices)?;
    run(root)?;
    for (name, tree) in fresh.shown {
        let at = format!("run/{name}");
        root.mkdir(&at, 0o755)?;
        root.attach_at(tree.as_fd(), &at)?;
    }
    for (at, tree) in fresh.scratch {
        // A machine without a `/var/tmp` of its own (a link to `/tmp`, say) needs none hidden.
        let plain = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        if at == "var/tmp" && root.open(Path::new(at), plain).is_err() {
            continue;
        }
        root.attach_at(tree.as_fd(), at)?;
    }
    Ok(())
}

/// Covers what of `/proc` is the machine's. Where tasks may make namespaces they get a whole `/proc` all the same: the kernel lets
/// nobody mount one there who sees a part only, and containers need it.
fn cover_machines(root: &mut Root<'_>) -> Result<(), Failure> {
    if root.context.spec.seccomp.allows_namespaces() {
        return Ok(());
    }
    for name in MACHINES {
        let path = format!("proc/{name}");
        let Ok(found) = root.open(Path::new(&path), OFlags::PATH | OFlags::NOFOLLOW) else { continue };
        let what = || format!("can't cover /{path} in the task");
        let is_dir = FileType::from_raw_mode(fstat(&found).explain(what)?.st_mode) == FileType::Directory;
        let cover = if is_dir {
            new_fs("tmpfs", &[("mode", "0555"), ("size", "4k")], super::mask::ATTRS).explain(what)?
        } else {
            root.text_file("empty", b"")?
        };
        root.attach_at(cover.as_fd(), &path)?;
    }
    // Who writes there has the kernel watch something for him, in memory that is in no limit (MA9).
    if let Ok(pressure) = root.open(Path::new(PRESSURE), OFlags::PATH | OFlags::NOFOLLOW) {
        let read_only = clone_fd(pressure.as_fd(), false, super::mask::ATTRS);
        root.attach_at(
            read_only.explain(|| format!("can't protect /{PRESSURE} in the task"))?.as_fd(),
            PRESSURE,
        )?;
    }
    Ok(())
}

/// Covers the machine's cgroups with the task's own.
fn own_cgroups(root: &mut Root<'_>, cgroups: Vec<(PathBuf, OwnedFd)>) -> Result<(), Failure> {
    let at = CGROUPS.trim_start_matches('/');
    if root.open(Path::new(at), OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW).is_err() {
        return Ok(());
    }
    let cover = new_fs("tmpfs", &[("mode", "0755"), ("size", "64k")], NOSUID | NODEV | NOEXEC)
        .explain(|| format!("can't make /{at} of the task"))?;
    root.attach_at(cover.as_fd(), at)?;
    root.adopt(cover, true)?;
    for (below, tree) in cgroups {
        let mut path = at.to_owned();
        for part in below.iter().filter_map(std::ffi::OsStr::to_str) {
            path = format!("{path}/{part}");
            root.mkdir(&path, 0o755)?;
        }
        root.attach_at(tree.as_fd(), &path)?;
    }
    Ok(())
}

/// The kernel's own default for a tmpfs, and the most that a task gets whatever it asks for.
fn half_of_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 9)
}

/// A tmpfs for the task to write to, of limited size and number of files.
fn writable(mode: &str, bytes: u64) -> rustix::io::Result<OwnedFd> {
    // To a tmpfs, none at all is no limit.
    let bytes = bytes.max(PAGE);
    // The kernel takes 0 for no limit (A12).
    let bytes = bytes.max(LEAST_TMPFS);
    let (size, files) = (bytes.to_string(), (bytes / BYTES_PER_FILE).max(64).to_string());
    let options = [("mode", mode), ("size", size.as_str()), ("nr_inodes", files.as_str())];
    new_fs("tmpfs", &options, NOSUID | NODEV)
}

fn dev(root: &mut Root<'_>, devices: Vec<(String, OwnedFd)>) -> Result<(), Failure> {
    let unprivileged = root.context.unprivileged();
    let dev = new_fs("tmpfs", &[("mode", "0755"), ("size", "4m")], NOSUID | NOEXEC)
        .explain(|| "can't make /dev of the task".into())?;
    root.attach_at(dev.as_fd(), "dev")?;
    root.adopt(dev, true)?;
    for (path, node) in devices {
        for (i, _) in path.match_indices('/').skip(1) {
            root.mkdir(&path[..i], 0o755)?;
        }
        root.touch(&path)?;
        root.attach_at(node.as_fd(), &path)?;
    }
    for (to, at) in LINKS {
        rustix::fs::symlinkat(to, root.fd(), at).explain(|| format!("can't make /{at} in the task"))?;
    }

    root.mkdir("dev/shm", 0o755)?;
    let bytes = root.context.spec.shm_bytes();
    let shm = writable("1777", half_of_memory().map_or(bytes, |half| bytes.min(half)))
        .explain(|| "can't make /dev/shm of the task".into())?;
    root.attach_at(shm.as_fd(), "dev/shm")?;

    // A terminal belongs to whoever opens it; mode 600 asks for no `tty` group, which a task may not have.
    let terminals = [("ptmxmode", "0666"), ("mode", "0600"), ("max", TERMINALS)];
    for (kind, at, options, attrs) in [
        ("devpts", "dev/pts", &terminals[..], NOSUID | NOEXEC),
        ("mqueue", "dev/mqueue", &[][..], NOSUID | NODEV | NOEXEC),
    ] {
        root.mkdir(at, 0o755)?;
        match new_fs(kind, options, attrs) {
            Ok(fs) => root.attach_at(fs.as_fd(), at)?,
            Err(_) if unprivileged || kind == "mqueue" => {}
            Err(e) => return Err(e).explain(|| format!("can't make /{at} of the task")),
        }
    }
    Ok(())
}

fn run(root: &mut Root<'_>) -> Result<(), Failure> {
    let what = || "can't make /run of the task".to_owned();
    let run = writable("0755", root.context.spec.run_bytes()).explain(what)?;
    let credentials = root.context.credentials;
    if let How::Mapped { .. } = credentials.how {
        // Root in the task expects to write here, and isn't the root that made it.
        let (uid, gid) = (Uid::from_raw(credentials.host_uid), Gid::from_raw(credentials.host_gid));
        let top =
            rustix::fs::openat(&run, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty());
        top.and_then(|top| fchown(top, Some(uid), Some(gid))).explain(what)?;
    }
    root.attach_at(run.as_fd(), "run")?;
    root.adopt(run, false)?;
    root.mkdir("run/determined", 0o700)?;
    root.mkdir("run/lock", 0o755)?;
    let lock = root.open(Path::new("run/lock"), OFlags::RDONLY | OFlags::DIRECTORY).explain(what)?;
    rustix::fs::fchmod(lock, rustix::fs::Mode::from_raw_mode(0o1777)).explain(what)?;
    python(root)
}

/// Debian's Python is named `python3` alone; people's scripts, and clients of old, say `python` (B21).
fn python(root: &Root<'_>) -> Result<(), Failure> {
    let found = DEFAULT_PATH
        .split(':')
        .map(|dir| format!("{dir}/python3"))
        .find(|path| root.open(Path::new(path.trim_start_matches('/')), OFlags::PATH).is_ok());
    let Some(python3) = found else { return Ok(()) };
    let dir = NAMES_DIR.trim_start_matches('/');
    root.mkdir(dir, 0o755)?;
    let at = format!("{dir}/python");
    rustix::fs::symlinkat(python3, root.fd(), &at).explain(|| format!("can't make /{at} in the task"))
}
