//! Mounts of the machine's own system that lie anywhere else than it has them, as a `/proc` does in a chroot: no clone of a
//! directory has them, so that no task does, wherever they are now and are moved to later (A1, S1). A mount that a table
//! doesn't show, or that another one covers, isn't gone: a user who may move its directory decides about that.
//!
//! The kernel leaves out of a clone what is marked so (`MS_UNBINDABLE`), and it marks a whole tree without asking for paths.
//! So where all that must not show can be reached, it is marked; else everything is, but what was reached and may show.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::Context;
use super::fresh::DEVICES;
use super::mask::{ATTRS, SYSTEM_FILE_SYSTEMS};
use super::seal::Seals;
use super::table::{Mount, Table, mount_id};
use crate::failure::{Explain, Failure};
use crate::sys::mount::{Propagate, attach, new_fs, open_host, set_attr};
use crate::sys::mounts::count_below;
use crate::task_dir::ROOT_DIR;

/// Where the machine has its system, which none but root can move. No clone is made of these, but of what tasks have of it.
const PLACES: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// How often a path is looked up in memory, where a mount elsewhere on the machine may interfere.
const TRIES: usize = 3;

/// Marks the mounts of this process's namespace, which stands still.
///
/// # Errors
/// One sentence.
pub(super) fn leave_out(context: Context<'_>, table: &Table, seals: &mut Seals) -> Result<(), Failure> {
    let tree = Tree::new(context, table);
    let Sorted { shown, hidden } = leave_out_what_is_reached(context, table, seals);
    if context.unprivileged() || (hidden.is_empty() && is_whole(table)) {
        return Ok(());
    }
    mount_change("/", MountPropagationFlags::UNBINDABLE | MountPropagationFlags::REC)
        .explain(|| "can't leave the machine's own mounts out of the task".into())?;
    // What lies on one of those, at its very root, would be left out with it.
    let hidden: HashSet<u64> = hidden.iter().map(|mount| mount.id).collect();
    let below = shown.iter().filter_map(|on| tree.by_id.get(&on.parent).filter(|below| on.lies_on(below)));
    for below in below.filter(|below| hidden.contains(&below.id)) {
        tree.uncovered(below, &|fd| {
            Ok(unmount(format!("/proc/self/fd/{}", fd.as_raw_fd()), UnmountFlags::DETACH)?)
        });
    }
    for mount in shown {
        tree.uncovered(mount, &|fd| set_attr(fd, false, 0, Some(Propagate::Private)));
    }
    Ok(())
}

/// Mounts that may show, and those that must not and aren't reached.
pub(super) struct Sorted<'a> {
    shown: Vec<&'a Mount>,
    hidden: Vec<&'a Mount>,
}

/// Leaves out what must not show and can be reached. An agent without root covers it: in a user namespace the mounts that
/// came with that belong together, and a clone without one of them is refused.
pub(super) fn leave_out_what_is_reached<'a>(
    context: Context<'a>,
    table: &'a Table,
    seals: &mut Seals,
) -> Sorted<'a> {
    let tree = Tree::new(context, table);
    let mut sorted = Sorted { shown: vec![], hidden: vec![] };
    for mount in table.mounts() {
        if !seals.concern(mount) || tree.is_in_place(mount) {
            sorted.shown.push(mount);
            continue;
        }
        let Some(fd) = tree.reach(mount) else {
            sorted.hidden.push(mount);
            continue;
        };
        let kind = fstat(&fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode));
        // A file of the machine's `/run` tells nothing: a resolver's configuration.
        if kind == Some(FileType::RegularFile) && !SYSTEM_FILE_SYSTEMS.contains(&mount.kind.as_str()) {
            sorted.shown.push(mount);
            continue;
        }
        let left_out = if !context.unprivileged() {
            set_attr(fd.as_fd(), false, 0, Some(Propagate::LeftOut)).is_ok()
        } else if kind == Some(FileType::Directory) {
            let cover = new_fs("tmpfs", &[("mode", "0755"), ("size", "4k")], ATTRS);
            let put = |cover: OwnedFd| {
                seals.remember(cover.as_fd())?;
                attach(cover.as_fd(), fd.as_fd())
            };
            cover.and_then(put).is_ok()
        } else {
            false
        };
        if !left_out {
            sorted.hidden.push(mount);
        }
    }
    sorted
}

/// Whether a table has every mount, those too whose directory was moved out of what is mounted of a file system.
fn is_whole(table: &Table) -> bool {
    let mut roots = table.mounts().iter().filter(|mount| mount.point == Path::new("/"));
    // The kernel's list doesn't have those either whose directory is outside of the part that is the root.
    roots.all(|root| root.root == Path::new("/"))
        && open_host(Path::new("/")).ok().and_then(count_below).is_some_and(|n| n + 1 == table.mounts().len())
}

/// The machine's mounts.
struct Tree<'a> {
    context: Context<'a>,
    by_id: HashMap<u64, &'a Mount>,
}

impl<'a> Tree<'a> {
    fn new(context: Context<'a>, table: &'a Table) -> Self {
        Self { context, by_id: table.mounts().iter().map(|mount| (mount.id, mount)).collect() }
    }

    /// A mount and all that it is mounted on.
    fn chain(&self, mount: &'a Mount) -> impl Iterator<Item = &'a Mount> {
        let above = |mount: &&'a Mount| self.by_id.get(&mount.parent).copied().filter(|up| up.id != mount.id);
        std::iter::successors(Some(mount), above)
    }

    /// Whether a mount is where the machine has its system, or a device of which a task is given a clone.
    fn is_in_place(&self, mount: &'a Mount) -> bool {
        let spec = self.context.spec;
        // There an administrator may let tasks bind directories.
        let run = spec.bind_prefixes.is_none() || spec.bind_mounts.is_empty();
        let system = SYSTEM_FILE_SYSTEMS.contains(&mount.kind.as_str());
        let place = |up: &Mount| {
            PLACES.iter().any(|place| up.point == Path::new(place) && (*place != "/run" || run || !system))
        };
        let is_device = |path: &Path| {
            path.strip_prefix("/dev").is_ok_and(|name| DEVICES.iter().any(|d| name == Path::new(d)))
        };
        is_device(&mount.point) || spec.devices.contains(&mount.point) || self.chain(mount).any(place)
    }

    /// Opens the root of a mount, if its path leads there.
    fn reach(&self, mount: &'a Mount) -> Option<OwnedFd> {
        self.open(mount).filter(|fd| mount_id(fd.as_fd()) == Some(mount.id))
    }

    /// Opens what there is at the path of a mount.
    fn open(&self, mount: &'a Mount) -> Option<OwnedFd> {
        let open = |how| {
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | how;
            openat2(CWD, &mount.point, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        };
        // The kernel has the way to every mount in memory, but for a file system that has to be asked.
        for _ in 0..TRIES {
            match open(ResolveFlags::CACHED) {
                Err(Errno::AGAIN) => {}
                other => return other.ok(),
            }
        }
        // A user could let everybody wait.
        let answers =
            |up: &Mount| up.server.is_none_or(|uid| [0, self.context.credentials.host_uid].contains(&uid));
        if !self.chain(mount).skip(1).all(answers) {
            return None;
        }
        open(ResolveFlags::empty()).ok()
    }

    /// Does something with the root of a mount, if its path leads there; what lies on that is put aside meanwhile. Tells
    /// whether it was done: what isn't reached stays left out.
    fn uncovered(&self, mount: &'a Mount, act: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>) -> bool {
        let Some(top) = self.open(mount) else { return false };
        let id = mount_id(top.as_fd());
        if id == Some(mount.id) {
            return act(top.as_fd()).is_ok();
        }
        let on_top = id.and_then(|id| self.by_id.get(&id).copied());
        let lies_on = |on_top: &'a Mount| {
            let mut chain = self.chain(on_top).zip(self.chain(on_top).skip(1));
            chain
                .find(|(at, below)| !at.lies_on(below) || below.id == mount.id)
                .is_some_and(|(at, _)| at.lies_on(mount))
        };
        let aside = self.context.task_dir.join(ROOT_DIR);
        let put = |to: OwnedFd| attach(top.as_fd(), to.as_fd()).is_ok();
        if !on_top.is_some_and(lies_on) || !open_host(&aside).is_ok_and(put) {
            return false;
        }
        let done = self.uncovered(mount, act);
        if !self.open(mount).is_some_and(put) {
            // Its directory has been moved away just now: then it is in no place.
            let _ = unmount(&aside, UnmountFlags::DETACH);
        }
        done
    }
}
