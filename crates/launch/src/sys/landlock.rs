//! Landlock (landlock(7)), for the one right of it that nothing else gives: to speak to Unix sockets that have a file.
//! Where a task may do so is in `sandbox`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// Asks for the version in place of a set of rules.
const VERSION: libc::c_long = 1;
/// The first version that knows sockets: Linux 7.1.
const KNOWS_SOCKETS: libc::c_long = 9;
/// To move files from one directory into another, which each set of rules forbids that doesn't allow it.
const REFER: u64 = 1 << 13;
/// To connect or send to a socket that the processes under the rules didn't make.
const RESOLVE_UNIX: u64 = 1 << 16;
const PATH_BENEATH: libc::c_long = 1;

/// `struct landlock_ruleset_attr`, as far as it is used.
#[repr(C)]
struct Handled {
    files: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    directory: i32,
}

/// Rules under which a process reaches sockets below these directories alone, and those of its own; all else is as it was
/// below `root`. None where the kernel can't.
pub(crate) fn only_sockets_below(
    root: BorrowedFd<'_>,
    directories: &[BorrowedFd<'_>],
) -> io::Result<Option<OwnedFd>> {
    // SAFETY: without a set of rules, of length 0, the kernel reads nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) };
    if version < KNOWS_SOCKETS {
        return Ok(None);
    }
    rules(RESOLVE_UNIX, root, directories).map(Some)
}

/// Rules that keep a right to what is below some directories.
fn rules(right: u64, root: BorrowedFd<'_>, directories: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let handled = Handled { files: right | REFER };
    // SAFETY: `handled` is a `landlock_ruleset_attr` of the length passed and outlives the call, which only reads it.
    let fd = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size_of::<Handled>(), 0_usize)
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let rules = unsafe { OwnedFd::from_raw_fd(fd) };
    let of_directories = directories.iter().map(|directory| (right, *directory));
    for (allowed, directory) in of_directories.chain([(REFER, root)]) {
        let beneath = Beneath { allowed, directory: directory.as_raw_fd() };
        // SAFETY: `beneath` is a `landlock_path_beneath_attr` and outlives the call, which only reads it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                rules.as_raw_fd(),
                PATH_BENEATH,
                &raw const beneath,
                0_usize,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(rules)
}

/// Puts this thread and what it starts under rules, for good.
pub(crate) fn obey(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes two numbers and reads no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_usize) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    /// The kernel of a machine with tests may be too old to know sockets; the rules are the same for any right.
    #[test]
    fn r15_a_right_is_kept_below_some_directories_and_the_others_everywhere() {
        const READ_FILE: u64 = 1 << 2;
        let dir = std::env::temp_dir().join(format!("launch-test-rules-{}", std::process::id()));
        for name in ["in", "out"] {
            fs::create_dir_all(dir.join(name).join("deep")).unwrap();
            fs::write(dir.join(name).join("file"), "text").unwrap();
        }
        let (root, inside) = (File::open("/").unwrap(), File::open(dir.join("in")).unwrap());
        let rules = match rules(READ_FILE, root.as_fd(), &[inside.as_fd()]) {
            // Not in this kernel, or turned off.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)) => {
                return;
            }
            other => other.unwrap(),
        };
        // For one thread, which ends.
        let tried = || {
            rustix::thread::set_no_new_privs(true).unwrap();
            obey(rules.as_fd()).unwrap();
            assert_eq!(fs::read_to_string(dir.join("in/file")).unwrap(), "text");
            assert!(fs::read_to_string(dir.join("out/file")).is_err());
            for name in ["in", "out"] {
                let (here, there) = (dir.join(name).join("new"), dir.join(name).join("deep/new"));
                fs::write(&here, "text").unwrap();
                fs::rename(&here, &there).unwrap();
                fs::hard_link(&there, &here).unwrap();
            }
        };
        std::thread::scope(|scope| scope.spawn(tried).join()).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
