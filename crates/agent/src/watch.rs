//! Telling a run that its log file grew: one inotify descriptor for all of them. Reading the log is `run::log_file`'s.
//!
//! The run's directory is watched and not the file, so that the watch can be set before the file is there.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::descriptor::readable;
use crate::launcher::LOG_FILE;

/// Watches the logs of all runs. Watching ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    inner: Arc<Inner>,
    _reader: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Inner {
    fd: AsyncFd<OwnedFd>,
    /// By watch descriptor.
    logs: Mutex<HashMap<i32, Weak<Notify>>>,
}

/// One watched log; dropping it ends the watching.
#[derive(Debug)]
pub(crate) struct Watched {
    descriptor: i32,
    grown: Arc<Notify>,
    inner: Arc<Inner>,
}

impl Watch {
    /// Begins, inside a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let inner = Arc::new(Inner { fd: readable(fd)?, logs: Mutex::default() });
        let reader = tokio::spawn(read(Arc::clone(&inner)));
        Ok(Self { inner, _reader: AbortOnDropHandle::new(reader) })
    }

    /// Watches the log in this directory, from before the call returns.
    pub(crate) fn log_of(&self, task_dir: &Path) -> io::Result<Watched> {
        let grown = Arc::new(Notify::new());
        // The lock is held over both steps: an event can't come before its place in the map.
        let mut logs = self.inner.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let descriptor = inotify::add_watch(&self.inner.fd, task_dir, flags)?;
        logs.insert(descriptor, Arc::downgrade(&grown));
        drop(logs);
        Ok(Watched { descriptor, grown, inner: Arc::clone(&self.inner) })
    }
}

impl Watched {
    /// Returns when the log grew since the last call.
    pub(crate) async fn grown(&self) {
        self.grown.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut logs = self.inner.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.remove(&self.descriptor);
        // A directory that was removed took its watch along.
        let _ = inotify::remove_watch(&self.inner.fd, self.descriptor);
    }
}

async fn read(inner: Arc<Inner>) {
    let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
    loop {
        let Ok(mut ready) = inner.fd.readable().await else {
            return;
        };
        let mut events = Reader::new(&inner.fd, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => inner.notify(None),
                Ok(event) => {
                    if event.file_name().is_some_and(|name| name.to_bytes() == LOG_FILE.as_bytes()) {
                        inner.notify(Some(event.wd()));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => break,
                Err(e) => {
                    tracing::error!("log files aren't watched any more: {e}; restart the agent");
                    return;
                }
            }
        }
        ready.clear_ready();
    }
}

impl Inner {
    /// Wakes one log's reader, or all when it isn't known whose event was lost.
    fn notify(&self, descriptor: Option<i32>) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let wake = |log: &Weak<Notify>| {
            if let Some(log) = log.upgrade() {
                log.notify_one();
            }
        };
        match descriptor {
            Some(descriptor) => logs.get(&descriptor).into_iter().for_each(wake),
            None => logs.values().for_each(wake),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    #[tokio::test]
    async fn growth_of_the_log_is_told_to_its_run_alone() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dirs = ["a", "b"].map(|name| temp.path().join(name));
        for dir in &dirs {
            fs::create_dir(dir).expect("made");
        }
        let watch = Watch::new().expect("inotify");
        let [a, b] = dirs.each_ref().map(|dir| watch.log_of(dir).expect("watched"));
        fs::write(dirs[1].join("exit.json"), "x").expect("written");
        fs::write(dirs[0].join(LOG_FILE), "x").expect("written");
        let soon = Duration::from_secs(10);
        tokio::time::timeout(soon, a.grown()).await.expect("told");
        assert!(futures_util::FutureExt::now_or_never(b.grown()).is_none());
        drop(a);
        fs::write(dirs[1].join(LOG_FILE), "x").expect("written");
        tokio::time::timeout(soon, b.grown()).await.expect("told");
    }
}
