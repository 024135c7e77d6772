//! The state has one owner: a task of its own, to which everybody else sends what is to be done with it. Changes are carried
//! out one after another, each to its end whether or not somebody still waits for it; what others may know of the state is
//! published (`view`) before whoever asked is told that it is done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{mpsc, oneshot};

use super::view::View;
use super::{Scheduler, State};
use crate::Error;

/// A change that is being made.
pub(super) type Making<'s, T> = Pin<Box<dyn Future<Output = T> + Send + 's>>;

/// A change; what it answers tells whoever asked for it.
pub(super) type Change = Box<dyn for<'s> FnOnce(&'s mut State) -> Making<'s, Tell> + Send>;

type Tell = Box<dyn FnOnce() + Send>;

/// Owns the state for as long as somebody can ask for changes.
pub(super) async fn own(mut mail: mpsc::UnboundedReceiver<Change>, view: Arc<View>, mut state: State) {
    while let Some(change) = mail.recv().await {
        let mut making = change(&mut state);
        // One request that comes upon an error in this program must not end all others.
        let made = std::future::poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| making.as_mut().poll(context)));
            polled.map_or(Poll::Ready(None), |poll| poll.map(Some))
        });
        let tell = made.await;
        drop(making);
        view.publish(&mut state);
        match tell {
            Some(tell) => tell(),
            None => tracing::error!("a change of what lives was broken off by an error in this program"),
        }
    }
}

impl Scheduler {
    /// Has a change made, and waits for what comes of it. Never from within another one.
    ///
    /// # Errors
    /// What the change answers, or that it was broken off.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl for<'s> FnOnce(&'s mut State) -> Making<'s, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new(move |state| {
            let making = change(state);
            Box::pin(async move {
                let made = making.await;
                // Who doesn't wait any more isn't told.
                let tell: Tell = Box::new(move || drop(answer.send(made)));
                tell
            })
        });
        let broken = |e| Error::Io { what: "changing what lives", source: std::io::Error::other(e) };
        // The owner is there as long as this is.
        let _ = self.0.mail.send(change);
        let answered = answered.await;
        if answered.is_err() {
            self.doubt();
        }
        answered.map_err(broken)?
    }

    /// The same for what can't fail and only takes a moment.
    pub(super) async fn note<T: Default + Send + 'static>(
        &self,
        note: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> T {
        let noted = self.change(move |state| Box::pin(async move { Ok(note(state)) }));
        noted.await.unwrap_or_default()
    }
}
