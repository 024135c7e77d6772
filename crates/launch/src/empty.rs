//! Emptying a directory that a task has filled: whatever it left there, however deep, without following a link. What is
//! deeper than one level is moved up before it is removed, so that depth costs neither descriptors nor stack.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// Removes everything in `dir`, which nobody else changes meanwhile; one that isn't there is empty.
///
/// # Errors
/// What the file system says.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    let top = match open(CWD, dir) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut moved = 0_u64;
    loop {
        let names = names(top.as_fd())?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !is_dir(top.as_fd(), &name) {
                unlinkat(&top, &name, AtFlags::empty())?;
                continue;
            }
            let below = open_any(top.as_fd(), &name)?;
            for inner in self::names(below.as_fd())? {
                if !is_dir(below.as_fd(), &inner) {
                    unlinkat(&below, &inner, AtFlags::empty())?;
                } else if unlinkat(&below, &inner, AtFlags::REMOVEDIR).is_err() {
                    moved = move_up(below.as_fd(), &inner, top.as_fd(), moved)?;
                }
            }
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Moves a directory into `top` under a name that is free; returns the next one to try.
fn move_up(from: BorrowedFd<'_>, name: &CString, top: BorrowedFd<'_>, mut next: u64) -> io::Result<u64> {
    loop {
        let free = format!(".muster-{next}");
        next += 1;
        // It would replace an empty directory, and nothing would be lost; anything else is refused.
        match renameat(from, name, top, free.as_str()) {
            Ok(()) => return Ok(next),
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            // A directory that its owner may not write to can't be moved by him either.
            Err(Errno::ACCESS) => chmodat(from, name, Mode::RWXU, AtFlags::empty())?,
            Err(e) => return Err(e.into()),
        }
    }
}

fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = vec![];
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn is_dir(dir: BorrowedFd<'_>, name: &CString) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a directory, also one that its owner has barred to himself: an agent without root has no other right.
fn open_any(dir: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    // Not a link: that was just looked at, and nobody else is here.
    let _ = chmodat(dir, name, Mode::RWXU, AtFlags::empty());
    Ok(open(dir, name)?)
}

fn open<P: rustix::path::Arg>(dir: BorrowedFd<'_>, path: P) -> rustix::io::Result<OwnedFd> {
    openat(dir, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes a directory with everything in it; one that isn't there is no error.
///
/// # Errors
/// What the file system says.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    empty(dir)?;
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn r41_whatever_a_task_left_is_removed_and_nothing_else() {
        let place = std::env::temp_dir().join(format!("launch-empty-{}", std::process::id()));
        let outside = place.join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let dir = place.join("dir");
        fs::create_dir_all(dir.join("a/b/c/d")).unwrap();
        fs::write(dir.join("a/b/file"), "x").unwrap();
        fs::create_dir_all(dir.join(".muster-0/full")).unwrap();
        fs::write(dir.join(".muster-1"), "in the way").unwrap();
        symlink(&outside, dir.join("a/link")).unwrap();
        symlink(&outside, dir.join("link")).unwrap();
        fs::set_permissions(dir.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        // Deeper than any process may have descriptors, or a path be long.
        std::env::set_current_dir(&dir).unwrap();
        for _ in 0..3000 {
            fs::create_dir("deep").unwrap();
            std::env::set_current_dir("deep").unwrap();
        }
        std::env::set_current_dir("/").unwrap();
        empty(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
        remove(&place).unwrap();
        remove(&place).unwrap();
        assert!(!place.exists());
    }
}
