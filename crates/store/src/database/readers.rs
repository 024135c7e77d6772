//! Connections for reading, kept open between questions. sqlx's own pool asks a connection whether it lives before each use
//! and again after it: as much as a short question costs, each time. Here it is asked once it has rested, or when somebody
//! left in the middle of a question.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, Error};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Longest wait until one of those that are in use is free.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for a server.
const CONNECT: Duration = Duration::from_secs(5);

/// One that wasn't used for so long may have lost its server.
const RESTED: Duration = Duration::from_secs(1);

/// One that wasn't used for so long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// None is older than this: a server's process for it only grows.
const LIFETIME: Duration = Duration::from_secs(1800);

/// Cheap to clone.
#[derive(Debug)]
pub(crate) struct Readers<C: Connection + 'static>(Arc<Shared<C>>);

#[derive(Debug)]
struct Shared<C: Connection + 'static> {
    options: C::Options,
    most: u32,
    /// How many more may be in use.
    room: Arc<Semaphore>,
    /// The one that was used last is the last one.
    idle: Mutex<Vec<Open<C>>>,
}

#[derive(Debug)]
struct Open<C> {
    connection: C,
    opened: Instant,
    used: Instant,
}

/// A connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reader<C: Connection + 'static> {
    /// Always there until it is dropped.
    inner: Option<Taken<C>>,
    /// A question was asked of it and isn't answered.
    asked: bool,
}

#[derive(Debug)]
struct Taken<C: Connection + 'static> {
    open: Open<C>,
    home: Arc<Shared<C>>,
    _room: OwnedSemaphorePermit,
}

impl<C: Connection + 'static> Clone for Readers<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Connection + 'static> Readers<C> {
    /// None is opened yet; at most so many will be.
    pub(crate) fn new(options: C::Options, most: u32) -> Self {
        let room = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        Self(Arc::new(Shared { options, most, room, idle: Mutex::default() }))
    }

    /// Waits for one.
    pub(crate) async fn take(&self) -> Result<Reader<C>, Error> {
        let room = match Arc::clone(&self.0.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                let waited = timeout(PATIENCE, Arc::clone(&self.0.room).acquire_owned()).await;
                waited.map_err(|_| Error::PoolTimedOut)?.map_err(|_| Error::PoolClosed)?
            }
        };
        let open = match self.living().await {
            Some(open) => open,
            None => {
                let connected = timeout(CONNECT, self.0.options.connect()).await;
                let connection = connected.map_err(|_| Error::PoolTimedOut)??;
                Open { connection, opened: Instant::now(), used: Instant::now() }
            }
        };
        let home = Arc::clone(&self.0);
        Ok(Reader { inner: Some(Taken { open, home, _room: room }), asked: false })
    }

    /// One that was used before and can be used again.
    async fn living(&self) -> Option<Open<C>> {
        loop {
            let mut open = self.0.idle().pop()?;
            if open.used.elapsed() < RESTED || open.lives().await {
                return Some(open);
            }
        }
    }

    /// Waits until none is in use, and closes them.
    pub(crate) async fn close(&self) {
        let all = self.0.room.acquire_many(self.0.most).await;
        self.0.room.close();
        drop(all);
        let idle = std::mem::take(&mut *self.0.idle());
        for open in idle {
            let _ = open.connection.close().await;
        }
    }
}

impl<C: Connection + 'static> Shared<C> {
    fn idle(&self) -> MutexGuard<'_, Vec<Open<C>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for whoever reads next.
    fn keep(&self, mut open: Open<C>) {
        if open.opened.elapsed() > LIFETIME {
            return;
        }
        open.used = Instant::now();
        let mut idle = self.idle();
        let rested = idle.first().is_some_and(|open| open.used.elapsed() > IDLE).then(|| idle.remove(0));
        idle.push(open);
        drop(idle);
        drop(rested);
    }
}

impl<C: Connection + 'static> Open<C> {
    /// Whether it answers, once it is through with whatever it was asked before.
    async fn lives(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }
}

impl<C: Connection + 'static> Reader<C> {
    /// For a question; [`Self::answered`] says when all of the answer was read.
    pub(crate) fn ask(&mut self) -> &mut C {
        self.asked = true;
        match &mut self.inner {
            Some(taken) => &mut taken.open.connection,
            None => unreachable!("it is there until this is dropped"),
        }
    }

    /// Its question was answered: another one may follow.
    pub(crate) fn answered(&mut self) {
        self.asked = false;
    }
}

impl<C: Connection + 'static> Drop for Reader<C> {
    fn drop(&mut self) {
        let Some(taken) = self.inner.take() else { return };
        if !self.asked {
            taken.home.keep(taken.open);
        } else if let Ok(runtime) = Handle::try_current() {
            // Whoever asked has left: until that is through, it counts as in use.
            runtime.spawn(async move {
                let Taken { mut open, home, _room } = taken;
                if open.lives().await {
                    home.keep(open);
                }
            });
        }
    }
}
