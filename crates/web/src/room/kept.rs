//! What is kept for a reader between two steps of a list, where that is more than the place to go on from (A5, MC5): it is
//! paid for as answers are, and gives way when others need the room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use master::Error;
use master::session::Caller;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::App;
use crate::bodies::{Came, Payer};
use crate::server::Holder;

/// A list that is kept as long as this is, unless others need its room. Cheap to clone.
pub(crate) struct Kept<T> {
    list: Arc<Mutex<Option<Arc<[T]>>>>,
    /// How much of it was read, in bytes.
    read: Arc<AtomicU64>,
    _over: Arc<DropGuard>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        let (list, read, over) = (Arc::clone(&self.list), Arc::clone(&self.read), Arc::clone(&self._over));
        Self { list, read, _over: over }
    }
}

impl<T: Clone + Send + Sync + 'static> Kept<T> {
    /// Keeps a list for a caller.
    ///
    /// # Errors
    /// When there is no room, to be tried again.
    pub(crate) fn new(app: &App, caller: &Caller, list: Vec<T>) -> Result<Self, Error> {
        let holder = Holder::Account { user: caller.actor.user, admin: caller.actor.admin };
        let size = u64::try_from(size_of_val(list.as_slice())).unwrap_or(u64::MAX);
        let list = Arc::new(Mutex::new(Some(Arc::from(list))));
        let (read, over) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        if let Some(payer) = Payer::of(holder) {
            let came: Came = {
                let read = Arc::clone(&read);
                Arc::new(move || read.load(Ordering::Relaxed))
            };
            let charge = app.bodies.keep(payer, size, &came)?;
            let (kept, over) = (Arc::clone(&list), over.clone());
            // Whoever reads nothing isn't asked.
            tokio::spawn(async move {
                tokio::select! {
                    () = charge.gone() => *kept.lock().unwrap_or_else(PoisonError::into_inner) = None,
                    () = over.cancelled() => {}
                }
            });
        }
        Ok(Self { list, read, _over: Arc::new(over.drop_guard()) })
    }

    /// At most so many from a place on, and whether there are more behind them.
    ///
    /// # Errors
    /// When it had to give way.
    pub(crate) fn some(&self, from: usize, most: usize) -> Result<(Vec<T>, bool), Error> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gone =
            || Error::TooMany { what: "others needed the room of a list that nobody read", seconds: 10 };
        let list = list.ok_or_else(gone)?;
        let rest = list.get(from..).unwrap_or_default();
        let some = rest.get(..most).unwrap_or(rest);
        self.read.fetch_add(u64::try_from(size_of_val(some)).unwrap_or(0), Ordering::Relaxed);
        Ok((some.to_vec(), some.len() < rest.len()))
    }
}
