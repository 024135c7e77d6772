//! Emptying a directory that a task has filled: whatever it left there, however deep, without following a link. What is
//! deeper than one level is moved up before it is removed, so that depth costs neither descriptors nor stack, and names
//! are read in batches, so that number costs no memory.
//!
//! A task may leave what plain unlink(2) refuses (S7): a subvolume of btrfs that it has made read-only, or a file that
//! somebody has made immutable. That is undone first. A name that can't be removed all the same keeps none of the others.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, StatxFlags, chmodat, fchmod, fchown,
    fstat, ioctl_getflags, ioctl_setflags, openat, openat2, renameat, statat, statx, unlinkat,
};
use rustix::io::Errno;

use crate::sys::subvolume;

/// Names that are kept in memory at once.
const BATCH: usize = 1024;
/// Names and directories that may come while a directory is being emptied, however many were there before (T3): only
/// somebody who holds one below it and goes on making more is behind so many.
const NEWCOMERS: u64 = 1_000_000;
/// Directories below each other of which none could be moved up: each costs a descriptor.
const DEEPEST: u32 = 64;

/// Removes everything in `dir`; one that isn't there is empty. A process that was given a descriptor of a directory in it
/// may hold that still: every directory is taken away from its owner before it is emptied (A4).
///
/// # Errors
/// What the file system said first of what couldn't be removed (all else is), and when somebody outside makes more all
/// the time.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    empty_since(dir, SystemTime::now(), NEWCOMERS)
}

/// The same, where what is made from `begun` on has come meanwhile, and of that no more than `newcomers` is removed.
fn empty_since(dir: &Path, begun: SystemTime, newcomers: u64) -> io::Result<()> {
    let top = match open(CWD, dir) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    free(top.as_fd());
    let outer = top.as_fd();
    let mut emptying = Emptying { outer, moved: 0, begun, newcomers, first: None };
    let cleared = emptying.clear(Place { dir: outer, top: outer, is_top: true, depth: 0 });
    emptying.first.map_or(cleared, Err)
}

/// A directory that is being emptied.
#[derive(Clone, Copy)]
struct Place<'a> {
    dir: BorrowedFd<'a>,
    /// Where its directories are moved: the highest directory of its subvolume.
    top: BorrowedFd<'a>,
    /// It is that one.
    is_top: bool,
    /// Directories above it that couldn't be moved.
    depth: u32,
}

struct Emptying<'a> {
    /// The highest of all: nobody's subvolume.
    outer: BorrowedFd<'a>,
    /// The next name for what is moved.
    moved: u64,
    /// When emptying began.
    begun: SystemTime,
    /// How much may still come.
    newcomers: u64,
    /// What went wrong first.
    first: Option<io::Error>,
}

impl Emptying<'_> {
    /// Removes everything in a directory, or moves it up. What can't be removed is passed over, and stays.
    fn clear(&mut self, place: Place<'_>) -> io::Result<()> {
        // What is found at first was there before.
        let mut known = u64::MAX;
        loop {
            let mut entries = Dir::read_from(place.dir)?;
            let (mut found, mut gone, moved) = (0, 0, self.moved);
            loop {
                let names = some_names(&mut entries)?;
                if names.is_empty() {
                    break;
                }
                found += u64::try_from(names.len()).unwrap_or(u64::MAX);
                for name in names {
                    match self.remove(place, &name) {
                        Ok(()) => gone += 1,
                        Err(e) => drop(self.first.get_or_insert(e)),
                    }
                }
            }
            // What was moved here meanwhile is the next round's.
            if found == 0 || gone == 0 {
                return Ok(());
            }
            self.let_come(found.saturating_sub(known))?;
            known = (self.moved - moved).saturating_add(found - gone);
        }
    }

    /// Notes that so much has come while this was being emptied.
    fn let_come(&mut self, newcomers: u64) -> io::Result<()> {
        self.newcomers = self.newcomers.checked_sub(newcomers).ok_or_else(filled_again)?;
        Ok(())
    }

    /// Removes one name, or moves it up.
    fn remove(&mut self, place: Place<'_>, name: &CString) -> io::Result<()> {
        let dir = place.dir;
        if !is_dir(dir, name) {
            return unlink(dir, name);
        }
        if !place.is_top
            && (unlinkat(dir, name, AtFlags::REMOVEDIR).is_ok() || self.move_up(dir, name, place.top).is_ok())
        {
            return Ok(());
        }
        if place.depth > DEEPEST {
            return Err(Errno::LOOP.into());
        }
        let below = open_any(dir, name)?;
        // Nothing else is of another device here: what is mounted wasn't opened.
        let is_subvolume = fstat(&below)?.st_dev != fstat(dir)?.st_dev;
        if is_subvolume {
            // What stays read-only says so by its names.
            let _ = subvolume::make_writable(below.as_fd());
            // One within another comes out of it: no number of them is too deep then.
            if !is_same(place.top, self.outer) && self.move_up(dir, name, self.outer).is_ok() {
                return Ok(());
            }
        }
        take_away(&below)?;
        if is_since(&below, self.begun) {
            self.let_come(1)?;
        }
        let below = below.as_fd();
        // Directories aren't moved out of a subvolume.
        let top = if is_subvolume { below } else { place.top };
        self.clear(Place { dir: below, top, is_top: is_subvolume, depth: place.depth + 1 })?;
        Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    /// Moves a directory into `top` under a name that is free.
    fn move_up(&mut self, from: BorrowedFd<'_>, name: &CString, top: BorrowedFd<'_>) -> io::Result<()> {
        let mut made_writable = false;
        loop {
            let free = format!(".muster-{}", self.moved);
            // It would replace an empty directory, and nothing would be lost; anything else is refused.
            match renameat(from, name, top, free.as_str()) {
                Ok(()) => {
                    self.moved += 1;
                    return Ok(());
                }
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => self.moved += 1,
                // A directory that its owner may not write to can't be moved by him either.
                Err(Errno::ACCESS) if !made_writable => {
                    chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
                    made_writable = true;
                }
                // Nor a subvolume that is read-only, by anybody.
                Err(Errno::ROFS) if !made_writable => {
                    made_writable = subvolume::make_writable(open_any(from, name)?.as_fd())?;
                    if !made_writable {
                        return Err(Errno::ROFS.into());
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn filled_again() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "somebody outside goes on filling a directory of the task")
}

fn is_same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    a.as_raw_fd() == b.as_raw_fd()
}

/// Whether a directory was made from then on; where the file system doesn't tell, it may have been.
fn is_since(dir: &OwnedFd, begun: SystemTime) -> bool {
    let Ok(found) = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME) else { return true };
    let told = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    let seconds = u64::try_from(found.stx_btime.tv_sec).unwrap_or(0);
    let made = UNIX_EPOCH + Duration::new(seconds, found.stx_btime.tv_nsec);
    // The kernel's clock for files is some ticks behind.
    !told || made + Duration::from_millis(20) >= begun
}

/// Removes what is no directory.
fn unlink(dir: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::PERM) => {
            free(dir);
            if is_a(FileType::RegularFile, dir, name) {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                free(openat(dir, name, flags, Mode::empty())?.as_fd());
            }
            Ok(unlinkat(dir, name, AtFlags::empty())?)
        }
        other => Ok(other?),
    }
}

/// Undoes what keeps a file from being removed, or others from being moved to a directory; best effort.
fn free(file: BorrowedFd<'_>) {
    let hindrances = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::PROJECT_INHERIT;
    if let Ok(flags) = ioctl_getflags(file)
        && flags.intersects(hindrances)
    {
        let _ = ioctl_setflags(file, flags - hindrances);
    }
}

/// From here on a descriptor of it is good for nothing to others. An agent without root is who they are, too.
fn take_away(dir: &OwnedFd) -> io::Result<()> {
    let us = rustix::process::geteuid();
    if us.is_root() {
        let own = || fchown(dir, Some(us), Some(rustix::process::getegid()));
        match own() {
            Err(Errno::PERM) => {
                free(dir.as_fd());
                own()?;
            }
            other => other?,
        }
        fchmod(dir, Mode::RWXU)?;
    }
    Ok(())
}

/// The next names of a directory.
fn some_names(entries: &mut Dir) -> io::Result<Vec<CString>> {
    let mut names = vec![];
    for entry in entries {
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
    is_a(FileType::Directory, dir, name)
}

fn is_a(kind: FileType, dir: BorrowedFd<'_>, name: &CString) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
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

    /// T3: what was there before has no bound; what comes meanwhile has.
    #[test]
    fn a04_however_much_a_task_leaves_is_removed_and_only_newcomers_are_bounded() {
        let place = std::env::temp_dir().join(format!("launch-many-{}", std::process::id()));
        let dir = place.join("dir");
        let fill = || {
            for name in ["a", "b/c/d"] {
                for i in 0..200 {
                    fs::create_dir_all(dir.join(name).join(i.to_string())).unwrap();
                    fs::write(dir.join(name).join(i.to_string()).join("f"), "").unwrap();
                }
            }
        };
        fill();
        let later = SystemTime::now() + Duration::from_secs(60);
        empty_since(&dir, later, 10).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        // As if all had come since.
        fill();
        let refused = empty_since(&dir, UNIX_EPOCH, 10);
        assert!(refused.is_err_and(|e| e.to_string().contains("goes on filling")));
        assert!(fs::read_dir(&dir).unwrap().count() > 100);
        remove(&place).unwrap();
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
    /// S7: what can't be removed stays, and keeps nothing beside it; what is only marked is unmarked.
    #[test]
    fn a04_a_name_that_cant_be_removed_keeps_no_other() {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = std::env::temp_dir().join(format!("launch-kept-{}", std::process::id()));
        let dir = place.join("dir");
        fs::create_dir_all(dir.join("b/deep/er/held")).unwrap();
        for i in 0..2 * BATCH {
            fs::write(dir.join(format!("b/deep/{i}")), "x").unwrap();
        }
        for name in ["a", "z", "b/deep/er/f"] {
            fs::write(dir.join(name), "x").unwrap();
        }
        fs::create_dir_all(dir.join("c/marked/below")).unwrap();
        fs::write(dir.join("c/marked/file"), "x").unwrap();
        for marked in ["c/marked/file", "c/marked", "c/marked/below"] {
            let file = fs::File::open(dir.join(marked)).unwrap();
            let flag = if marked == "c/marked" { IFlags::APPEND } else { IFlags::IMMUTABLE };
            // Not every file system has marks.
            let _ = ioctl_getflags(&file).and_then(|flags| ioctl_setflags(&file, flags | flag));
        }
        let tried = {
            let dir = dir.clone();
            // The mount is this thread's alone.
            std::thread::spawn(move || {
                let (none, held) = (None::<&str>, dir.join("b/deep/er/held"));
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
                mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
                mount(none, &held, Some("tmpfs"), MsFlags::empty(), none).unwrap();
                let emptied = empty(&dir).map_err(|e| e.to_string());
                let mut left = vec![];
                let mut open = vec![dir.clone()];
                while let Some(next) = open.pop() {
                    for entry in fs::read_dir(next).unwrap() {
                        let path = entry.unwrap().path();
                        left.push(path.file_name().unwrap().to_owned());
                        open.extend(path.is_dir().then_some(path));
                    }
                }
                (emptied, left)
            })
        };
        let (emptied, left) = tried.join().unwrap();
        assert!(emptied.is_err_and(|e| e.contains("is mounted")));
        assert!(left.len() <= 4 && left.contains(&"held".into()), "{left:?}");
        remove(&place).unwrap();
        assert!(!place.exists());
    }

    /// S7: anybody makes a subvolume of btrfs in a directory of his, and makes it read-only.
    #[test]
    fn a04_a_subvolume_that_its_owner_made_read_only_is_removed() {
        use std::process::Command;
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let place = std::env::temp_dir().join(format!("launch-btrfs-{}", std::process::id()));
        let (image, disk) = (place.join("image"), place.join("disk"));
        fs::create_dir_all(&disk).unwrap();
        fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
        let (image, at) = (image.to_str().unwrap(), disk.to_str().unwrap());
        // Without root, or btrfs, there is nothing to see.
        if !run("mkfs.btrfs", &["-q", image]) || !run("mount", &["-o", "loop", image, at]) {
            return fs::remove_dir_all(&place).unwrap();
        }
        let dir = disk.join("dir");
        fs::create_dir_all(dir.join("d")).unwrap();
        let mut made = vec![];
        // Deeper than anything is opened, each within the one before.
        let mut deep = dir.join("d");
        for i in 0..2 * DEEPEST {
            deep = deep.join(format!("s{i}"));
            assert!(run("btrfs", &["-q", "subvolume", "create", deep.to_str().unwrap()]));
            made.push(deep.clone());
            deep = deep.join("x");
            fs::create_dir_all(deep.join("y/z")).unwrap();
            fs::write(deep.join("y/z/big"), vec![1; 1 << 16]).unwrap();
        }
        for subvolume in made.iter().rev() {
            std::os::unix::fs::chown(subvolume, Some(5001), Some(5001)).unwrap();
            assert!(run("btrfs", &["property", "set", subvolume.to_str().unwrap(), "ro", "true"]));
        }
        fs::write(dir.join("z"), "x").unwrap();
        let refused = fs::remove_dir_all(&dir);
        let removed = remove(&dir).map_err(|e| e.to_string());
        let gone = !dir.exists();
        assert!(run("umount", &[at]));
        fs::remove_dir_all(&place).unwrap();
        assert_eq!((removed, gone, refused.is_err()), (Ok(()), true, true));
    }
}
