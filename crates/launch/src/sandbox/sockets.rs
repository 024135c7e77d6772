//! Unix sockets of the machine that have a file: whoever answers there is on the machine, and would do for a task what they
//! do for its user (R15: another terminal of `tmux`, a connection that `ssh` shares). That a mount is read-only is nothing
//! to them. So each one is covered by an empty file wherever the task sees it.
//!
//! They are found by the names that they were given, which others choose, too: so nothing is looked up in a file system that
//! another user could let wait, and what can't be found is left. Sockets of other tasks are none of the machine's.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstat, openat, openat2, statx,
};
use rustix::io::Errno;

use super::machine::FRESH;
use super::source::{Source, as_user};
use super::table::Table;
use super::{Context, Root};
use crate::failure::{Explain, Failure};
use crate::sockets::is_shown;
use crate::sys::landlock::only_sockets_below;
use crate::sys::mount::{attach, open_beneath, path_of};

/// Most entries of directories that are looked through for sockets which were renamed.
const MAX_ENTRIES: usize = 16_384;
/// Most directories in which a name is looked for that is relative to one.
const MAX_DIRECTORIES: usize = 256;
/// Most sockets of others than the task's user and root that are covered.
const MAX_OF_OTHERS: usize = 1024;

/// The machine's sockets, by every path that one has, without links.
pub(super) struct Sockets(BTreeSet<PathBuf>);

struct Socket {
    /// Every path that it has.
    names: Vec<PathBuf>,
    /// The owner's uid.
    owner: u32,
}

/// What there is at a name.
enum Found {
    Socket(Socket),
    /// Nothing any more, or none that is a socket.
    Other,
    /// Root may not look: it is on a file system of a user's own, or of another machine's.
    Denied,
}

impl Sockets {
    /// Looks for them. `table` is the machine's.
    pub(super) fn gather(context: Context<'_>, table: &Table, sources: &[Source<'_>]) -> Self {
        let names = context.sockets;
        let search = Search { table, sources, user: context.credentials.host_uid };
        let (mut sockets, denied) = search.with_renamed(&names.absolute);
        if !names.relative.is_empty() {
            let directories = search.working_directories();
            let path = |name: &PathBuf| directories.iter().map(|dir| dir.join(name)).collect::<Vec<_>>();
            let paths: Vec<PathBuf> = names.relative.iter().flat_map(path).collect();
            sockets.extend(search.all(&paths).0);
        }
        if !denied.is_empty() {
            // Where root may not look the task's user may, and nobody else gets there.
            let more = as_user(context.credentials, || search.with_renamed(&denied).0);
            sockets.extend(more.unwrap_or_default());
        }
        // Those of the system's accounts before others', in case somebody has very many.
        sockets.sort_by_key(|socket| socket.owner);
        let mut of_others = 0;
        sockets.retain(|socket| {
            let other = socket.owner != 0 && socket.owner != search.user;
            of_others += usize::from(other);
            !other || of_others <= MAX_OF_OTHERS
        });
        Self(sockets.into_iter().flat_map(|socket| socket.names).collect())
    }

    /// Covers those that the machine's own tree shows.
    pub(super) fn apply(&self, root: &Root<'_>) -> Result<(), Failure> {
        for path in &self.0 {
            let Ok(below) = path.strip_prefix("/") else { continue };
            if !FRESH.iter().any(|fresh| below.starts_with(fresh)) {
                cover(root, root.fd(), path, below)?;
            }
        }
        Ok(())
    }

    /// Covers those that a bind mount of `source`, attached as `mount`, shows.
    pub(super) fn apply_to(
        &self,
        root: &Root<'_>,
        mount: BorrowedFd<'_>,
        source: &Path,
    ) -> Result<(), Failure> {
        // Which an administrator has to allow, and what for if not for the sockets there.
        if !is_shown(source) {
            return Ok(());
        }
        let below = |path: &PathBuf| path.strip_prefix(source).ok().map(Path::to_owned);
        for (path, below) in self.0.iter().filter_map(|path| Some((path, below(path)?))) {
            cover(root, mount, path, &below)?;
        }
        Ok(())
    }
}

/// Rules for what is there later: of the machine's sockets a task may reach those in its bind mounts alone (`bound`), where
/// other tasks' are. None on older kernels, nor for a task that may mount, which no rules of this kind allow.
pub(super) fn rules(root: &Root<'_>, bound: &[OwnedFd]) -> Result<Option<OwnedFd>, Failure> {
    if root.context.spec.seccomp.allows_namespaces() {
        return Ok(None);
    }
    let bound: Vec<_> = bound.iter().map(AsFd::as_fd).collect();
    only_sockets_below(root.fd(), &bound).explain(|| "can't keep the task from the machine's sockets".into())
}

/// Covers what is `below` a directory, if it is a socket: what has become of it since is nobody's on the machine.
fn cover(root: &Root<'_>, dir: BorrowedFd<'_>, path: &Path, below: &Path) -> Result<(), Failure> {
    let what = || format!("can't hide the socket {} from the task", path.display());
    let open = || {
        let target = open_beneath(dir, below, OFlags::PATH)?;
        let is_socket = FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Socket;
        Ok::<_, Errno>(is_socket.then_some(target))
    };
    let target = match open() {
        Err(Errno::ACCESS) => match as_user(root.context.credentials, open).flatten() {
            // Neither gets the task there.
            Err(Errno::ACCESS) => return Ok(()),
            other => other,
        },
        other => other,
    };
    match target {
        Ok(Some(target)) => attach(root.text_file("empty", b"")?.as_fd(), target.as_fd()).explain(what),
        // In something that is hidden or covered by now.
        Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(e) => Err(e).explain(what),
    }
}

#[derive(Clone, Copy)]
struct Search<'a> {
    table: &'a Table,
    sources: &'a [Source<'a>],
    /// The task's user on the machine.
    user: u32,
}

impl Search<'_> {
    /// Sockets with their owners, also those that have other names by now; and what may not be looked at.
    fn with_renamed(self, names: &[PathBuf]) -> (Vec<Socket>, Vec<PathBuf>) {
        let (mut sockets, denied, gone) = self.all(names);
        sockets.extend(self.all(&self.beside(&gone)).0);
        (sockets, denied)
    }

    /// Sockets with their owners, what may not be looked at, and where there is none.
    fn all(self, names: &[PathBuf]) -> (Vec<Socket>, Vec<PathBuf>, Vec<PathBuf>) {
        let (mut sockets, mut denied, mut gone) = (vec![], vec![], vec![]);
        for name in names {
            match self.one(name) {
                Found::Socket(socket) => sockets.push(socket),
                Found::Denied => denied.push(name.clone()),
                Found::Other => gone.push(name.clone()),
            }
        }
        (sockets, denied, gone)
    }

    fn one(self, name: &Path) -> Found {
        let found = self.open(name).map(|(fd, found)| {
            let is_socket = FileType::from_raw_mode(found.stx_mode.into()) == FileType::Socket;
            let path = path_of(fd.as_fd()).ok().filter(|path| is_socket && is_shown(path))?;
            let mut names = self.table.names(&path, found.stx_mnt_id);
            names.push(path);
            Some(Socket { names, owner: found.stx_uid })
        });
        match found {
            Ok(Some(socket)) => Found::Socket(socket),
            Err(Errno::ACCESS) => Found::Denied,
            Ok(None) | Err(_) => Found::Other,
        }
    }

    /// Opens a path where nobody can make that wait but root and the task's user.
    fn open(self, path: &Path) -> rustix::io::Result<(OwnedFd, Statx)> {
        let open = |dir: BorrowedFd<'_>, path: &Path, resolve| {
            let fd = openat2(dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
            // From memory, too.
            let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
            let found = statx(&fd, "", flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
            Ok((fd, found))
        };
        // The kernel holds the files of sockets in memory, and what leads there, but for a file system that has to be asked.
        for above in path.ancestors() {
            let (fd, found) = match open(CWD, above, ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED) {
                Err(Errno::AGAIN) => continue,
                other => other?,
            };
            if !self.answers(found.stx_mnt_id) {
                return Err(Errno::NOENT);
            }
            let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
            if rest == Path::new("") {
                return Ok((fd, found));
            }
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
            return open(fd.as_fd(), rest, resolve);
        }
        Err(Errno::NOENT)
    }

    /// Whether a file system is nobody's who could let others wait.
    fn answers(self, mount: u64) -> bool {
        let server = self.table.mount(mount).map(|mount| mount.server);
        server.is_some_and(|server| server.is_none_or(|uid| uid == 0 || uid == self.user))
    }

    /// The sockets in the directories where some were: one that was renamed, as `ssh` does it, has its first name.
    fn beside(self, gone: &[PathBuf]) -> Vec<PathBuf> {
        let parents = gone.iter().filter_map(|path| path.parent());
        let parents: BTreeSet<&Path> = parents.filter(|parent| self.may_be_seen(parent)).collect();
        let (mut sockets, mut left) = (vec![], MAX_ENTRIES);
        for parent in parents {
            let Ok((dir, _)) = self.open(parent) else { continue };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(listing) = openat(dir, ".", flags, Mode::empty()).and_then(Dir::new) else { continue };
            for entry in listing.flatten() {
                if left == 0 {
                    return sockets;
                }
                left -= 1;
                if matches!(entry.file_type(), FileType::Socket | FileType::Unknown) {
                    sockets.push(parent.join(OsStr::from_bytes(entry.file_name().to_bytes())));
                }
            }
        }
        sockets
    }

    /// Whether it is worth a listing: `/tmp` has many files, and nobody sees it who hasn't bound it.
    fn may_be_seen(self, dir: &Path) -> bool {
        let bound = |source: &Source<'_>| source.path.starts_with(dir) || dir.starts_with(&source.path);
        !dir.starts_with("/tmp") || self.sources.iter().any(bound)
    }

    /// Where processes of the machine are at work, those of the task's user first.
    fn working_directories(self) -> Vec<PathBuf> {
        let Ok(processes) = fs::read_dir("/proc") else { return vec![] };
        let mut links: Vec<(bool, PathBuf)> = vec![];
        for entry in processes.flatten() {
            if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit)
                && let Ok(link) = fs::read_link(entry.path().join("cwd"))
            {
                let other = entry.metadata().is_ok_and(|found| found.uid() != self.user);
                links.push((other, link));
            }
        }
        links.sort();
        links.dedup();
        links.into_iter().map(|(_, link)| link).take(MAX_DIRECTORIES).collect()
    }
}
