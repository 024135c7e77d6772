//! The launcher's own program, as its processes hold it: `/proc/self/exe`. A task's process is one of them until it
//! executes, and a script's first line can name that link. Without more it would lead to the machine's file on the
//! machine's mount, which belongs to the task's own user where the agent isn't root or was built by him; so a shim whose
//! program isn't root's first executes itself again from a read-only mount of that one file.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, openat, readlinkat};

use crate::network::descriptors::{channel, receive_descriptors, send_patiently};
use crate::sys::mount::{NODEV, NOSUID, RDONLY, clone_tree, open_host, set_attr};
use crate::sys::process;

/// Says to the second image that it is the second.
const AGAIN: &str = "MUSTER_SHIM_SEALED";

/// Executes this program again with the same arguments, from a read-only mount; returns when that has been done.
///
/// # Errors
/// What the kernel says.
pub(super) fn seal() -> io::Result<()> {
    let program = openat(CWD, "/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&program)?;
    // No task is the machine's root.
    let is_roots = stat.st_uid == 0 && stat.st_mode & 0o022 == 0;
    if is_roots || fstatvfs(&program)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        // Its name was lost on the way with some kernels.
        if let Some(name) = own_name() {
            let _ = rustix::thread::set_name(&name);
        }
        return Ok(());
    }
    if std::env::var_os(AGAIN).is_some() {
        return Err(io::Error::other("the program can't be made read-only for its task"));
    }
    let sealed = if rustix::process::geteuid().is_root() { clone(&program)? } else { clone_elsewhere()? };
    let c = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::from);
    let args = std::env::args_os().map(|arg| c(arg.into_vec())).collect::<io::Result<Vec<_>>>()?;
    let mut env = vec![CString::new(format!("{AGAIN}=1"))?];
    for (mut pair, value) in std::env::vars_os().map(|(key, value)| (key.into_vec(), value.into_vec())) {
        pair.push(b'=');
        pair.extend(value);
        env.push(c(pair)?);
    }
    match nix::unistd::execveat(&sealed, c"", &args, &env, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(e) => Err(e.into()),
    }
}

fn own_name() -> Option<CString> {
    let program = std::env::args_os().next()?;
    CString::new(Path::new(&program).file_name()?.to_owned().into_vec()).ok()
}

/// A read-only mount of one file, attached nowhere.
fn clone(file: &OwnedFd) -> io::Result<OwnedFd> {
    let tree = clone_tree(file.as_fd(), false)?;
    set_attr(tree.as_fd(), false, RDONLY | NOSUID | NODEV, None)?;
    Ok(tree)
}

/// The same for an ordinary user, who may do so in namespaces of his own; what is made there lives on with its descriptor.
fn clone_elsewhere() -> io::Result<OwnedFd> {
    let (ours, theirs) = channel()?;
    let child = process::spawn_in(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS, || {
        let cloned = own_file().and_then(|file| clone(&file));
        let sent = cloned.and_then(|tree| send_patiently(theirs.as_fd(), &[&tree], ""));
        i32::from(sent.is_err())
    });
    let refused = |e: io::Error| {
        let help = "allow user namespaces, or start the agent as root";
        io::Error::other(format!("this machine refuses the task's namespaces: {e}; {help}"))
    };
    let child = child.map_err(refused)?;
    drop(theirs);
    let received = receive_descriptors(ours.as_fd());
    let _ = waitpid(child, None);
    received?.0.into_iter().next().ok_or_else(|| refused(io::ErrorKind::PermissionDenied.into()))
}

/// This program's file in this process's mount namespace: the link leads into the one that it was executed in.
fn own_file() -> io::Result<OwnedFd> {
    let path = readlinkat(CWD, "/proc/self/exe", Vec::new())?;
    let file = open_host(Path::new(&std::ffi::OsString::from_vec(path.into_bytes())))?;
    let program = openat(CWD, "/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let id = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    if id(&file)? == id(&program)? {
        Ok(file)
    } else {
        Err(io::Error::other("this program's file was replaced just now"))
    }
}
