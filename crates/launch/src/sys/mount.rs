//! The file-descriptor based mount calls (open_tree, move_mount, mount_setattr, fsopen), which never look a path
//! up twice. Which mounts a task gets is in `sandbox`.

use std::ffi::{CString, OsString};
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, readlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

pub(crate) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(crate) const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub(crate) const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
pub(crate) const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// What a cloned tree receives, as in mount_namespaces(7). There is nothing here that passes anything on (A1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagate {
    /// Nothing.
    Private,
    /// What is mounted below the place that it was cloned from, if that place tells.
    Slave,
    /// Nothing, and it isn't in any clone of what it is mounted in, nor is what is mounted below it.
    LeftOut,
}

/// Opens `path` from `/`, following links but no magic ones, without needing a right on the file itself.
pub(crate) fn open_host(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` from the current directory, following links but no magic ones, without needing a right on it, and whatever
/// a filter says to whoever doesn't give the last two arguments (`seccomp`).
pub(crate) fn find(path: &Path, flags: OFlags, spare: [u64; 2]) -> rustix::io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    // Flags, mode, and what is followed.
    let how = [u64::from(flags.bits()), 0, ResolveFlags::NO_MAGICLINKS.bits()];
    // SAFETY: path and `how`, which has the form of the kernel's `open_how`, are read only and outlive the call; the kernel
    // looks at no arguments after its size.
    let fd = unsafe {
        let (how, len) = (how.as_ptr(), size_of_val(&how));
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how, len, spare[0], spare[1])
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(|| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens `path` with `root` as `/`: `..` and links can't lead out.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens `path` beneath `dir` following no link at all.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// The path of an open file as this process sees it.
pub(crate) fn path_of(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let link = readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(link.into_bytes())))
}

/// A copy of the mount at an open file, attached nowhere yet. `recursive` takes the mounts below along.
pub(crate) fn clone_tree(source: BorrowedFd<'_>, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(source, "", flags)
}

/// Attaches a mount on an open file.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// A new file system, attached nowhere yet.
pub(crate) fn new_fs(kind: &str, options: &[(&str, &str)], attrs: u64) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attrs = MountAttrFlags::from_bits_retain(u32::try_from(attrs).unwrap_or(0));
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attrs)
}

/// Adds attributes to a mount, and sets its propagation; `recursive` does so to the mounts below too, or to none.
pub(crate) fn set_attr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    propagate: Option<Propagate>,
) -> io::Result<()> {
    let propagation = propagate.map_or(0, |p| match p {
        Propagate::Private => libc::MS_PRIVATE,
        Propagate::Slave => libc::MS_SLAVE,
        Propagate::LeftOut => libc::MS_UNBINDABLE,
    });
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `attr` is a valid `mount_attr` of the length passed, and both
    // outlive the call, which only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
