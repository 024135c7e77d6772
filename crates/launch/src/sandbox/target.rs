//! Where mounts go in the task: finding or making mount points anywhere without touching the machine.
//!
//! A missing mount point is made where that is nobody's loss: in a file system of our own; as the user, in a place
//! where the user can write; and below a read-only directory of the machine by putting a small tmpfs in its
//! place, which has everything that the directory has.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, mkdirat, openat, readlinkat,
    statat, symlinkat,
};
use rustix::io::Errno;

use super::mask::Masks;
use super::sockets::Sockets;
use super::source::{Source, as_user};
use super::{Root, STAGE, clone_fd};
use crate::failure::{Explain, Failure};
use crate::sys::mount::{NODEV, NOSUID, attach, new_fs};

/// Entries that a directory may have and still be replaced: each becomes a mount.
const MAX_ENTRIES: usize = 4096;

/// What is mounted, and so what it is mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// Attaches every bind mount, outer ones first, so that inner ones aren't covered. Gives those that are directories.
pub(super) fn mount_all(
    root: &mut Root<'_>,
    masks: &Masks,
    sockets: &Sockets,
    sources: Vec<Source<'_>>,
) -> Result<Vec<OwnedFd>, Failure> {
    let work_dir = Path::new(root.context.spec.work_dir());
    let mut placed = vec![];
    for source in sources {
        let path = normal(&work_dir.join(&source.bind.container_path))
            .map_err(|why| why.at(format!("bind mount {}", source.bind.host_path.display())))?;
        placed.push((path, source));
    }
    placed.sort_by_key(|(path, _)| path.components().count());
    let mut bound = vec![];
    for (path, source) in placed {
        let shown = source.bind.host_path.display();
        let failed = |why: Failure| why.at(format!("bind mount {shown} at {}", path.display()));
        let target = root.make_target(&path, source.kind).map_err(failed)?;
        allowed(&root.path_in(target.as_fd())?).map_err(failed)?;
        attach(source.tree.as_fd(), target.as_fd()).map_err(|e| match e {
            Errno::NOTDIR => failed(Failure::refused("one is a directory and the other is not")),
            e => Failure::System {
                what: format!("bind mount {shown} at {}", path.display()),
                source: e.into(),
            },
        })?;
        if source.path.starts_with("/run") {
            root.seals.allow(source.tree.as_fd());
        }
        // Before another one hides it; it may be moved again later.
        if source.receives || (root.context.unprivileged() && masks.has_strays()) {
            root.seal()?;
        }
        masks.apply_to(root, source.tree.as_fd(), &source.path)?;
        sockets.apply_to(root, source.tree.as_fd(), &source.path)?;
        if source.kind == Kind::Directory {
            bound.push(source.tree);
        }
    }
    Ok(bound)
}

/// An absolute path without `.` and `..`.
fn normal(path: &Path) -> Result<PathBuf, Failure> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::Normal(_) => clean.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Failure::refused(format!(
                    "container_path {} must not contain '..'",
                    path.display()
                )));
            }
        }
    }
    allowed(&clean).map(|()| clean)
}

/// Whether a path of the task may be covered by a mount of its owner.
fn allowed(path: &Path) -> Result<(), Failure> {
    if path == Path::new("/") || path == Path::new("/run/determined") {
        return Err(Failure::refused(format!(
            "{} can't be replaced in a task; use a directory below it",
            path.display()
        )));
    }
    match ["/proc", "/sys", "/dev"].iter().find(|system| path.starts_with(system)) {
        Some(system) => Err(Failure::refused(format!("nothing can be mounted in {system} of a task"))),
        None => Ok(()),
    }
}

impl Root<'_> {
    /// Opens a mount point of the new root, making it if it is missing.
    pub(super) fn make_target(&mut self, path: &Path, kind: Kind) -> Result<OwnedFd, Failure> {
        let parts: Vec<&OsStr> = path
            .components()
            .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
            .collect();
        // The deepest directory that is there, and what is missing below it.
        let mut depth = parts.len();
        let mut dir = loop {
            let existing: PathBuf = Path::new("/").join(parts[..depth].iter().collect::<PathBuf>());
            let flags = OFlags::PATH | if depth < parts.len() { OFlags::DIRECTORY } else { OFlags::empty() };
            let opened = match self.open(&existing, flags) {
                // Somebody's own file system, which lets only him in (B16).
                Err(Errno::ACCESS) => {
                    as_user(self.context.credentials, || self.open(&existing, flags)).flatten()
                }
                other => other,
            };
            match opened {
                Ok(found) => break found,
                Err(Errno::NOENT) if depth > 0 => depth -= 1,
                Err(e) => return Err(e).explain(|| format!("can't open {}", existing.display())),
            }
        };
        for (at, name) in parts.iter().enumerate().skip(depth) {
            let kind = if at + 1 == parts.len() { kind } else { Kind::Directory };
            dir = self.make_entry(dir, name, kind)?;
        }
        Ok(dir)
    }

    /// Makes one entry of a directory and opens it.
    fn make_entry(&mut self, dir: OwnedFd, name: &OsStr, kind: Kind) -> Result<OwnedFd, Failure> {
        let what = || format!("can't make the mount point {}", Path::new(name).display());
        let made = if fstat(&dir).is_ok_and(|stat| self.own_devices.contains(&stat.st_dev)) {
            create(dir.as_fd(), name, kind)
        } else if !fstatvfs(&dir).explain(what)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
            // A writable place is the user's: what the user may not make there isn't made.
            as_user(self.context.credentials, || create(dir.as_fd(), name, kind)).flatten()
        } else {
            let replacement = self.replace(&dir)?;
            let made = create(replacement.as_fd(), name, kind);
            return made.and_then(|()| open_entry(replacement.as_fd(), name)).explain(what);
        };
        match made {
            // A link that leads nowhere is an entry, too.
            Err(Errno::EXIST) => {
                Err(Failure::refused(format!("{} is a link that leads nowhere", Path::new(name).display())))
            }
            other => other.and_then(|()| open_entry(dir.as_fd(), name)).explain(what),
        }
    }

    /// Covers a read-only directory with a tmpfs that has all of its entries, and opens that.
    fn replace(&mut self, dir: &OwnedFd) -> Result<OwnedFd, Failure> {
        let path = self.path_in(dir.as_fd())?;
        let what = || format!("can't make a mount point below {}", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = openat(dir, ".", flags, Mode::empty()).explain(what)?;
        let mut names: Vec<(OsString, FileType)> = vec![];
        for entry in Dir::new(listing).explain(what)? {
            let entry = entry.explain(what)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push((name.to_owned(), entry.file_type()));
            }
            if names.len() > MAX_ENTRIES {
                return Err(Failure::refused(format!(
                    "{} has more than {MAX_ENTRIES} entries, too many to make a mount point in it; choose another \
                     container_path",
                    path.display()
                )));
            }
        }

        let stat = fstat(dir).explain(what)?;
        let (uid, gid) = (stat.st_uid.to_string(), stat.st_gid.to_string());
        let mode = format!("{:o}", stat.st_mode & 0o1777);
        let mut options = vec![("size", "4m"), ("mode", mode.as_str())];
        if !self.context.unprivileged() {
            options.extend([("uid", uid.as_str()), ("gid", gid.as_str())]);
        } else if stat.st_uid != rustix::process::geteuid().as_raw() {
            // Somebody else's directory becomes ours for the lack of a right to give it away; keep it readable.
            options[1].1 = "0755";
        }
        let cover = new_fs("tmpfs", &options, NOSUID | NODEV).explain(what)?;
        self.attach_at(cover.as_fd(), STAGE)?;
        for (name, kind) in names {
            show_entry(dir.as_fd(), cover.as_fd(), &name, kind)
                .explain(|| format!("{}: {}", what(), Path::new(&name).display()))?;
        }
        attach(cover.as_fd(), dir.as_fd()).explain(what)?;
        let opened = cover.try_clone().explain(what)?;
        self.adopt(cover, true)?;
        Ok(opened)
    }
}

/// Makes an empty entry to mount on. Anything may be there by now; the caller decides.
fn create(dir: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> rustix::io::Result<()> {
    match kind {
        Kind::Directory => mkdirat(dir, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

fn open_entry(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes an entry of `from` appear in `to`: a link again, anything else as a mount with all that is below.
fn show_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &OsStr,
    listed: FileType,
) -> std::io::Result<()> {
    // The directory's word is enough: what is mounted there may be somebody's own, or dead.
    let kind = match listed {
        FileType::Unknown => FileType::from_raw_mode(statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
        known => known,
    };
    if kind == FileType::Symlink {
        let link = readlinkat(from, name, Vec::new())?;
        return Ok(symlinkat(link.as_c_str(), to, name)?);
    }
    let entry = open_entry(from, name)?;
    let tree = clone_fd(entry.as_fd(), true, 0)?;
    create(to, name, if kind == FileType::Directory { Kind::Directory } else { Kind::File })?;
    let target = open_entry(to, name)?;
    Ok(attach(tree.as_fd(), target.as_fd())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r38_targets_are_plain_and_not_the_systems() {
        assert_eq!(normal(Path::new("/a/./b//c")).unwrap(), Path::new("/a/b/c"));
        assert!(normal(Path::new("/run/determined/workdir")).is_ok());
        for bad in ["/", "/.", "/a/../b", "/proc", "/proc/1", "/sys/x", "/dev/shm", "/run/determined"] {
            assert!(normal(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
