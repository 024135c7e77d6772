//! Locks of parts of a file that belong to whoever has it open (open file description locks, fcntl(2)): the kernel lets go
//! of them with the process, however that ends. So what somebody has can be told by what he has locked.

use std::fs::File;
use std::io;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Locks a part, unless somebody else has some of it.
pub(crate) fn try_lock(file: &File, start: i64, length: i64) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&part(libc::F_WRLCK, start, length))) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Locks a part, as soon as nobody else has some of it.
pub(crate) fn lock(file: &File, start: i64, length: i64) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLKW(&part(libc::F_WRLCK, start, length)))?;
    Ok(())
}

/// Lets go of a part.
pub(crate) fn unlock(file: &File, start: i64, length: i64) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&part(libc::F_UNLCK, start, length)))?;
    Ok(())
}

/// A part that others have locked between two places of the file, any of those in there: where it begins, and its length.
pub(crate) fn locked_in(file: &File, from: i64, to: i64) -> io::Result<Option<(i64, i64)>> {
    let mut lock = part(libc::F_WRLCK, from, to - from);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some((lock.l_start, lock.l_len)))
}

#[expect(clippy::cast_possible_truncation, reason = "the constants are small, their type is an accident")]
fn part(what: i32, start: i64, length: i64) -> libc::flock {
    libc::flock {
        l_type: what as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}
