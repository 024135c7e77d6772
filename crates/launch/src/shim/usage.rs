//! How much a task has in its own directories: bytes and files. Counted with memory that doesn't depend on what is there:
//! the shim's memory is nobody's but the machine's.
//!
//! What has no name any more counts, too, while a process of the task has it open or mapped, or is it. What can't be seen
//! is a file without a name whose only descriptor is in flight in a socket, and, in an agent without root, one that is
//! only mapped; where a task may make namespaces, also one that is only mounted.

mod unnamed;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{Timespec, poll};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use serde::{Deserialize, Serialize};

use super::too_much::TooMuch;
use crate::apart::Apart;
use crate::sys::extents::Extents;
pub(super) use unnamed::{Found, Known};

/// Directories below each other. Nobody needs more but who wants to hide.
pub(super) const DEEPEST: usize = 256;
/// A file that has several names has a part of this in each.
const WHOLE: u64 = 1 << 20;
/// Files of so many bytes, and directories, are known again: what is moved while it is counted has many names one after the
/// other (MD5) …
const LARGE: u64 = 1 << 20;
/// … so many of them.
const KNOWN: usize = 1 << 16;

/// The kernel's clock of changes goes on at the latest after this.
const TICK: Duration = Duration::from_millis(12);
/// So many walks find something else each time only if somebody outside has a hand in it.
const WALKS: u32 = 6;

/// What is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Bytes on the disk.
    pub(super) bytes: u64,
    /// Files and directories.
    pub(super) files: u64,
}

/// Counts all that is below `root`, and what the processes (directories of `/proc`) hold of its file system without a
/// name. What its owner changes meanwhile may be found or not: who wants to know holds the task still
/// ([`crate::cgroup::freezer`]) and asks [`count_until`].
///
/// # Errors
/// That there is more than anybody looks at.
pub(super) fn count(root: &OwnedFd, processes: &[PathBuf]) -> Result<Usage, TooMuch> {
    let (sum, _) = walk(root, &|| false)?.unwrap_or_default();
    with_unnamed(root, processes, sum, &mut Found::new())
}

/// The same of a task that stands still, or nothing if that isn't over by then. What is in `found` was found with another
/// task, and isn't this one's. Who has one of its directories open needn't be in the task: a count is good when two walks, one
/// after the other, find the same (MG2).
///
/// # Errors
/// As [`count`], and that somebody goes on moving things.
pub(super) fn count_until(
    root: &OwnedFd,
    processes: &[PathBuf],
    until: Option<Instant>,
    found: &mut Found,
) -> Result<Option<Usage>, TooMuch> {
    let Some(until) = until else { return count(root, processes).map(Some) };
    let late = || until <= Instant::now();
    // What the task itself changed is older then.
    pause(TICK);
    let mut before = None;
    for _ in 0..WALKS {
        let Some((sum, seen)) = walk(root, &late)? else { return Ok(None) };
        if !seen.now && before == Some(seen) {
            return with_unnamed(root, processes, sum, found).map(|used| (!late()).then_some(used));
        }
        before = Some(seen);
    }
    Err(TooMuch::Moved)
}

/// What [`count_until`] says, and what was found with this task and those before.
pub(super) type Counted = (Result<Option<Usage>, TooMuch>, Found);

/// Begins [`count_until`] in a process of its own.
///
/// # Errors
/// When none can be started.
pub(super) fn counting(
    root: &OwnedFd,
    processes: &[PathBuf],
    until: Option<Instant>,
    mut found: Found,
) -> io::Result<Apart<Counted>> {
    Apart::begin(&[root.as_fd()], move || (count_until(root, processes, until, &mut found), found))
}

fn pause(time: Duration) {
    let _ = poll(&mut [], Timespec::try_from(time).ok().as_ref());
}

/// What tells one state of all that is there from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Of when each directory was changed last: what has been moved can't be hidden there. Who writes to a file for long,
    /// and so doesn't stand still, hides nothing.
    mark: u64,
    /// One was changed in the moment when it was looked at: another change may look the same.
    now: bool,
}

impl Seen {
    fn add(&mut self, directory: &Statx) {
        let changed = directory.stx_ctime;
        let mut hasher = DefaultHasher::new();
        (directory.stx_ino, changed.tv_sec, changed.tv_nsec).hash(&mut hasher);
        // In whichever order.
        self.mark = self.mark.wrapping_add(hasher.finish());
        let since = Duration::new(u64::try_from(changed.tv_sec).unwrap_or(0), changed.tv_nsec);
        let changed = UNIX_EPOCH + since;
        let now = SystemTime::now();
        self.now |= changed.max(now).duration_since(changed.min(now)).is_ok_and(|apart| apart < TICK);
    }
}

/// All that has a name below `root`; nothing when it is late.
fn walk(root: &OwnedFd, late: &dyn Fn() -> bool) -> Result<Option<(Sum, Seen)>, TooMuch> {
    let mut open: Vec<Dir> = directory(root, c".").into_iter().collect();
    let extents = open.first().and_then(|dir| Extents::of(dir.fd().ok()?));
    let (mut sum, mut seen) = (Sum { extents, ..Sum::default() }, Seen::default());
    while let Some(dir) = open.last_mut() {
        let Some(Ok(entry)) = dir.read() else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if late() {
            return Ok(None);
        }
        let Ok(fd) = dir.fd() else { continue };
        // It may have gone meanwhile.
        let Ok(stat) = statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) else { continue };
        let is_new = sum.add(&stat);
        if is_directory(&stat) {
            seen.add(&stat);
        }
        if !is_new || !is_directory(&stat) {
            continue;
        }
        let below = directory(fd, name);
        if below.is_some() && open.len() >= DEEPEST {
            return Err(TooMuch::Depth);
        }
        open.extend(below);
    }
    Ok((!late()).then_some((sum, seen)))
}

/// And what has no name.
fn with_unnamed(
    root: &OwnedFd,
    processes: &[PathBuf],
    mut sum: Sum,
    found: &mut Found,
) -> Result<Usage, TooMuch> {
    if let Ok(stat) = statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS) {
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        unnamed::find(device, processes, found, &mut |file| {
            sum.add(file);
        })
        .map_err(|_| TooMuch::Held)?;
    }
    Ok(Usage { bytes: sum.bytes, files: sum.parts / WHOLE })
}

fn directory(dir: impl std::os::fd::AsFd, name: &std::ffi::CStr) -> Option<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).and_then(Dir::new).ok()
}

fn is_directory(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

#[derive(Default)]
struct Sum {
    bytes: u64,
    parts: u64,
    /// What would be known again: its device and its number.
    known: HashSet<(u32, u32, u64)>,
    /// Where files don't say what they take.
    extents: Option<Extents>,
}

impl Sum {
    /// Adds what has a name there, or none any more; whether it isn't known already.
    fn add(&mut self, file: &Statx) -> bool {
        let is_directory = is_directory(file);
        let extents = self.extents.as_mut().filter(|_| file.stx_blocks > 0 && !is_directory);
        let taken = extents.and_then(|extents| extents.bytes(file.stx_ino).ok());
        let bytes = taken.unwrap_or(file.stx_blocks.saturating_mul(512));
        // All names of a file are in here: nothing can be linked across mounts.
        let mut names = if is_directory { 1 } else { u64::from(file.stx_nlink).max(1) };
        if is_directory || bytes >= LARGE {
            let number = (file.stx_dev_major, file.stx_dev_minor, file.stx_ino);
            if self.known.contains(&number) {
                return false;
            }
            if self.known.len() < KNOWN {
                self.known.insert(number);
                names = 1;
            }
        }
        self.bytes = self.bytes.saturating_add(bytes / names);
        self.parts = self.parts.saturating_add(WHOLE / names);
        true
    }
}

/// The processes of the task, as directories of `/proc`: those of its cgroup, else those of its pid namespace.
pub(super) fn processes(cgroup: Option<&Path>, init: i32) -> Vec<PathBuf> {
    if let Some(list) = cgroup.and_then(|file| fs::read_to_string(file).ok()) {
        return list.lines().map(|pid| Path::new("/proc").join(pid)).collect();
    }
    let of = |pid: &str| Path::new("/proc").join(pid);
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let init = init.to_string();
    // The init itself shows nothing to its own user, where the shim is no more than that.
    let children =
        fs::read_to_string(of(&init).join("task").join(&init).join("children")).unwrap_or_default();
    let ours: HashSet<PathBuf> =
        children.split_whitespace().chain([&*init]).filter_map(|pid| namespace(&of(pid))).collect();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|process| namespace(process).is_some_and(|theirs| ours.contains(&theirs))).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a04_files_are_counted_once_however_many_names_they_have() {
        let dir = std::env::temp_dir().join(format!("launch-usage-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        let root = crate::sys::mount::open_host(&dir).unwrap();
        let before = count(&root, &[]).unwrap();
        assert_eq!(before.files, 2);
        assert_eq!(
            count_until(&root, &[], Some(Instant::now()), &mut Found::new()),
            Ok(None),
            "it has no time"
        );
        fs::write(dir.join("a/f"), vec![1; 1 << 20]).unwrap();
        fs::File::open(dir.join("a/f")).unwrap().sync_all().unwrap();
        for i in 0..7 {
            fs::hard_link(dir.join("a/f"), dir.join(format!("a/b/{i}"))).unwrap();
        }
        let after = count(&root, &[]).unwrap();
        assert_eq!(after.files, 3);
        let bytes = after.bytes - before.bytes;
        assert!(((1 << 20) - 4096..(1 << 20) + 65_536).contains(&bytes), "{bytes}");
        // Held open without a name, by one process or two.
        let held = fs::File::create_new(dir.join("g")).unwrap();
        held.set_len(1).unwrap();
        fs::remove_file(dir.join("g")).unwrap();
        let own = PathBuf::from("/proc/self");
        assert_eq!(count(&root, &[own.clone(), own]).unwrap().files, 4);
        drop(held);
        // A directory and a link that have no name any more either.
        fs::create_dir(dir.join("h")).unwrap();
        std::os::unix::fs::symlink("x".repeat(2000), dir.join("i")).unwrap();
        let held = ["h", "i"].map(|name| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&root, name, flags, Mode::empty()).unwrap()
        });
        fs::remove_dir(dir.join("h")).unwrap();
        fs::remove_file(dir.join("i")).unwrap();
        assert_eq!(count(&root, &[PathBuf::from("/proc/self")]).unwrap().files, 5);
        drop(held);
        // Nor one that somebody is in.
        fs::create_dir(dir.join("j")).unwrap();
        let mut inside = std::process::Command::new("sh");
        inside.args(["-c", "rmdir ../j; echo; read x"]).current_dir(dir.join("j"));
        let mut inside = inside.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        inside.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let process = Path::new("/proc").join(inside.id().to_string());
        assert_eq!(count(&root, &[]).unwrap().files, 3);
        assert_eq!(count(&root, &[process]).unwrap().files, 4);
        drop(inside.stdin.take());
        inside.wait().unwrap();
        let mut deep = dir.join("deep");
        for _ in 0..DEEPEST {
            fs::create_dir(&deep).unwrap();
            deep.push("d");
        }
        assert_eq!(count(&root, &[]), Err(TooMuch::Depth));
        crate::empty::remove(&dir).unwrap();
    }

    /// MG2: who has a directory of a task's open needn't be in it, and stands still for nobody.
    #[test]
    fn md06_what_somebody_outside_moves_is_no_count() {
        let dir = std::env::temp_dir().join(format!("launch-moved-{}", std::process::id()));
        for name in ["a", "b"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("a/f"), "x").unwrap();
        let root = crate::sys::mount::open_host(&dir).unwrap();
        let count =
            || count_until(&root, &[], Some(Instant::now() + Duration::from_secs(60)), &mut Found::new());
        let moves = std::sync::atomic::AtomicBool::new(true);
        let (moved, still) = std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                while moves.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::rename(dir.join("a/f"), dir.join("b/f")).unwrap();
                    fs::rename(dir.join("b/f"), dir.join("a/f")).unwrap();
                }
            });
            // The mover may rest for a moment: then it is a good count.
            let until = Instant::now() + Duration::from_secs(60);
            let mut moved = count();
            while moved.is_ok() && Instant::now() < until {
                moved = count();
            }
            moves.store(false, std::sync::atomic::Ordering::Relaxed);
            mover.join().unwrap();
            (moved, count())
        });
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(moved, Err(TooMuch::Moved));
        assert_eq!(still.map(|used| used.map(|used| used.files)), Ok(Some(3)));
    }

    /// MD7: on btrfs a file has less than it says, or more, as its owner likes.
    #[test]
    fn md07_what_files_take_of_a_btrfs_is_counted_not_what_they_say() {
        use std::io::Write as _;
        use std::process::Command;
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let place = std::env::temp_dir().join(format!("launch-extents-{}", std::process::id()));
        let (image, disk) = (place.join("image"), place.join("disk"));
        fs::create_dir_all(&disk).unwrap();
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let (image, at) = (image.to_str().unwrap(), disk.to_str().unwrap());
        // Without root, or btrfs, there is nothing to see.
        if !run("mkfs.btrfs", &["-q", image]) || !run("mount", &["-o", "loop", image, at]) {
            return fs::remove_dir_all(&place).unwrap();
        }
        let counted = |open: bool| {
            assert!(run("sync", &["-f", at]));
            let root = crate::sys::mount::open_host(&disk).unwrap();
            let own = [PathBuf::from("/proc/self")];
            count(&root, if open { &own } else { &[] }).unwrap().bytes >> 20
        };
        // It compresses.
        let mut file = fs::File::create(disk.join("f")).unwrap();
        rustix::fs::fsetxattr(&file, "btrfs.compression", b"zstd", rustix::fs::XattrFlags::empty()).unwrap();
        file.write_all(&vec![0; 64 << 20]).unwrap();
        let compressed = counted(false);
        // Nothing is left of each extent but a page; by holes, or by an end.
        let mut random = vec![0; 8 << 20];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
        let mut kept = vec![];
        for n in 0..3 {
            let mut file = fs::File::create(disk.join(n.to_string())).unwrap();
            file.write_all(&random).unwrap();
            file.sync_all().unwrap();
            if n == 0 {
                let how = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&file, how, 4096, (8 << 20) - 4096).unwrap();
            } else {
                file.set_len(4096).unwrap();
            }
            kept.push(file);
        }
        let with_names = counted(false);
        fs::remove_file(disk.join("2")).unwrap();
        let without = (counted(false), counted(true));
        drop((file, kept));
        assert!(run("umount", &[at]));
        fs::remove_dir_all(&place).unwrap();
        assert!(compressed <= 4, "{compressed}");
        assert!((24..30).contains(&with_names), "{with_names}");
        assert!((16..22).contains(&without.0) && (24..30).contains(&without.1), "{without:?}");
    }
}
