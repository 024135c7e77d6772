//! Emptying a directory that a task has filled: whatever it left there, however deep, without following a link. What is
//! deeper than one level is moved up before it is removed, so that depth costs neither descriptors nor stack, and names
//! are read in batches, so that number costs no memory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, chmodat, fchmod, fchown, openat, openat2,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// Names that are kept in memory at once.
const BATCH: usize = 1024;
/// Batches of one emptying. The deepest and fullest directories need far fewer; only somebody who goes on making more
/// below a directory that he holds could need them all.
const BATCHES: u32 = 100_000;

/// Removes everything in `dir`; one that isn't there is empty. A process that was given a descriptor of a directory in it
/// may hold that still: every directory is taken away from its owner before it is emptied (A4).
///
/// # Errors
/// What the file system says, and when somebody outside makes more all the time.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    let top = match open(CWD, dir) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut moved = 0_u64;
    for _ in 0..BATCHES {
        let names = some_names(top.as_fd())?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !is_dir(top.as_fd(), &name) {
                unlinkat(&top, &name, AtFlags::empty())?;
                continue;
            }
            let below = open_any(top.as_fd(), &name)?;
            take_away(&below)?;
            moved = empty_one(below.as_fd(), top.as_fd(), moved)?;
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "somebody outside goes on filling a directory of the task",
    ))
}

/// Removes everything in a directory, or moves it up.
fn empty_one(below: BorrowedFd<'_>, top: BorrowedFd<'_>, mut moved: u64) -> io::Result<u64> {
    loop {
        let names = some_names(below)?;
        if names.is_empty() {
            return Ok(moved);
        }
        for inner in names {
            if !is_dir(below, &inner) {
                unlinkat(below, &inner, AtFlags::empty())?;
            } else if unlinkat(below, &inner, AtFlags::REMOVEDIR).is_err() {
                moved = move_up(below, &inner, top, moved)?;
            }
        }
    }
}

/// From here on a descriptor of it is good for nothing to others. An agent without root is who they are, too.
fn take_away(dir: &OwnedFd) -> io::Result<()> {
    let us = rustix::process::geteuid();
    if us.is_root() {
        fchown(dir, Some(us), Some(rustix::process::getegid()))?;
        fchmod(dir, Mode::RWXU)?;
    }
    Ok(())
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

/// The first names of a directory.
fn some_names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = vec![];
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() >= BATCH {
            break;
        }
    }
    Ok(names)
}

fn is_dir(dir: BorrowedFd<'_>, name: &CString) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a directory, also one that its owner has barred to himself: an agent without root has no other right. What is
/// mounted there isn't the task's, and is left alone.
fn open_any(dir: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
        Err(Errno::XDEV) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "a file system is mounted in a directory of the task: unmount it",
            ));
        }
        other => other?,
    };
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
        for i in 0..3 * BATCH {
            fs::write(dir.join(format!("a/f{i}")), "").unwrap();
        }
        empty(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
        remove(&place).unwrap();
        remove(&place).unwrap();
        assert!(!place.exists());
    }

    #[test]
    fn a04_what_is_mounted_in_a_directory_of_a_task_is_left_alone() {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = std::env::temp_dir().join(format!("launch-mounted-{}", std::process::id()));
        let mounted = place.join("dir/mounted");
        fs::create_dir_all(&mounted).unwrap();
        let tried = {
            let (dir, mounted) = (place.join("dir"), mounted.clone());
            // The mount is this thread's alone.
            std::thread::spawn(move || {
                let none = None::<&str>;
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
                mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
                mount(none, &mounted, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
                fs::write(mounted.join("kept"), "x").unwrap();
                let emptied = empty(&dir).map_err(|e| e.to_string());
                (emptied, fs::metadata(&mounted).unwrap().permissions().mode(), mounted.join("kept").exists())
            })
        };
        let (emptied, mode, kept) = tried.join().unwrap();
        assert!(emptied.is_err_and(|e| e.contains("is mounted")) && kept, "{mode:o}");
        assert_eq!(mode & 0o777, 0o755);
        remove(&place).unwrap();
    }

    /// F3: a descriptor that was handed on is good for nothing once its directory has been taken away.
    #[test]
    fn a04_who_holds_a_directory_still_makes_nothing_in_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = std::env::temp_dir().join(format!("launch-held-{}", std::process::id()));
        let held = place.join("dir/a/b");
        fs::create_dir_all(&held).unwrap();
        std::os::unix::fs::chown(&held, Some(5001), Some(5001)).unwrap();
        fs::set_permissions(&held, fs::Permissions::from_mode(0o777)).unwrap();
        let fd = open(CWD, held.as_path()).unwrap();
        let (begun, begins) = std::sync::mpsc::channel();
        let filling = std::thread::spawn(move || {
            rustix::thread::set_thread_res_uid(None, Some(rustix::process::Uid::from_raw(5001)), None)
                .unwrap();
            let mut made = 0_u64;
            loop {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                match openat(&fd, format!("f{made}"), flags, Mode::RWXU) {
                    Ok(_) => made += 1,
                    Err(e) => return (e, made),
                }
                if made == 100 {
                    begun.send(()).unwrap();
                }
            }
        });
        begins.recv().unwrap();
        empty(&place.join("dir")).unwrap();
        let (error, made) = filling.join().unwrap();
        // Taken away, or gone.
        assert!(matches!(error, Errno::ACCESS | Errno::NOENT) && made >= 100, "{error} {made}");
        remove(&place).unwrap();
        assert!(!place.exists());
    }
}
