//! The root file system of a task: the machine's own, read-only, with private places where a task writes.
//!
//! Composed by the task's init in its own mount namespace, in this order:
//! 0. *Stand still*: the namespace is taken out of everything that mounts pass on, so that nothing of it is ever in a
//!    peer group of the machine, and its table is one that nobody changes any more (A1). Only sources that are to see what
//!    the machine mounts later are cloned before that ([`late`]).
//! 1. *Gather*: the table is read, the mounts of the machine's own system that lie elsewhere are left out of every clone
//!    ([`leave_out`]), and everything that comes from the machine is opened and cloned, each path looked up once, while the
//!    tree is still as the machine has it ([`machine`], [`source`], [`scratch`]).
//! 2. *Build*: a fresh tmpfs becomes the root and the clones are attached to it ([`machine`], [`fresh`], [`etc`]).
//! 3. *Mask* Muster's own directories and the machine's sockets, then attach bind mounts, each masked in turn ([`mask`],
//!    [`sockets`], [`target`]).
//! 4. *Seal*: the finished root's own mounts are read, and what shows the machine's system is covered, or ends
//!    the start ([`seal`]).
//! 5. *Enter*: pivot_root, and everything of ours that need not be written becomes read-only.
//!
//! Identity and capabilities are not here (`shim::task`): all of this happens as the launcher's user.

mod elsewhere;
mod etc;
mod fresh;
mod late;
mod leave_out;
mod machine;
mod mask;
mod scratch;
mod seal;
mod sockets;
mod source;
mod table;
mod target;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, fstat, unlinkat};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use crate::failure::{Explain, Failure};
use crate::identity::{Credentials, How};
use crate::spec::TaskSpec;
use crate::sys::mount::{
    NODEV, NOEXEC, NOSUID, Propagate, RDONLY, attach, clone_tree, new_fs, open_in, path_of, set_attr,
};
use crate::task_dir::ROOT_DIR;
use mask::Masks;
use seal::{SEALS, Seals};
use sockets::Sockets;
use table::Table;

pub(crate) use elsewhere::names_elsewhere;
pub(crate) use scratch::{Prepared, prepare as prepare_scratch};

/// Directory of our root where replacements of directories are put together; gone before a task runs.
const STAGE: &str = ".muster-stage";
/// A file system for the files that we make and show elsewhere. It is unmounted in the end and lives on in those
/// mounts; the files can't be unlinked, for the kernel won't move a mount of an unlinked file.
const FILES: &str = ".muster-files";

/// What the composition needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) spec: &'a TaskSpec,
    pub(crate) credentials: Credentials,
    /// The task directory, absolute and without links.
    pub(crate) task_dir: &'a Path,
    /// Of the machine's sockets.
    pub(crate) sockets: &'a crate::sockets::Names,
}

impl Context<'_> {
    /// Whether the launcher is an ordinary user: the kernel then refuses a few things that may be done without.
    fn unprivileged(&self) -> bool {
        self.credentials.how == How::Own
    }
}

/// The root under construction.
struct Root<'a> {
    context: Context<'a>,
    mount: OwnedFd,
    /// Where the root hangs until it is entered; paths of files opened in it begin with this.
    path: PathBuf,
    /// Devices of the file systems that we made: there, mount points are simply made.
    own_devices: Vec<u64>,
    /// Our own mounts that become read-only in the end.
    to_seal: Vec<OwnedFd>,
    seals: Seals,
}

/// Composes the root of the task and enters it; the working directory is its `/`. Gives the rules that the task has to
/// obey, where there are any.
///
/// # Errors
/// One sentence with the remedy.
pub(crate) fn compose(context: Context<'_>) -> Result<Option<OwnedFd>, Failure> {
    let mut seals = Seals::default();
    let lates = stand_still(context, &mut seals)?;
    let table = Table::read().explain(|| "can't read the mount table".into())?;
    let masks = Masks::gather(context.spec, context.task_dir, &table)?;
    seals.look_for(&table);
    leave_out::leave_out(context, &table, &mut seals)?;
    let trees = machine::gather(context)?;
    let fresh = fresh::gather(context)?;
    let resolv_conf = etc::gather_resolv_conf();
    let sources = source::gather(context, &masks, &table, lates)?;
    let sockets = Sockets::gather(context, &table, &sources);

    let mut root = Root::make(context, seals)?;
    machine::build(&mut root, trees)?;
    if context.unprivileged() && masks.has_strays() {
        // Before anything of ours hides it.
        root.seal()?;
    }
    fresh::build(&mut root, fresh)?;
    etc::build(&mut root, resolv_conf)?;
    masks.apply(&root)?;
    sockets.apply(&root)?;
    let bound = target::mount_all(&mut root, &masks, &sockets, sources)?;
    root.seal()?;
    let rules = sockets::rules(&root, &bound)?;
    root.enter()?;
    Ok(rules)
}

/// Takes the namespace out of the machine's peer groups, and ends what arrives from them, before anything is judged: what
/// comes and goes between the table and a clone would be judged by nobody. Gives what is to receive on, which was cloned
/// while something arrived.
fn stand_still(context: Context<'_>, seals: &mut Seals) -> Result<Vec<Option<source::Late>>, Failure> {
    let change = |to| {
        mount_change("/", to | MountPropagationFlags::REC)
            .explain(|| "can't take the task's mounts from the machine's".into())
    };
    let receives = |bind| late::may_receive(bind, &context.spec.late_mounts);
    if context.spec.bind_mounts.iter().any(receives) {
        // Else what is cloned would be in the machine's peer groups, and mounts of ours the machine's (A1).
        change(MountPropagationFlags::DOWNSTREAM)?;
        let table = Table::read().explain(|| "can't read the mount table".into())?;
        seals.look_for(&table);
        leave_out::leave_out_what_is_reached(context, &table, seals);
    }
    let lates = source::gather_late(context)?;
    change(MountPropagationFlags::PRIVATE)?;
    Ok(lates)
}

impl<'a> Root<'a> {
    fn make(context: Context<'a>, seals: Seals) -> Result<Self, Failure> {
        let path = context.task_dir.join(ROOT_DIR);
        let what = || "can't make the root of the task".to_owned();
        let mount = new_fs("tmpfs", &[("mode", "0755"), ("size", "4m")], NOSUID | NODEV).explain(what)?;
        let place = crate::sys::mount::open_host(&path).explain(what)?;
        attach(mount.as_fd(), place.as_fd()).explain(what)?;
        let device = fstat(&mount).explain(what)?.st_dev;
        let root = Self { context, mount, path, own_devices: vec![device], to_seal: vec![], seals };
        root.mkdir(STAGE, 0o700)?;
        root.mkdir(FILES, 0o700)?;
        let files = new_fs("tmpfs", &[("mode", "0700"), ("size", "16m")], NOSUID | NODEV).explain(what)?;
        root.attach_at(files.as_fd(), FILES)?;
        Ok(root)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Opens a path of the new root.
    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_in(self.fd(), path, flags)
    }

    /// The path that an open file has in the new root, once that is entered.
    fn path_in(&self, fd: BorrowedFd<'_>) -> Result<PathBuf, Failure> {
        let path = path_of(fd).explain(|| "can't resolve a path of the task".into())?;
        path.strip_prefix(&self.path)
            .map(|below| Path::new("/").join(below))
            .map_err(|_| Failure::machine(format!("{} is outside the task's root", path.display())))
    }

    /// Makes a directory of our own, relative to the new root.
    fn mkdir(&self, path: &str, mode: u32) -> Result<(), Failure> {
        match rustix::fs::mkdirat(self.fd(), path, rustix::fs::Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(e) => Err(e).explain(|| format!("can't make /{path} in the task")),
        }
    }

    /// Makes an empty file of our own, relative to the new root.
    fn touch(&self, path: &str) -> Result<File, Failure> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.fd(), path, flags, rustix::fs::Mode::from_raw_mode(0o644))
            .map(File::from)
            .explain(|| format!("can't make /{path} in the task"))
    }

    /// A read-only mount of a new file with this text, attached nowhere yet. `name` is for us alone.
    fn text_file(&self, name: &str, text: &[u8]) -> Result<OwnedFd, Failure> {
        let path = format!("{FILES}/{name}");
        let mut file = self.touch(&path)?;
        file.write_all(text)
            .and_then(|()| clone_fd(file.as_fd(), false, RDONLY | NOSUID | NODEV | NOEXEC))
            .explain(|| format!("can't make a file named {name} for the task"))
    }

    /// Attaches a mount at a path that is there already.
    fn attach_at(&self, mount: BorrowedFd<'_>, path: &str) -> Result<(), Failure> {
        self.open(Path::new(path), OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|target| attach(mount, target.as_fd()))
            .explain(|| format!("can't mount on /{path} in the task"))
    }

    /// Registers a file system that we made; `seal` makes it read-only in the end.
    fn adopt(&mut self, mount: OwnedFd, seal: bool) -> Result<(), Failure> {
        let stat = fstat(&mount).explain(|| "can't look at a file system just made".into())?;
        self.own_devices.push(stat.st_dev);
        if seal {
            self.to_seal.push(mount);
        }
        Ok(())
    }

    /// Makes the root the root of this process and puts the machine's away.
    fn enter(self) -> Result<(), Failure> {
        let what = || "can't enter the root of the task".to_owned();
        for name in [FILES, SEALS].into_iter().filter(|name| *name == FILES || self.seals.used()) {
            unmount(self.path.join(name), UnmountFlags::DETACH).explain(what)?;
            unlinkat(self.fd(), name, AtFlags::REMOVEDIR).explain(what)?;
        }
        unlinkat(self.fd(), STAGE, AtFlags::REMOVEDIR).explain(what)?;
        for mount in self.to_seal.iter().map(AsFd::as_fd).chain([self.fd()]) {
            set_attr(mount, false, RDONLY, None).explain(what)?;
        }
        rustix::process::fchdir(self.fd()).explain(what)?;
        // The old root is put on top of the new one and taken off from there, so neither needs a directory.
        rustix::process::pivot_root(".", ".").explain(what)?;
        unmount(".", UnmountFlags::DETACH).explain(what)?;
        rustix::process::chdir("/").explain(what)
    }
}

/// What of the configuration is done otherwise than it says, one sentence each for the task's log.
pub(crate) fn notes(spec: &TaskSpec) -> Vec<String> {
    late::notes(spec)
}

/// Clones what is at a path of the machine, privately, with `attrs` on it and everything below.
fn clone_host(path: &Path, recursive: bool, attrs: u64) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, rustix::fs::Mode::empty())?;
    clone_fd(fd.as_fd(), recursive, attrs)
}

/// Clones the mount at an open file, privately, with `attrs` on it and everything below.
fn clone_fd(fd: BorrowedFd<'_>, recursive: bool, attrs: u64) -> std::io::Result<OwnedFd> {
    let tree = clone_tree(fd, recursive)?;
    set_attr(tree.as_fd(), recursive, attrs, Some(Propagate::Private))?;
    Ok(tree)
}
