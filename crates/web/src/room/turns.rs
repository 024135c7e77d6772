//! Turns at work that keeps a processor busy (R47, W18): it is done off the threads that answer everybody, few pieces at
//! a time in all and fewer for each account or Unix user, one after the other as they were asked for.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use domain::id::UserId;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most at a time, on a machine with many processors; half of them on a smaller one.
const MOST: usize = 4;

/// Most for one, where there are as many.
const EACH: usize = 2;

/// Turns of accounts, or of whom `K` tells apart. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Turns<K = UserId> {
    all: Arc<Semaphore>,
    each: usize,
    by: Arc<Mutex<HashMap<K, Arc<Semaphore>>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _own: OwnedSemaphorePermit,
    _any: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Turns<K> {
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(2, NonZero::get);
        Self::of(processors.div_ceil(2).clamp(2, MOST))
    }

    /// So many in all.
    pub(crate) fn of(all: usize) -> Self {
        // Nobody has all of them.
        Self::with(all, EACH.min(all - 1).max(1))
    }

    /// So many in all, and so many for each.
    pub(crate) fn with(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, by: Arc::default() }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Never: turns aren't closed.
    pub(crate) async fn take(&self, whose: K) -> io::Result<Turn> {
        let own = {
            let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
            // Of those who have no turn and wait for none, nothing is kept.
            by.retain(|_, own| Arc::strong_count(own) > 1);
            Arc::clone(by.entry(whose).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        let own = own.acquire_owned().await.map_err(io::Error::other)?;
        let any = Arc::clone(&self.all).acquire_owned().await.map_err(io::Error::other)?;
        Ok(Turn { _own: own, _any: any })
    }

    /// Does a piece of work in a turn of its own. Who stops waiting for a turn gives it up.
    ///
    /// # Errors
    /// When the work panics.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        whose: K,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.take(whose).await?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(io::Error::other)
    }

    /// The same for what also waits, for the database above all. Whoever leaves meanwhile has asked for it all the same, and
    /// the turn is theirs until it is done.
    ///
    /// # Errors
    /// When it panics.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        whose: K,
        making: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let runtime = Handle::current();
        self.work(whose, move || runtime.block_on(making)).await
    }

    /// The same for what is little: on the threads that answer everybody.
    ///
    /// # Errors
    /// When it panics.
    pub(crate) async fn make_little<T: Send + 'static>(
        &self,
        whose: K,
        making: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.take(whose).await?;
        let made = tokio::spawn(async move {
            let _turn = turn;
            making.await
        });
        made.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r47_nobody_has_all_turns() {
        let turns = Turns::of(2);
        let [alice, bob] = [UserId(1), UserId(2)];
        let first = turns.take(alice).await.expect("a turn");
        let second = turns.take(alice);
        tokio::pin!(second);
        let polled = futures_util::poll!(second.as_mut());
        assert!(polled.is_pending(), "one at a time where there are two");
        let other = turns.take(bob).await.expect("room for others");
        drop((first, other));
        second.await.expect("then it is hers");
        assert_eq!(turns.work(bob, || 7).await.expect("done"), 7);
        drop(turns.take(bob).await);
        assert_eq!(turns.by.lock().expect("whole").len(), 1, "nothing is kept of who waits for nothing");
    }

    #[tokio::test]
    async fn a05_who_leaves_has_their_turn_until_it_is_over() {
        let turns = Turns::of(2);
        let [alice, bob] = [UserId(1), UserId(2)];
        let (go, told) = tokio::sync::oneshot::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let making = turns.make(alice, async {
            let _ = begun.send(());
            let _ = told.await;
        });
        tokio::select! {
            _ = making => unreachable!("it wasn't told to go on"),
            begun = begins => begun.expect("begun"),
        }
        // However many come and leave.
        for _ in 0..40 {
            let more = turns.make(alice, async {});
            tokio::pin!(more);
            assert!(futures_util::poll!(more.as_mut()).is_pending());
        }
        assert_eq!(turns.make(bob, async { 7 }).await.expect("room for others"), 7);
        go.send(()).expect("it still waits");
        turns.make(alice, async {}).await.expect("then it is hers");
    }
}
