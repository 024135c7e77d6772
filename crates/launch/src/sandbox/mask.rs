//! Muster's own directories in a task: never visible, however they are reached. They matter most where the task
//! has the launcher's own uid; for a task of another user the file modes would do.
//!
//! A mask is an empty read-only mount on top. A task can't take it off: it has no capability in the namespace
//! that owns the mount, and mounts that a nested user namespace inherits are locked together.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::Root;
use super::machine::FRESH;
use super::table::Table;
use crate::failure::{Explain, Failure};
use crate::spec::TaskSpec;
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY, attach, new_fs, open_beneath};
use crate::task_dir::SCRATCH_DIR;

pub(super) const ATTRS: u64 = RDONLY | NOSUID | NODEV | NOEXEC;

/// File systems that would show a task the machine's processes or kernel wherever they are mounted, such as in a
/// chroot.
pub(super) const SYSTEM_FILE_SYSTEMS: [&str; 22] = [
    "binfmt_misc",
    "nfsd",
    "resctrl",
    "rpc_pipefs",
    "selinuxfs",
    "smackfs",
    "devtmpfs",
    "devpts",
    "mqueue",
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
    "configfs",
    "nsfs",
    "pstore",
    "efivarfs",
    "fusectl",
];
/// Where they belong. Nothing there is ever bound, and a task has all of it afresh.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];
/// What else a task has afresh, and what would show it the machine's under another name: sockets of services, and shared
/// memory of others.
pub(super) const AFRESH: [&str; 2] = ["/run", "/dev"];

/// Paths that no task may see, resolved, under every name that the mount table gives them (A13).
pub(super) struct Masks {
    paths: Vec<PathBuf>,
    /// The same, those that exist, by device and inode: a second name for a directory doesn't help.
    inodes: Vec<(u64, u64)>,
    /// Mount points of what shows the machine. No source may lie there; they are left out of what is cloned, or covered.
    strays: Vec<PathBuf>,
}

impl Masks {
    /// Resolves the paths to mask: the task's, its own directory and the one that has all of them. `table` is what
    /// everything that the task shows is cloned from.
    pub(super) fn gather(spec: &TaskSpec, task_dir: &Path, table: &Table) -> Result<Self, Failure> {
        // Tasks may be on a disk of their own, which has other names than the directory around.
        let own = spec.masked.iter().map(PathBuf::as_path).chain([task_dir]).chain(task_dir.parent());
        // One that is gone for a moment, because somebody moves a directory above it, would not be hidden.
        let resolve = |path: &Path| {
            fs::canonicalize(path).explain(|| format!("can't hide {} from the task", path.display()))
        };
        let mut paths: Vec<PathBuf> = own.map(resolve).collect::<Result<_, _>>()?;
        let inodes = paths.iter().filter_map(|p| inode(p).ok()).collect();
        let system = table.points_of(&SYSTEM_FILE_SYSTEMS);
        let system = system.filter(|point| !SYSTEM.iter().any(|system| point.starts_with(system)));
        let mut strays: Vec<PathBuf> = system.map(Path::to_owned).collect();
        let mut afresh = vec![];
        for alias in AFRESH.iter().flat_map(|path| table.other_directories(Path::new(path))) {
            let mounted = table.mounts().iter().any(|mount| mount.point == alias);
            if mounted { &mut strays } else { &mut afresh }.push(alias);
        }
        let aliases: Vec<PathBuf> = paths.iter().flat_map(|path| table.aliases(path, &strays)).collect();
        paths.extend(aliases);
        paths.append(&mut afresh);
        paths.sort();
        paths.dedup();
        Ok(Self { paths, inodes, strays })
    }

    /// Whether the machine has such mounts outside of what no task has of it.
    pub(super) fn has_strays(&self) -> bool {
        let afresh = |path: &PathBuf| SYSTEM.iter().chain(&["/run"]).any(|system| path.starts_with(system));
        !self.strays.iter().all(afresh)
    }

    /// Whether an open file lies in something masked: by its path, or by what any directory above it is.
    pub(super) fn hides(&self, path: &Path, fd: BorrowedFd<'_>) -> io::Result<bool> {
        if self.paths.iter().chain(&self.strays).any(|masked| path.starts_with(masked)) {
            return Ok(true);
        }
        let mut stat = fstat(fd)?;
        let mut dir = fd.try_clone_to_owned()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if self.inodes.contains(&(stat.st_dev, stat.st_ino)) {
                return Ok(true);
            }
            // A file doesn't know its directory, so that is asked by path; the file itself was compared above.
            dir = crate::sys::mount::open_host(path.parent().unwrap_or(path))?;
            stat = fstat(&dir)?;
        }
        loop {
            if self.inodes.contains(&(stat.st_dev, stat.st_ino)) {
                return Ok(true);
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let parent = rustix::fs::openat(&dir, "..", flags, rustix::fs::Mode::empty())?;
            let next = fstat(&parent)?;
            // Above the root is the root.
            if (next.st_dev, next.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(false);
            }
            (dir, stat) = (parent, next);
        }
    }

    /// Masks what the machine's own tree shows.
    pub(super) fn apply(&self, root: &Root<'_>) -> Result<(), Failure> {
        let own_var_tmp = has_own_var_tmp(root);
        for path in &self.paths {
            let Ok(below) = path.strip_prefix("/") else {
                continue;
            };
            // What a task has afresh shows nothing of the machine at that path, whatever it is called.
            let afresh = FRESH.iter().any(|fresh| below.starts_with(fresh))
                || (own_var_tmp && below.starts_with("var/tmp"));
            if !afresh && shown(root, below) {
                self.mask_beneath(root, root.fd(), path, below)?;
            }
        }
        Ok(())
    }

    /// Masks what a bind mount of `source`, attached as `mount`, shows.
    pub(super) fn apply_to(
        &self,
        root: &Root<'_>,
        mount: BorrowedFd<'_>,
        source: &Path,
    ) -> Result<(), Failure> {
        for path in &self.paths {
            if let Ok(below) = path.strip_prefix(source) {
                self.mask_beneath(root, mount, path, below)?;
            }
        }
        Ok(())
    }

    /// Covers `path`, which is `below` a directory. It was there a moment ago.
    fn mask_beneath(
        &self,
        root: &Root<'_>,
        dir: BorrowedFd<'_>,
        path: &Path,
        below: &Path,
    ) -> Result<(), Failure> {
        let what = || format!("can't hide {} from the task", path.display());
        let target = match open_beneath(dir, below, OFlags::PATH) {
            Ok(target) => target,
            // Below something that is masked already.
            Err(Errno::NOENT | Errno::NOTDIR) if self.covered(path) => return Ok(()),
            Err(Errno::ACCESS) if out_of_reach(root, dir, below) => return Ok(()),
            Err(e) => return Err(e).explain(what),
        };
        let is_dir = FileType::from_raw_mode(fstat(&target).explain(what)?.st_mode) == FileType::Directory;
        let mask = if is_dir {
            new_fs("tmpfs", &[("mode", "0755"), ("size", "4k")], ATTRS).explain(what)?
        } else {
            root.text_file("empty", b"")?
        };
        attach(mask.as_fd(), target.as_fd()).explain(what)
    }

    fn covered(&self, path: &Path) -> bool {
        self.paths.iter().chain(&self.strays).any(|other| other != path && path.starts_with(other))
    }
}

/// Whether `/var/tmp` in the task is its own: it is not where the machine has none, or a link.
fn has_own_var_tmp(root: &Root<'_>) -> bool {
    let own = inode(&root.context.task_dir.join(SCRATCH_DIR).join("var-tmp"));
    let shown = root.open(Path::new("var/tmp"), OFlags::PATH | OFlags::NOFOLLOW);
    let shown = shown.ok().and_then(|fd| fstat(&fd).ok()).map(|stat| (stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| shown == Some(own))
}

/// Whether the task's root has the entry of the machine's `/` at all that a path begins with.
fn shown(root: &Root<'_>, below: &Path) -> bool {
    below
        .iter()
        .next()
        .is_some_and(|first| root.open(Path::new(first), OFlags::PATH | OFlags::NOFOLLOW).is_ok())
}

/// Whether a task of a launcher without root can't get to a path: it has no more rights than this process, unless the
/// directory that stands in the way is its own, whose mode it can change.
pub(super) fn out_of_reach(root: &Root<'_>, dir: BorrowedFd<'_>, below: &Path) -> bool {
    let reached = below.ancestors().skip(1).find_map(|above| {
        let above = if above == Path::new("") { Path::new(".") } else { above };
        open_beneath(dir, above, OFlags::PATH).ok()
    });
    let owner = reached.and_then(|reached| fstat(reached).ok()).map(|stat| stat.st_uid);
    root.context.unprivileged() && owner.is_some_and(|owner| owner != rustix::process::geteuid().as_raw())
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|m| (m.dev(), m.ino()))
}
