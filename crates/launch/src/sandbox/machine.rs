//! The machine's own directories in the task: every entry of `/`, read-only, except those that each task has
//! afresh (`fresh`).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{Context, Root, clone_host};
use crate::failure::{Explain, Failure};
use crate::sys::mount::{NODEV, NOSUID, RDONLY};

/// Entries of `/` that a task gets afresh.
pub(super) const FRESH: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// One entry of the machine's `/`.
pub(super) enum Entry {
    Link(OsString, PathBuf),
    /// A directory or a file; nothing of it where what is mounted there is left out ([`super::leave_out`]).
    Tree(OsString, Option<OwnedFd>, bool),
}

/// Clones the entries of `/`.
pub(super) fn gather(context: Context<'_>) -> Result<Vec<Entry>, Failure> {
    let mut entries = vec![];
    for entry in fs::read_dir("/").explain(|| "can't read /".into())? {
        let entry = entry.explain(|| "can't read /".into())?;
        if FRESH.iter().any(|fresh| entry.file_name() == *fresh) {
            continue;
        }
        match one(&entry) {
            Ok(found) => entries.extend(found),
            // A dead network mount, or an entry that this user may not even look at: the task does without.
            Err(e) if is_gone(&e) || context.unprivileged() => {}
            Err(e) => return Err(e).explain(|| format!("can't show {} to the task", entry.path().display())),
        }
    }
    Ok(entries)
}

fn one(entry: &fs::DirEntry) -> io::Result<Option<Entry>> {
    let (path, name) = (&entry.path(), entry.file_name());
    // Asked of the directory: what is mounted here may be somebody's own, which not even root may look at (B16).
    let kind = entry.file_type()?;
    Ok(if kind.is_symlink() {
        Some(Entry::Link(name, fs::read_link(path)?))
    } else if kind.is_dir() || kind.is_file() {
        let tree = match clone_host(path, true, RDONLY | NOSUID | NODEV) {
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => None,
            other => Some(other?),
        };
        Some(Entry::Tree(name, tree, kind.is_dir()))
    } else {
        None
    })
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::STALE, Errno::NOTCONN, Errno::HOSTDOWN, Errno::TIMEDOUT]
        .iter()
        .any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

/// Attaches the entries to the new root.
pub(super) fn build(root: &mut Root<'_>, entries: Vec<Entry>) -> Result<(), Failure> {
    for entry in entries {
        match entry {
            Entry::Link(name, to) => rustix::fs::symlinkat(&to, root.fd(), &name)
                .explain(|| format!("can't make the link /{}", Path::new(&name).display()))?,
            Entry::Tree(name, tree, is_dir) => {
                // `mkdir` and `touch` take text because nearly all names of ours are literals.
                let name = name
                    .into_string()
                    .map_err(|n| Failure::machine(format!("can't show /{n:?} to the task: not UTF-8")))?;
                if is_dir {
                    root.mkdir(&name, 0o755)?;
                } else {
                    root.touch(&name)?;
                }
                if let Some(tree) = tree {
                    root.attach_at(tree.as_fd(), &name)?;
                }
            }
        }
    }
    Ok(())
}
