//! The mount table, and every name that it gives a file (A13): a directory of a file system can be reached wherever
//! that file system, or a part of it that has the directory, is mounted.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use crate::sys::mounts::Described;

/// Kinds of file systems that hold nothing of anybody's disk.
const IN_MEMORY: [&str; 6] = ["tmpfs", "ramfs", "devtmpfs", "devpts", "hugetlbfs", "mqueue"];

/// One mount (proc_pid_mountinfo(5)).
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) id: u64,
    /// The mount that it is mounted on.
    pub(super) parent: u64,
    /// `major:minor` of the file system.
    pub(super) device: String,
    /// What of the file system is mounted.
    pub(super) root: PathBuf,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Name of the file system's kind.
    pub(super) kind: String,
    /// Who answers for a file system that a process serves (FUSE): a uid.
    pub(super) server: Option<u32>,
}

/// The mounts that this process can reach.
#[derive(Debug)]
pub(super) struct Table(Vec<Mount>);

impl Table {
    pub(super) fn read() -> std::io::Result<Self> {
        fs::read_to_string("/proc/self/mountinfo").map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Mount::parse).collect())
    }

    pub(super) fn mounts(&self) -> &[Mount] {
        &self.0
    }

    /// The mount with a number.
    pub(super) fn mount(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// How many mounts are below the one with a number, however deep.
    pub(super) fn count_below(&self, top: u64) -> usize {
        let parents: HashMap<u64, u64> = self.0.iter().map(|mount| (mount.id, mount.parent)).collect();
        let is_below = |mount: &&Mount| {
            let above = std::iter::successors(Some(mount.id), |id| parents.get(id).copied());
            // No chain is longer than the table, should a number be its own parent's.
            above.skip(1).take(self.0.len()).any(|id| id == top)
        };
        self.0.iter().filter(is_below).count()
    }

    /// The mount that an open file was reached through, if it is still there.
    pub(super) fn mount_of(&self, fd: BorrowedFd<'_>) -> Option<&Mount> {
        self.mount(mount_id(fd)?)
    }

    /// All paths at which something of the directory or file at `path`, which has no links, can be seen. It is not
    /// among them itself. Paths that something else covers are left out, but below `gone`: what covers them there won't be
    /// shown.
    pub(super) fn aliases(&self, path: &Path, gone: &[PathBuf]) -> Vec<PathBuf> {
        let Some((device, inside)) = open(path).ok().and_then(|fd| self.mount_of(fd?.as_fd())?.place(path))
        else {
            return vec![];
        };
        let alike = self.0.iter().filter(|mount| mount.device == device);
        let uncovered = |alias: &PathBuf| gone.iter().any(|gone| alias.starts_with(gone));
        let aliases = alike.filter_map(|mount| {
            mount.shows(&inside).filter(|alias| uncovered(alias) || mount.reaches(alias))
        });
        aliases.filter(|alias| alias.as_path() != path).collect()
    }

    /// The same without a look at what the paths lead to, which may be something else by now, for a `path` in a mount.
    pub(super) fn names(&self, path: &Path, mount: u64) -> Vec<PathBuf> {
        let Some((device, inside)) = self.mount(mount).and_then(|mount| mount.place(path)) else {
            return vec![];
        };
        let alike = self.0.iter().filter(|mount| mount.device == device);
        alike.filter_map(|mount| mount.shows(&inside)).filter(|name| name != path).collect()
    }

    /// The directories outside `path` at which the file systems in memory can be seen that are mounted there and below. What
    /// is a part of the disk, or a disk that is mounted there, is nothing of the system's.
    pub(super) fn other_directories(&self, path: &Path) -> Vec<PathBuf> {
        let points: BTreeSet<&Path> = self.in_memory(path).map(|mount| mount.point.as_path()).collect();
        let aliases = points.into_iter().flat_map(|point| self.aliases(point, &[]));
        aliases.filter(|alias| !alias.starts_with(path) && is_directory(alias)).collect()
    }

    /// The mounts at `path` and below of file systems in memory.
    pub(super) fn in_memory(&self, path: &Path) -> impl Iterator<Item = &Mount> {
        let disk = self.0.iter().rev().find(|mount| mount.point == Path::new("/")).map(|mount| &mount.device);
        self.0.iter().filter(move |mount| {
            mount.point.starts_with(path)
                && IN_MEMORY.contains(&mount.kind.as_str())
                && Some(&mount.device) != disk
        })
    }

    /// Mount points of these kinds of file systems, unless something else covers them.
    pub(super) fn points_of(&self, kinds: &[&str]) -> impl Iterator<Item = &Path> {
        let wanted = |mount: &&Mount| kinds.contains(&mount.kind.as_str()) && mount.reaches(&mount.point);
        self.0.iter().filter(wanted).map(|mount| mount.point.as_path())
    }
}

impl From<Described> for Mount {
    /// It has no place, for no path leads to it.
    fn from(Described { id, parent, device, root, kind }: Described) -> Self {
        Self { id, parent, device, root, point: PathBuf::new(), kind, server: None }
    }
}

impl Mount {
    /// Fields 1 to 5; behind the lone dash are the kind, what its owner calls the source, and what the kernel says of the
    /// file system. Only there is told who serves it: whoever mounts it may call the source `user_id=0` (T4).
    fn parse(line: &str) -> Option<Self> {
        let (mount, rest) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next()?, rest.nth(1).unwrap_or_default());
        Some(Self {
            id: fields.first()?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            device: (*fields.get(2)?).to_owned(),
            root: unescape(fields.get(3)?),
            point: unescape(fields.get(4)?),
            kind: kind.to_owned(),
            server: options.split(',').rev().find_map(|option| option.strip_prefix("user_id=")?.parse().ok()),
        })
    }

    /// Whether this one is mounted on another's root, and so hides all of it whatever is moved.
    pub(super) fn lies_on(&self, other: &Self) -> bool {
        self.parent == other.id && self.point == other.point && self.id != other.id
    }

    /// File system of a path in this mount, and its path in that.
    fn place(&self, path: &Path) -> Option<(&str, PathBuf)> {
        Some((&self.device, joined(&self.root, path.strip_prefix(&self.point).ok()?)))
    }

    /// Whether a path leads into this mount. One that can't be looked at is taken to: then it is hidden, or that fails.
    fn reaches(&self, path: &Path) -> bool {
        match open(path) {
            Ok(fd) => fd.is_some_and(|fd| mount_id(fd.as_fd()) == Some(self.id)),
            Err(_) => true,
        }
    }

    /// Where this mount shows a path of its file system, or the part of it that it has.
    fn shows(&self, inside: &Path) -> Option<PathBuf> {
        match inside.strip_prefix(&self.root) {
            Ok(below) => Some(joined(&self.point, below)),
            // It shows nothing but a part of it.
            Err(_) => self.root.starts_with(inside).then(|| self.point.clone()),
        }
    }
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// `join` with an empty path adds a slash, which then looks like a directory.
fn joined(path: &Path, below: &Path) -> PathBuf {
    if below == Path::new("") { path.to_owned() } else { path.join(below) }
}

/// Opens what is at a path, if there is anything.
fn open(path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    match openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some),
    }
}

/// The mount that an open file was reached through.
pub(super) fn mount_id(fd: BorrowedFd<'_>) -> Option<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    if let Ok(found) = statx(fd, "", flags, StatxFlags::MNT_ID)
        && found.stx_mask & StatxFlags::MNT_ID.bits() != 0
    {
        return Some(found.stx_mnt_id);
    }
    // An older kernel, or somebody's own file system.
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// Mountinfo writes blanks and backslashes in paths as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = vec![];
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        if let Some(code) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(code);
            rest = &tail[3..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str, point: &str) -> Mount {
        let line = format!("31 1 8:1 {root} {point} rw,relatime shared:1 master:2 - ext4 /dev/vda rw");
        Mount::parse(&line).unwrap()
    }

    #[test]
    fn a13_a_mount_shows_a_directory_that_it_holds_or_lies_in() {
        let state = Path::new("/srv/state");
        let shown = |root, point| mount(root, point).shows(state);
        assert_eq!(shown("/", "/").unwrap(), state);
        assert_eq!(shown("/", "/mnt/disk").unwrap(), Path::new("/mnt/disk/srv/state"));
        assert_eq!(shown("/srv", "/mnt/a\\040b").unwrap(), Path::new("/mnt/a b/state"));
        assert_eq!(shown("/srv/state", "/x").unwrap(), Path::new("/x"));
        assert_eq!(shown("/srv/state/deep", "/x").unwrap(), Path::new("/x"));
        assert_eq!(shown("/srv/state2", "/x"), None);
        assert_eq!(shown("/home", "/x"), None);
    }

    #[test]
    fn a07_who_serves_a_file_system_is_what_the_kernel_says_and_not_its_name() {
        let server = |source: &str, options: &str| {
            let line = format!("31 1 0:52 / /home/eve/m rw,nosuid,nodev - fuse.user_id=0 {source} {options}");
            Mount::parse(&line).unwrap().server
        };
        let told = "rw,user_id=6001,group_id=6001,allow_other";
        for source in ["user_id=0", "user_id=0,user_id=0", "x,user_id=0,", "rw\\040user_id=0", "honest", ""] {
            assert_eq!(server(source, told), Some(6001), "{source}");
        }
        assert_eq!(server("user_id=0", "rw"), None);
        assert_eq!(mount("/", "/").server, None);
    }

    #[test]
    fn a_table_is_read_and_bad_lines_are_not() {
        let table = Table::parse("22 1 0:21 / /proc rw shared:5 - proc proc rw\nrubbish\n\n");
        assert_eq!(table.0.len(), 1);
        assert_eq!(
            (table.0[0].id, table.0[0].device.as_str(), table.0[0].kind.as_str()),
            (22, "0:21", "proc")
        );
    }
}
