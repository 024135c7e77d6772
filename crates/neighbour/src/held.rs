//! Whoever makes us wait. What a process has open, or has in its memory, is answered by the kernel; but it may have to wait
//! for that process, or for a file system that somebody serves (FUSE, NFS) and that stops answering, or answers just in
//! time. Nobody's judgement may depend on that (S5, T5): a look is done by a thread of its own, which says of whom it asks,
//! and what it waits is counted for the user whose process that is (`spent`). Who has used up his share isn't asked any
//! more; if that is in the middle of a question, the thread is left to itself, and the look begins anew.
//!
//! What is left out can't be judged: whose verdict it may matter for asks for [`hidden`]. A process that starts another
//! program while a file of FUSE waits to be closed makes even who only asks where it lives wait. What hardly ever waits is
//! the list of descriptors by number (`numbers`), so that who is left out is still seen where he has something in common.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::doubt::Doubt;
use crate::scan::owner;
use crate::spent::{Spent, User, waits};
use crate::unreadable;

/// How long one question may take, be it to root's. The kernel's own answers take a thousandth of that.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is seen to that nothing takes too long.
const OFTEN: Duration = Duration::from_millis(50);

/// How long a look may take in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// So many looks may go on after their time, whatever for; then there are no others.
const MOST_LATE: usize = 16;

/// What all looks know of those who make them wait. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Questions that a thread still asks, though nobody waits for it.
    held: Vec<(u32, User, What)>,
    /// What was waited for whom.
    spent: Spent,
    /// Threads that go on after their time and wait for nobody.
    late: usize,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// What may have to wait for the process.
    All,
    /// What no kernel waits for but that of an epoll (MJ4); it is asked of those too who are left out otherwise, and takes
    /// nothing of their share.
    Numbers,
}

/// One look's thread.
#[derive(Debug)]
struct Looking {
    waiting: Waiting,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// Of whom it asks what, and since when.
    asks: Option<(u32, What, Instant)>,
    /// How often it had waited before that.
    waits: i64,
    /// How long it has waited, and for whom.
    waited: HashMap<User, Duration>,
    /// Whom it has asked, and as whose each was shown before: who holds it up may be over by then.
    owners: HashMap<u32, u32>,
    /// Who those are, where it mattered.
    users: HashMap<u32, User>,
    /// Of whom it couldn't ask, and whose they are.
    hidden: BTreeMap<u32, u32>,
    /// It did ask one of them before: what is known of him is neither all nor what is known of those who are left out.
    is_half: bool,
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
    ask_what(process, What::All, question)
}

/// The same for one kind of question.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_what<T>(process: u32, what: What, question: impl FnOnce() -> T) -> Result<T, Doubt> {
    let Some(looking) = LOOKING.with_borrow(Clone::clone) else { return Ok(question()) };
    looking.begin(process, what)?;
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

/// The processes of which this look couldn't ask something, and as whose each is shown.
pub(crate) fn hidden() -> BTreeMap<u32, u32> {
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
                of_thread.0.now().waits = waits();
                let _ = says.send(look());
            });
            begun.map_err(|e| unreadable(&e))?;
            if let Some(verdict) = looking.wait(&said, deadline) {
                return verdict;
            }
        }
    }

    /// Whether everybody is asked everything.
    fn spares_nobody(&self) -> bool {
        let state = self.state();
        state.held.is_empty() && state.spent.is_empty()
    }

    /// Whether that isn't asked of a user's process. Of a user one thread waits at most: with what one of his processes
    /// hides nobody who has to do with him can be judged anyhow.
    fn spares(&self, process: u32, user: User, what: What) -> bool {
        let state = self.state();
        state.held.iter().any(|(pid, whose, asked)| *asked == what && (*pid == process || *whose == user))
            || (what == What::All && state.spent.is_out(user, Instant::now()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looking {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, process: u32, what: What) -> Result<(), Doubt> {
        let mut now = self.now();
        let was_asked = now.owners.contains_key(&process) && !now.hidden.contains_key(&process);
        // Who is over by now is asked in vain, and makes nobody wait.
        let owner = *now.owners.entry(process).or_insert_with(|| owner(process).unwrap_or_default());
        if !self.waiting.spares_nobody() && self.waiting.spares(process, now.user(process), what) {
            now.hidden.insert(process, owner);
            now.is_half |= was_asked;
            return Err(Doubt::HeldUp(process));
        }
        if now.left {
            return Err(Doubt::Late);
        }
        now.asks = Some((process, what, Instant::now()));
        Ok(())
    }

    fn moves(&self) -> bool {
        let waits = waits();
        let at = Instant::now();
        let mut now = self.now();
        self.count(&mut now, waits, at);
        if let Some((_, _, since)) = &mut now.asks {
            *since = Instant::now();
        }
        !now.left
    }

    /// Counts what was waited from the beginning of a question until then.
    fn count(&self, now: &mut Now, waits: i64, until: Instant) {
        let has_waited = std::mem::replace(&mut now.waits, waits) != waits;
        let asks = now.asks.filter(|(_, what, _)| has_waited && *what == What::All);
        let Some((process, _, since)) = asks else { return };
        let user = now.user(process);
        let waited = now.waited.entry(user).or_default();
        *waited += until.saturating_duration_since(since);
        let spent = &mut self.waiting.state().spent;
        if spent.left(user, *waited).is_some_and(|left| left.is_zero()) {
            spent.leave_out(user, until);
        }
    }

    fn end(&self) -> Result<(), Doubt> {
        let waits = waits();
        let at = Instant::now();
        let mut now = self.now();
        if !now.left {
            self.count(&mut now, waits, at);
            now.asks = None;
            return Ok(());
        }
        let asked = now.asks.take();
        let mut state = self.waiting.state();
        let is_it = |(pid, _, what): &(u32, User, What)| {
            asked.is_some_and(|(process, asked, _)| (process, asked) == (*pid, *what))
        };
        let of_this = state.held.iter().position(is_it);
        // One that was left for being late hasn't noted anybody.
        if let Some(place) = of_this.filter(|_| !now.late) {
            state.held.swap_remove(place);
        }
        Err(Doubt::Late)
    }

    /// Waits for what the thread says; `None` when somebody held it up, who is left out from now on.
    fn wait<T>(&self, said: &Receiver<Result<T, Doubt>>, deadline: Instant) -> Option<Result<T, Doubt>> {
        loop {
            match said.recv_timeout(OFTEN) {
                Ok(verdict) => {
                    self.settle();
                    let again = verdict.is_ok() && self.now().is_half && Instant::now() < deadline;
                    return (!again).then_some(verdict);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(Doubt::Kernel("a look broke down".to_owned())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let is_over = Instant::now() >= deadline;
            let mut now = self.now();
            let Some((process, what, since)) = now.asks else {
                if is_over {
                    (now.left, now.late) = (true, true);
                    self.waiting.state().late += 1;
                    return Some(Err(Doubt::Late));
                }
                continue;
            };
            let elapsed = since.elapsed();
            // Most questions are over at once.
            if !is_over && elapsed < OFTEN {
                continue;
            }
            let user = now.user(process);
            let waited = now.waited.get(&user).copied().unwrap_or_default();
            let mut state = self.waiting.state();
            let left = state.spent.left(user, waited).filter(|_| what == What::All).unwrap_or(PATIENCE);
            let is_too_much = elapsed >= left.min(PATIENCE);
            if is_too_much && what == What::All {
                state.spent.leave_out(user, Instant::now());
            }
            if is_over || is_too_much {
                now.left = true;
                state.held.push((process, user, what));
                return is_over.then_some(Err(Doubt::Late));
            }
        }
    }

    /// What this look has waited counts for those after it.
    fn settle(&self) {
        let now = self.now();
        self.waiting.state().spent.settle(&now.waited, Instant::now());
    }
}

impl Now {
    fn user(&mut self, process: u32) -> User {
        let owner = self.owners.get(&process).copied().unwrap_or_default();
        *self.users.entry(process).or_insert_with(|| User::of(process, owner))
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
