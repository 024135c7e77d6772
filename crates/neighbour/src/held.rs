//! Whoever makes us wait. What a process has open, or has in its memory, is answered by the kernel; but it may have to wait
//! for that process, or for a file system that somebody serves (FUSE, NFS) and that stops answering. Nobody's judgement
//! may depend on that (S5): a look is done by a thread of its own, which says of whom it asks. When one question takes too
//! long, the thread is left to itself, and the look begins anew and leaves out that process until the question is over.
//!
//! What is left out can't be judged: whose verdict it may matter for asks for [`hidden`]. A process that starts another
//! program while a file of FUSE waits to be closed makes even who only asks where it lives wait.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::doubt::Doubt;
use crate::scan::user;
use crate::unreadable;

/// How long one question may take. The kernel's own answers take a thousandth of that.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is seen to that nothing takes too long.
const OFTEN: Duration = Duration::from_millis(100);

/// How long a look may take in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// So many threads may wait for one user's processes; then none of them is asked, until one of those goes on.
const MOST_OF_ONE: usize = 4;

/// So many looks may go on after their time, whatever for; then there are no others.
const MOST_LATE: usize = 16;

/// What all looks know of those who make them wait. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Of whom a thread still asks, and whose that process is.
    held: Vec<(u32, Option<u32>)>,
    /// Threads that go on after their time and wait for nobody.
    late: usize,
}

/// One look's thread.
#[derive(Debug)]
struct Looking {
    waiting: Waiting,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// Of whom it asks, and since when.
    asks: Option<(u32, Instant)>,
    /// Of whom it couldn't.
    hidden: BTreeSet<u32>,
    /// Nobody waits for it any more.
    left: bool,
    /// It was left for being late, and counts as such.
    late: bool,
}

thread_local! {
    /// What this thread does, if it is a look's.
    static LOOKING: RefCell<Option<Arc<Looking>>> = const { RefCell::new(None) };
}

/// Asks what may have to wait for a process, or for what it has open.
///
/// # Errors
/// When that process makes somebody wait already, or nobody waits for this look any more.
pub(crate) fn ask<T>(process: u32, question: impl FnOnce() -> T) -> Result<T, Doubt> {
    let Some(looking) = LOOKING.with_borrow(Clone::clone) else { return Ok(question()) };
    looking.begin(process)?;
    let answer = question();
    looking.end()?;
    Ok(answer)
}

/// Whether this look is still waited for.
///
/// # Errors
/// When it isn't.
pub(crate) fn go_on() -> Result<(), Doubt> {
    let looking = LOOKING.with_borrow(Clone::clone);
    if looking.is_some_and(|looking| looking.now().left) { Err(Doubt::Late) } else { Ok(()) }
}

/// Says, in the middle of a question that has many parts, that it isn't held up; whether it is still waited for.
pub(crate) fn moves() -> bool {
    LOOKING.with_borrow(|looking| looking.as_ref().is_none_or(|looking| looking.moves()))
}

/// The processes of which this look couldn't ask something.
pub(crate) fn hidden() -> BTreeSet<u32> {
    let looking = LOOKING.with_borrow(Clone::clone);
    looking.map(|looking| looking.now().hidden.clone()).unwrap_or_default()
}

impl Waiting {
    /// Looks, in a thread of its own, for so long as a look may take.
    ///
    /// # Errors
    /// The look's, or that it took too long.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        look: impl Fn() -> Result<T, Doubt> + Send + Sync + 'static,
    ) -> Result<T, Doubt> {
        let (look, deadline) = (Arc::new(look), Instant::now() + DEADLINE);
        loop {
            if self.state().late >= MOST_LATE {
                return Err(Doubt::Late);
            }
            let looking = Arc::new(Looking { waiting: self.clone(), now: Mutex::default() });
            let (says, said) = sync_channel(1);
            let (of_thread, look) = (Running(Arc::clone(&looking)), Arc::clone(&look));
            let begun = thread::Builder::new().name("look".to_owned()).spawn(move || {
                LOOKING.set(Some(Arc::clone(&of_thread.0)));
                let _ = says.send(look());
            });
            begun.map_err(|e| unreadable(&e))?;
            if let Some(verdict) = looking.wait(&said, deadline) {
                return verdict;
            }
        }
    }

    /// Whether nothing more is asked of a process.
    fn spares(&self, process: u32) -> bool {
        let held = &self.state().held;
        let of = |user: Option<u32>| held.iter().filter(|(_, whose)| *whose == user).count();
        held.iter().any(|(pid, _)| *pid == process)
            || (held.len() >= MOST_OF_ONE && of(whose(process)) >= MOST_OF_ONE)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user of this machine whose a process is. Whoever lives in another user namespace may have any number of uids, and
/// is one with all that do. Its links in `/proc` may be what has to be waited for.
fn whose(process: u32) -> Option<u32> {
    let map = |process: &str| fs::read(format!("/proc/{process}/uid_map"));
    let is_home = map(&process.to_string()).ok()? == map("self").ok()?;
    user(process).ok().filter(|_| is_home)
}

impl Looking {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, process: u32) -> Result<(), Doubt> {
        let spared = self.waiting.spares(process);
        let mut now = self.now();
        if spared {
            now.hidden.insert(process);
            return Err(Doubt::HeldUp(process));
        }
        if now.left {
            return Err(Doubt::Late);
        }
        now.asks = Some((process, Instant::now()));
        Ok(())
    }

    fn moves(&self) -> bool {
        let mut now = self.now();
        if let Some((_, since)) = &mut now.asks {
            *since = Instant::now();
        }
        !now.left
    }

    fn end(&self) -> Result<(), Doubt> {
        let mut now = self.now();
        let asked = now.asks.take();
        if !now.left {
            return Ok(());
        }
        let mut state = self.waiting.state();
        let of_this = asked.and_then(|(process, _)| state.held.iter().position(|(pid, _)| *pid == process));
        // One that was left for being late hasn't noted anybody.
        if let Some(place) = of_this.filter(|_| !now.late) {
            state.held.swap_remove(place);
        }
        Err(Doubt::Late)
    }

    /// Waits for what the thread says; `None` when somebody holds it up, who is left out from now on.
    fn wait<T>(&self, said: &Receiver<Result<T, Doubt>>, deadline: Instant) -> Option<Result<T, Doubt>> {
        loop {
            match said.recv_timeout(OFTEN) {
                Ok(verdict) => return Some(verdict),
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(Doubt::Kernel("a look broke down".to_owned())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let is_over = Instant::now() >= deadline;
            let mut now = self.now();
            match now.asks.filter(|(_, since)| is_over || since.elapsed() >= PATIENCE) {
                Some((process, _)) => {
                    now.left = true;
                    let whose = whose(process);
                    self.waiting.state().held.push((process, whose));
                    return is_over.then_some(Err(Doubt::Late));
                }
                None if is_over => {
                    (now.left, now.late) = (true, true);
                    self.waiting.state().late += 1;
                    return Some(Err(Doubt::Late));
                }
                None => {}
            }
        }
    }
}

/// Ends with the thread.
struct Running(Arc<Looking>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.now().late {
            self.0.waiting.state().late -= 1;
        }
    }
}
