//! The kernel's own list of mounts (listmount(2) and statmount(2), Linux 6.8): it doesn't ask whether a path leads to one,
//! as `/proc/self/mountinfo` does. What follows from it is in `sandbox`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::libc;
use rustix::fs::{AtFlags, StatxFlags, statx};

/// Numbers of the calls, alike on every machine that Linux runs on and we build for.
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;
/// That statx is to give the number of a mount that no other one ever has; those of a table are given again.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
/// Most mounts that are taken at once.
const MANY: usize = 512;
/// What is asked of one: device, number, root, kind.
const WANTED: u64 = 0x1 | 0x2 | 0x8 | 0x20;
/// Where the text of an answer begins, in bytes.
const TEXT: usize = 512;
/// Bytes for an answer: a path of any length that there is fits.
const ANSWER: usize = TEXT + (8 << 10);

/// `struct mnt_id_req` as of its first version.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    id: u64,
    parameter: u64,
}

impl Request {
    fn new(id: u64, parameter: u64) -> Self {
        Self { size: 24, spare: 0, id, parameter }
    }
}

/// What the kernel says of one mount.
#[derive(Debug)]
pub(crate) struct Described {
    /// Its number in a table.
    pub(crate) id: u64,
    /// That of the mount that it is mounted on.
    pub(crate) parent: u64,
    /// `major:minor` of the file system.
    pub(crate) device: String,
    /// What of the file system is mounted.
    pub(crate) root: PathBuf,
    /// Name of the file system's kind.
    pub(crate) kind: String,
}

/// The number of a mount for these calls, by an open file of it; none on kernels that have none.
pub(crate) fn unique_id(file: BorrowedFd<'_>) -> Option<u64> {
    let found = statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, UNIQUE).ok()?;
    (found.stx_mask & UNIQUE.bits() != 0).then_some(found.stx_mnt_id)
}

/// All mounts below that with a number, however deep, without that itself.
///
/// # Errors
/// What the kernel says, such as that it has no such call.
pub(crate) fn below(id: u64) -> io::Result<Vec<u64>> {
    let mut all = vec![];
    loop {
        let mut part = [0_u64; MANY];
        let request = Request::new(id, all.last().copied().unwrap_or(0));
        // SAFETY: `request` is as long as its first field says and only read; `part` has room for as many numbers as are
        // asked for, and nothing else is written. Both outlive the call.
        let found = unsafe {
            libc::syscall(SYS_LISTMOUNT, &raw const request, part.as_mut_ptr(), MANY, 0 as libc::c_uint)
        };
        let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
        all.extend(part.iter().take(found));
        if found < MANY {
            return Ok(all);
        }
    }
}

/// Describes the mount with such a number, if it is still there.
pub(crate) fn describe(id: u64) -> Option<Described> {
    let mut answer = vec![0_u8; ANSWER];
    let request = Request::new(id, WANTED);
    // SAFETY: `request` is as long as its first field says and only read; `answer` is as long as is said, and nothing else is
    // written. Both outlive the call.
    let result = unsafe {
        let (to, len) = (answer.as_mut_ptr(), answer.len());
        libc::syscall(SYS_STATMOUNT, &raw const request, to, len, 0 as libc::c_uint)
    };
    if result != 0 {
        return None;
    }
    // `struct statmount`: where a field begins never changes.
    let number = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let text = |at: usize| {
        let text = answer.get(TEXT + usize::try_from(number(at)?).ok()?..)?;
        text.split(|byte| *byte == 0).next().map(<[u8]>::to_vec)
    };
    Some(Described {
        id: number(56)?.into(),
        parent: number(60)?.into(),
        device: format!("{}:{}", number(16)?, number(20)?),
        root: OsString::from_vec(text(104)?).into(),
        kind: String::from_utf8(text(36)?).ok()?,
    })
}

/// How many mounts there are below that of an open file; none on kernels that can't tell.
pub(crate) fn count_below(file: impl AsFd) -> Option<usize> {
    below(unique_id(file.as_fd())?).ok().map(|all| all.len())
}
