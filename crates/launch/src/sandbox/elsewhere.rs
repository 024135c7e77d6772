//! What the machine's sockets are called that were named in other network namespaces: the kernel tells of one's own. Those
//! are asked that have a name themselves, which is a mount (`ip netns`, networks of containers). Tasks' have none.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::table::{Mount, Table, mount_id};
use crate::identity::{Credentials, How};
use crate::sockets::Names;

/// Most namespaces that are asked: a start waits for it.
const MAX_NAMESPACES: usize = 8;
/// Where those are that people make by hand, for programs that see the machine's files as we do; they are asked first.
const BY_HAND: &str = "/run/netns";

/// The names that were given there; for the shim, in the machine's mount namespace. What can't be asked isn't.
pub(crate) fn names_elsewhere(credentials: Credentials) -> Names {
    // Entering one takes a right over it.
    if credentials.how == How::Own {
        return Names::default();
    }
    let Ok(table) = Table::read() else { return Names::default() };
    let is_network = |mount: &&Mount| {
        mount.kind == "nsfs" && mount.root.as_os_str().as_encoded_bytes().starts_with(b"net:")
    };
    let mut mounts: Vec<&Mount> = table.mounts().iter().filter(is_network).collect();
    mounts.sort_by_key(|mount| (!mount.point.starts_with(BY_HAND), &mount.root));
    mounts.dedup_by_key(|mount| &mount.root);
    let namespaces: Vec<OwnedFd> = mounts.into_iter().filter_map(open).take(MAX_NAMESPACES).collect();
    if namespaces.is_empty() {
        return Names::default();
    }
    // Not the init's: a thread there would have the task's second process number.
    let ask = || {
        let mut all = Names::default();
        for namespace in namespaces {
            // This thread's alone.
            if move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).is_ok()
                && let Ok(names) = Names::ask()
            {
                all.extend(names);
            }
        }
        all
    };
    std::thread::scope(|scope| {
        let asking = std::thread::Builder::new().spawn_scoped(scope, ask);
        asking.ok().and_then(|asking| asking.join().ok()).unwrap_or_default()
    })
}

/// Opens a namespace by the path of its mount, which is in memory. That it is the namespace is known before it is opened.
fn open(mount: &Mount) -> Option<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED;
    let path: &Path = &mount.point;
    let found = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    if mount_id(found.as_fd()) != Some(mount.id) {
        return None;
    }
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    openat(CWD, link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
