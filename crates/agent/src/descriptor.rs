//! Waiting for a file descriptor of the kernel's own kind (inotify, pidfd) inside the runtime.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `fd` for being read.
#[expect(
    deprecated,
    reason = "the new way guards against types that may close their descriptor early; `OwnedFd` can't"
)]
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
