//! How much a task has in its own directories: bytes and files. Counted with memory that doesn't depend on what is there:
//! the shim's memory is nobody's but the machine's.
//!
//! What has no name any more counts, too, while a process of the task has it open or mapped, or is it. What can't be seen
//! is a file without a name whose only descriptor is in flight in a socket, and, in an agent without root, one that is
//! only mapped; where a task may make namespaces, also one that is only mounted.

mod unnamed;

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};

use super::too_much::TooMuch;
pub(super) use unnamed::Known;

/// Directories below each other. Nobody needs more but who wants to hide.
pub(super) const DEEPEST: usize = 256;
/// A file that has several names has a part of this in each.
const WHOLE: u64 = 1 << 20;

/// What is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Bytes on the disk.
    pub(super) bytes: u64,
    /// Files and directories.
    pub(super) files: u64,
}

/// Counts all that is below `root`, and what the processes (directories of `/proc`) hold of its file system without a
/// name.
///
/// # Errors
/// That there is more than anybody looks at.
pub(super) fn count(root: &OwnedFd, processes: &[PathBuf]) -> Result<Usage, TooMuch> {
    let mut sum = Sum::default();
    let mut open: Vec<Dir> = directory(root, c".").into_iter().collect();
    while let Some(dir) = open.last_mut() {
        let Some(Ok(entry)) = dir.read() else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(fd) = dir.fd() else { continue };
        // It may have gone meanwhile.
        let Ok(stat) = statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) else { continue };
        let bytes = stat.stx_blocks.saturating_mul(512);
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Directory {
            // All its names are in here: nothing can be linked across mounts.
            sum.add(bytes, u64::from(stat.stx_nlink).max(1));
            continue;
        }
        sum.add(bytes, 1);
        let below = directory(fd, name);
        if below.is_some() && open.len() >= DEEPEST {
            return Err(TooMuch::Depth);
        }
        open.extend(below);
    }
    if let Ok(stat) = statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS) {
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        unnamed::find(device, processes, &mut |bytes| sum.add(bytes, 1)).map_err(|_| TooMuch::Held)?;
    }
    Ok(Usage { bytes: sum.bytes, files: sum.parts / WHOLE })
}

fn directory(dir: impl std::os::fd::AsFd, name: &std::ffi::CStr) -> Option<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).and_then(Dir::new).ok()
}

#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    parts: u64,
}

impl Sum {
    /// Adds one of a file's names.
    fn add(&mut self, bytes: u64, names: u64) {
        self.bytes = self.bytes.saturating_add(bytes / names);
        self.parts = self.parts.saturating_add(WHOLE / names);
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
    use super::*;

    #[test]
    fn a04_files_are_counted_once_however_many_names_they_have() {
        let dir = std::env::temp_dir().join(format!("launch-usage-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        let root = crate::sys::mount::open_host(&dir).unwrap();
        let before = count(&root, &[]).unwrap();
        assert_eq!(before.files, 2);
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
        let mut deep = dir.join("deep");
        for _ in 0..DEEPEST {
            fs::create_dir(&deep).unwrap();
            deep.push("d");
        }
        assert_eq!(count(&root, &[]), Err(TooMuch::Depth));
        crate::empty::remove(&dir).unwrap();
    }
}
