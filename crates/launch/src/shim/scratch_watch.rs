//! Watches how much of the disk the task's own directories take (A4), in a thread of the shim's: counting may take its
//! time, and recording the output must not wait for it. What is done about too much is `supervise`'s.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstatvfs, openat2, statat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::mount::open_host;

/// Between two looks at how full the disk is.
const TICK: Duration = Duration::from_millis(200);
/// What changes without the disk getting fuller is found by then.
const AT_LEAST: Duration = Duration::from_secs(10);
/// Counting takes at most this part of the time.
const PART: u32 = 20;
/// The counting thread needs little; directories are kept in a list.
const STACK: usize = 256 << 10;

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct ScratchWatch {
    /// Its end ends the thread.
    _lives: OwnedFd,
    /// Becomes readable when it is too much.
    over: OwnedFd,
    used: Arc<AtomicU64>,
}

impl ScratchWatch {
    /// Watches `scratch`. `in_task` lists the task's processes, which may hold files that have no name any more.
    pub(super) fn begin(
        scratch: PathBuf,
        limit: u64,
        in_task: impl Fn() -> Vec<PathBuf> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ends, lives) = pipe_with(PipeFlags::CLOEXEC)?;
        let (over, says_over) = pipe_with(PipeFlags::CLOEXEC)?;
        let used = Arc::new(AtomicU64::new(0));
        let found = Arc::clone(&used);
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            match watch(&scratch, limit, &ends, in_task) {
                Some(too_much) => found.store(too_much, Ordering::Release),
                // Its end would be taken for too much.
                None => drop(poll(&mut [PollFd::new(&ends, PollFlags::IN)], None)),
            }
            drop(says_over);
        })?;
        Ok(Self { _lives: lives, over, used })
    }

    /// Readable when it is too much.
    pub(super) fn over(&self) -> &OwnedFd {
        &self.over
    }

    /// The bytes that are too much.
    pub(super) fn used_too_much(&self) -> Option<u64> {
        Some(self.used.load(Ordering::Acquire)).filter(|used| *used > 0)
    }
}

/// Looks until it is too much, or nobody wants to know any more.
fn watch(scratch: &Path, limit: u64, ends: &OwnedFd, in_task: impl Fn() -> Vec<PathBuf>) -> Option<u64> {
    let root = open_host(scratch).ok()?;
    // So much more can be in it than at the last count, at most.
    let mut room = 0;
    let mut free = free_space(&root);
    let mut counted = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        let mut fds = [PollFd::new(ends, PollFlags::IN)];
        if poll(&mut fds, Timespec::try_from(TICK).ok().as_ref()) != Ok(0) {
            return None;
        }
        let since = counted.elapsed();
        let grown = free.saturating_sub(free_space(&root));
        if since < pause || (grown < room && since < AT_LEAST) {
            continue;
        }
        free = free_space(&root);
        counted = Instant::now();
        let used = used(&root, &in_task());
        if used > limit {
            return Some(used);
        }
        room = (limit - used) / 2 + 1;
        pause = counted.elapsed() * PART;
    }
}

fn free_space(root: &OwnedFd) -> u64 {
    // Opened for its path only, it can be asked about all the same.
    fstatvfs(root).map_or(0, |fs| fs.f_bfree.saturating_mul(fs.f_frsize))
}

/// Bytes on the disk of everything below `root`, and of what the processes hold of its file system without a name.
fn used(root: &OwnedFd, processes: &[PathBuf]) -> u64 {
    let mut counted = HashSet::new();
    let mut sum = unnamed(root, processes, &mut counted);
    let mut directories = vec![PathBuf::from(".")];
    while let Some(path) = directories.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let entries = match openat2(root, &path, flags, Mode::empty(), resolve).and_then(Dir::new) {
            Ok(entries) => entries,
            // Nobody needs folders that no path reaches but who wants to hide.
            Err(Errno::NAMETOOLONG) => return u64::MAX,
            // It has gone meanwhile.
            Err(_) => continue,
        };
        sum += read_directory(entries, &path, &mut directories, &mut counted);
    }
    sum
}

fn read_directory(
    mut entries: Dir,
    path: &Path,
    directories: &mut Vec<PathBuf>,
    counted: &mut HashSet<u64>,
) -> u64 {
    let mut sum = 0;
    while let Some(Ok(entry)) = entries.read() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(dir) = entries.fd() else { return sum };
        let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if stat.st_nlink > 1 && !counted.insert(stat.st_ino) {
            continue;
        }
        sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            directories.push(path.join(OsStr::from_bytes(name.to_bytes())));
        }
    }
    sum
}

/// The processes of the task, as directories of `/proc`: those of its cgroup, else those of its pid namespace.
pub(super) fn processes(cgroup: Option<&Path>, init: i32) -> Vec<PathBuf> {
    if let Some(list) = cgroup.and_then(|file| fs::read_to_string(file).ok()) {
        return list.lines().map(|pid| Path::new("/proc").join(pid)).collect();
    }
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let Some(ours) = namespace(&Path::new("/proc").join(init.to_string())) else { return vec![] };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|process| namespace(process).is_some_and(|theirs| theirs == ours)).collect()
}

/// Files that a process holds open and that have no name any more take space, too.
fn unnamed(root: &OwnedFd, processes: &[PathBuf], counted: &mut HashSet<u64>) -> u64 {
    let Ok(device) = rustix::fs::fstat(root).map(|stat| stat.st_dev) else { return 0 };
    let open = processes.iter().filter_map(|process| fs::read_dir(process.join("fd")).ok()).flatten();
    let files = open.flatten().filter_map(|file| fs::metadata(file.path()).ok());
    let gone = files.filter(|file| file.is_file() && file.nlink() == 0 && file.dev() == device);
    gone.filter(|file| counted.insert(file.ino())).map(|file| file.blocks() * 512).sum()
}
