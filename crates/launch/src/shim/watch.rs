//! Threads of the shim's that watch what no limit of the kernel's is about: looking may take its time, and recording the
//! output must not wait for it. What they look at is in `scratch_watch` and `queue_watch`, what is done about too much is
//! `supervise`'s.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use rustix::pipe::{PipeFlags, pipe_with};

use super::too_much::TooMuch;

/// They need little.
const STACK: usize = 256 << 10;

/// The threads; they end with this.
#[derive(Debug)]
pub(super) struct Watch {
    ends: OwnedFd,
    /// Its end ends the threads.
    _lives: OwnedFd,
    /// Becomes readable when something is too much.
    over: OwnedFd,
    says_over: OwnedFd,
    found: Arc<OnceLock<TooMuch>>,
}

impl Watch {
    /// Without any thread yet.
    pub(super) fn new() -> io::Result<Self> {
        let (ends, lives) = pipe_with(PipeFlags::CLOEXEC)?;
        let (over, says_over) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { ends, _lives: lives, over, says_over, found: Arc::default() })
    }

    /// Starts a thread that looks until something is too much, or until what it is given ends.
    pub(super) fn begin(
        &self,
        look: impl FnOnce(&OwnedFd) -> Option<TooMuch> + Send + 'static,
    ) -> io::Result<()> {
        let (ends, says_over) = (self.ends.try_clone()?, self.says_over.try_clone()?);
        let found = Arc::clone(&self.found);
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // What was found first is told.
            if look(&ends).is_some_and(|too_much| found.set(too_much).is_ok()) {
                let _ = rustix::io::write(&says_over, b"!");
            }
        })?;
        Ok(())
    }

    /// Readable when something is too much, and from then on.
    pub(super) fn over(&self) -> &OwnedFd {
        &self.over
    }

    /// What is too much.
    pub(super) fn too_much(&self) -> Option<TooMuch> {
        self.found.get().copied()
    }
}
