//! Where bind mounts come from (R38): opened once, as the task's user, and judged by what was opened. Where they
//! go is in `target`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use rustix::fs::{FileType, Gid, Uid, fstat, fstatfs};
use rustix::io::Errno;
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use super::Context;
use super::late::{self, given, may_receive};
use super::mask::Masks;
use super::table::Table;
use super::target::Kind;
use crate::failure::{Explain, Failure};
use crate::identity::{Credentials, How};
use crate::spec::BindMount;
use crate::sys::mount::{NODEV, NOSUID, Propagate, RDONLY, clone_tree, open_host, path_of, set_attr};

/// File systems that are never bound: they speak for the kernel, not for files.
const KERNEL_FILE_SYSTEMS: [u64; 14] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6e73_6673, // nsfs
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
];

/// A source that may be bound, cloned.
pub(super) struct Source<'a> {
    pub(super) bind: &'a BindMount,
    /// Its path on the machine without links, for masking what it contains.
    pub(super) path: PathBuf,
    pub(super) tree: OwnedFd,
    pub(super) kind: Kind,
    /// What the machine mounts below it appears in it.
    pub(super) receives: bool,
}

/// A source that sees what the machine mounts later, opened and cloned.
#[derive(Debug)]
pub(super) struct Late {
    fd: OwnedFd,
    tree: OwnedFd,
}

/// Opens and clones the sources that receive from the machine ([`super::late`]), each at the place of its bind mount. This
/// is before the machine's mounts stand still, and judged when they do.
pub(super) fn gather_late(context: Context<'_>) -> Result<Vec<Option<Late>>, Failure> {
    let one = |bind: &BindMount| {
        if !may_receive(bind, &context.spec.late_mounts) {
            return Ok(None);
        }
        let fd = open_as_user(context, &bind.host_path)?;
        let tree =
            clone_tree(fd.as_fd(), true).explain(|| format!("bind mount {}", bind.host_path.display()))?;
        Ok(Some(Late { fd, tree }))
    };
    context.spec.bind_mounts.iter().map(one).collect()
}

/// Opens, judges and clones the source of every bind mount. `table` is the machine's, standing still.
pub(super) fn gather<'a>(
    context: Context<'a>,
    masks: &Masks,
    table: &Table,
    lates: Vec<Option<Late>>,
) -> Result<Vec<Source<'a>>, Failure> {
    // A prefix is the administrator's, so it is resolved with the launcher's rights.
    let resolve = |paths: &Vec<PathBuf>| -> Vec<PathBuf> {
        paths.iter().filter_map(|p| std::fs::canonicalize(p).ok()).collect()
    };
    let prefixes = context.spec.bind_prefixes.as_ref().map(resolve);
    let guarded = resolve(&context.spec.guarded);
    let late = resolve(&context.spec.late_mounts);
    let one = |(bind, early): (_, Option<Late>)| {
        if early.as_ref().is_some_and(|early| table.mount_of(early.fd.as_fd()).is_none()) {
            return Err(late::gone(bind));
        }
        let source = one(context, masks, prefixes.as_deref(), bind, early)?;
        check_guarded(&source, &guarded)?;
        let given = given(bind, &context.spec.late_mounts, &late, &source.path)?;
        let attrs = NOSUID | NODEV | if bind.read_only { RDONLY } else { 0 };
        // The clone takes the mounts below along in any case: without them, files that they cover would show. For the
        // same reason all of them are alike.
        set_attr(source.tree.as_fd(), true, attrs, Some(given))
            .explain(|| format!("bind mount {}", bind.host_path.display()))?;
        Ok(Source { receives: given == Propagate::Slave, ..source })
    };
    context.spec.bind_mounts.iter().zip(lates).map(one).collect()
}

/// Who could write there would be whatever the launcher starts next (F12).
fn check_guarded(source: &Source<'_>, guarded: &[PathBuf]) -> Result<(), Failure> {
    let path = &source.path;
    // A directory beside the program can't change it; below data there is nothing that a task may see (`mask`).
    let holds = |own: &&PathBuf| own.starts_with(path);
    match guarded.iter().filter(|_| !source.bind.read_only).find(holds) {
        Some(own) => Err(Failure::refused(format!(
            "bind mount {}: the agent, which runs as the task's own user, keeps its program, data or configuration in \
             {}; mount it read-only, or name a folder that doesn't hold that",
            source.bind.host_path.display(),
            own.display()
        ))),
        None => Ok(()),
    }
}

fn one<'a>(
    context: Context<'_>,
    masks: &Masks,
    prefixes: Option<&[PathBuf]>,
    bind: &'a BindMount,
    early: Option<Late>,
) -> Result<Source<'a>, Failure> {
    let shown = bind.host_path.display();
    let what = || format!("bind mount {shown}");
    let (fd, tree) = match early {
        Some(Late { fd, tree }) => (fd, Some(tree)),
        None => (open_as_user(context, &bind.host_path)?, None),
    };
    let path = path_of(fd.as_fd()).explain(what)?;
    let judged = as_user(context.credentials, || judge(masks, prefixes, &path, fd.as_fd())).explain(what)?;
    let kind = judged.map_err(|why| {
        why.at(if path == bind.host_path {
            format!("bind mount {shown}")
        } else {
            format!("bind mount {shown} (which is {})", path.display())
        })
    })?;
    let tree = tree.map_or_else(|| clone_tree(fd.as_fd(), true), Ok).explain(what)?;
    Ok(Source { bind, path, tree, kind, receives: false })
}

/// Opens a path of the machine with the rights of the task's user and no others.
fn open_as_user(context: Context<'_>, path: &Path) -> Result<OwnedFd, Failure> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(Failure::refused(format!(
            "bind mount {shown}: not an absolute path; give the full path on the agent machine"
        )));
    }
    let opened = as_user(context.credentials, || {
        let fd = open_host(path)?;
        // Opening by O_PATH asks for the way to the file only; ask for the file itself.
        let is_dir = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory;
        let may = |right| faccessat(&fd, "", right, AtFlags::AT_EMPTY_PATH | AtFlags::AT_EACCESS);
        let usable = if is_dir {
            may(AccessFlags::X_OK)
        } else {
            may(AccessFlags::R_OK).or_else(|_| may(AccessFlags::W_OK))
        };
        usable.map_err(|e| Errno::from_raw_os_error(e as i32))?;
        Ok(fd)
    })
    .flatten();
    opened.map_err(|e| {
        let user = &context.spec.identity.user;
        match e {
            Errno::NOENT => Failure::refused(format!(
                "bind mount {shown}: no such file or directory on agent machine; create it there or correct host_path"
            )),
            Errno::ACCESS | Errno::PERM => Failure::refused(format!(
                "bind mount {shown}: user {user} (uid {}) may not enter it; ask its owner for access, or link the \
                 account to a user who has it",
                host_name(context.credentials)
            )),
            Errno::LOOP => Failure::refused(format!(
                "bind mount {shown}: leads through a link of /proc, or round in a circle"
            )),
            e => Failure::System { what: format!("bind mount {shown}"), source: e.into() },
        }
    })
}

/// The uid in the task, and on the machine where that differs.
fn host_name(credentials: Credentials) -> String {
    if credentials.uid == credentials.host_uid {
        credentials.uid.to_string()
    } else {
        format!("{}, which is {} on the machine", credentials.uid, credentials.host_uid)
    }
}

/// Runs `body` as the user, in all respects, in a thread of its own that ends with it. That the file system ids are
/// the user's isn't enough: a FUSE mount of his own lets in none but processes that are his altogether (B16).
pub(super) fn as_user<T: Send>(
    credentials: Credentials,
    body: impl FnOnce() -> T + Send,
) -> rustix::io::Result<T> {
    if credentials.how == How::Own {
        return Ok(body());
    }
    let (uid, gid) = (Uid::from_raw(credentials.host_uid), Gid::from_raw(credentials.host_gid));
    let user = move || {
        // The kernel has ids for each thread, and these calls change this one's. Leaving uid 0 for good takes all
        // capabilities along.
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(body())
    };
    // A thread that can't be made or that panics has done nothing that counts.
    std::thread::scope(|scope| {
        std::thread::Builder::new().spawn_scoped(scope, user).map(|thread| thread.join())
    })
    .map_err(|_| Errno::AGAIN)?
    .unwrap_or(Err(Errno::IO))
}

/// Whether what was opened may be bound.
fn judge(
    masks: &Masks,
    prefixes: Option<&[PathBuf]>,
    path: &Path,
    fd: BorrowedFd<'_>,
) -> Result<Kind, Failure> {
    let listed = prefixes.is_some_and(|prefixes| prefixes.iter().any(|p| path.starts_with(p)));
    if path == Path::new("/") {
        return Err(Failure::refused("the whole machine can't be bound; name the directory that you need"));
    }
    for system in ["/proc", "/sys", "/dev"] {
        if path.starts_with(system) {
            return Err(Failure::refused(format!("{system} belongs to the machine and is never bound")));
        }
    }
    if path.starts_with("/run") && !listed {
        return Err(Failure::refused(
            "/run belongs to the machine's services; an administrator can allow it by a bind prefix",
        ));
    }
    let stat = fstat(fd).explain(|| "can't look at it".into())?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        _ => {
            return Err(Failure::refused(
                "only directories and regular files are bound, no sockets, devices or pipes",
            ));
        }
    };
    let magic = match fstatfs(fd) {
        Ok(found) => u64::try_from(found.f_type).unwrap_or(0),
        // Somebody's own FUSE file system that can't tell; the kernel's can.
        Err(Errno::NOSYS) => 0,
        Err(e) => return Err(e).explain(|| "can't look at its file system".into()),
    };
    if KERNEL_FILE_SYSTEMS.contains(&magic) {
        return Err(Failure::refused("it is on a file system of the kernel, which is never bound"));
    }
    // devtmpfs has the number of tmpfs, so it is known by where it is.
    if rustix::fs::stat("/dev").is_ok_and(|dev| dev.st_dev == stat.st_dev)
        && rustix::fs::stat("/").is_ok_and(|root| root.st_dev != stat.st_dev)
    {
        return Err(Failure::refused("it is the machine's device file system, which is never bound"));
    }
    if masks.hides(path, fd).explain(|| "can't look at the directories above it".into())? {
        return Err(Failure::refused(
            "it is one of Muster's own directories, or the machine's /run or /dev by another name, which no task sees; use \
             another directory",
        ));
    }
    if prefixes.is_some() && !listed {
        return Err(Failure::refused("it is outside the directories that the administrator lets tasks bind"));
    }
    Ok(kind)
}
