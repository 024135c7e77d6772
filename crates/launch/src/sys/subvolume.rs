//! Subvolumes of btrfs (btrfs-ioctl(2)): what unlink(2) needs to know of them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// `BTRFS_IOC_SUBVOL_GETFLAGS` and `BTRFS_IOC_SUBVOL_SETFLAGS`: both are about one 64-bit number.
const GETFLAGS: u32 = 0x8008_9419;
const SETFLAGS: u32 = 0x4008_941a;
/// `BTRFS_SUBVOL_RDONLY`.
const RDONLY: u64 = 2;

/// Makes a subvolume writable, whose root is `dir`; its owner may do so, and root. Tells whether it was read-only.
///
/// # Errors
/// That `dir` isn't the root of a subvolume, or what the file system says.
pub(crate) fn make_writable(dir: BorrowedFd<'_>) -> io::Result<bool> {
    let mut flags = 0_u64;
    // SAFETY: the kernel writes one 64-bit number, which outlives the call; a file system that isn't btrfs knows no such
    // request and touches nothing.
    if unsafe { libc::ioctl(dir.as_raw_fd(), libc::Ioctl::from(GETFLAGS), &raw mut flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & RDONLY == 0 {
        return Ok(false);
    }
    flags &= !RDONLY;
    // SAFETY: the kernel reads one 64-bit number, which outlives the call.
    if unsafe { libc::ioctl(dir.as_raw_fd(), libc::Ioctl::from(SETFLAGS), &raw const flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}
