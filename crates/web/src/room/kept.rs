//! What is kept for a reader between two steps of a list, where that is more than the place to go on from (A5, MC5): it is
//! paid for as answers are, and gives way when others need the room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use master::Error;
use master::session::Caller;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::App;
use crate::bodies::{Bodies, Came, Payer};

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
        Self::paid(&app.bodies, Payer::caller(caller), list)
    }

    fn paid(bodies: &Bodies, payer: Option<Payer>, list: Vec<T>) -> Result<Self, Error> {
        let size = u64::try_from(size_of_val(list.as_slice())).unwrap_or(u64::MAX);
        let list = Arc::new(Mutex::new(Some(Arc::from(list))));
        let (read, over) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        if let Some(payer) = payer {
            let came: Came = {
                let read = Arc::clone(&read);
                Arc::new(move || read.load(Ordering::Relaxed))
            };
            let charge = bodies.keep(payer, size, &came)?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::id::UserId;

    use super::*;
    use crate::server::Holder;

    const MIB: usize = 1 << 20;

    fn kept(bodies: &Bodies, account: i64, admin: bool, bytes: usize) -> Result<Kept<u8>, Error> {
        let payer = Payer::of(Holder::Account { user: UserId(account), admin });
        Kept::paid(bodies, payer, vec![7; bytes])
    }

    /// MC5: each connection that read no further had the whole queue.
    #[tokio::test]
    async fn a05_mc5_what_is_kept_is_paid_for_and_gives_way() {
        let bodies = Bodies::new(512 << 20);
        let list = kept(&bodies, 1, false, 8 * MIB).expect("room");
        assert_eq!(list.some(8 * MIB - 2, 5).expect("there"), (vec![7; 2], false));
        assert_eq!(list.some(0, 3).expect("there"), (vec![7; 3], true));
        let second = list.clone();
        let too_many = kept(&bodies, 1, false, 9 * MIB);
        assert!(matches!(too_many, Err(Error::TooMany { .. })), "more than one account's share");
        drop((list, second));
        let all = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                match kept(&bodies, 1, false, 16 * MIB) {
                    Ok(kept) => break kept,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let all = all.await.expect("given back with the last of its readers");
        // Who takes all that there is has others' room, too.
        let mut crowd = vec![all];
        crowd.extend((2..9).filter_map(|account| kept(&bodies, account, false, 16 * MIB).ok()));
        let _first = kept(&bodies, 99, true, 100 * MIB).expect("administrators go first");
        let gone = async {
            while crowd.iter().all(|list| list.some(0, 1).is_ok()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("they had to give way");
        let refused = crowd.iter().find_map(|list| list.some(0, 1).err()).expect("one is gone");
        assert!(matches!(refused, Error::TooMany { .. }), "{refused}");
    }
}
