//! Work that goes on to its end, whoever stops waiting for it (B1–B4).
//!
//! A server drops what a vanished client was waiting for wherever it just waits itself: between a commit and what follows
//! from it, too. What changes anything is therefore carried out here, in a task of its own. It is the only mechanism of
//! that kind: `web`'s guard uses it for every request that isn't a plain look, `agent` for every message.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;

tokio::task_local! {
    /// Fires when whoever asked for this work has left.
    static DEPARTED: CancellationToken;
}

/// What `wait` waits for, which has done nothing yet; `None` when whoever asked has left meanwhile. What many may make wait
/// for long without anything to show for it, such as a turn at having a password looked at, waits here: else it would pile
/// up where no limit of connections counts it (A7).
pub(crate) async fn while_there<T>(wait: impl Future<Output = T>) -> Option<T> {
    let Ok(departed) = DEPARTED.try_with(CancellationToken::clone) else { return Some(wait.await) };
    departed.run_until_cancelled(wait).await
}

/// Carries work out. A master waits for all of it when it stops.
#[derive(Debug, Clone, Default)]
pub struct Unbroken(TaskTracker);

impl Unbroken {
    /// Carries `work` out, also when the caller is dropped meanwhile.
    ///
    /// # Errors
    /// When `work` panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        let broken = |e| Error::Io { what: "carrying out a request", source: std::io::Error::other(e) };
        let departed = CancellationToken::new();
        let work = DEPARTED.scope(departed.clone(), work);
        // Until here is waited no more.
        let _asks = departed.drop_guard();
        self.0.spawn(work).await.map_err(broken)
    }

    /// The same, and nobody waits.
    pub(crate) fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        // At the very end of a program there is nothing left to carry it out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.0.spawn_on(work, &runtime);
        }
    }

    /// How much of it isn't over.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.0.len()
    }

    /// Waits for all that was begun.
    pub(crate) async fn finish(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn b01_work_ends_although_nobody_waits_for_it() {
        let unbroken = Unbroken::default();
        let (begun, begins) = oneshot::channel();
        let (go, told) = oneshot::channel::<()>();
        let (done, ends) = oneshot::channel();
        let work = unbroken.run(async move {
            let _ = begun.send(());
            let _ = told.await;
            let _ = done.send(());
        });
        tokio::select! {
            _ = work => unreachable!("it wasn't told to go on"),
            begun = begins => begun.expect("begun"),
        }
        go.send(()).expect("it still waits");
        ends.await.expect("done");
        unbroken.finish().await;
    }

    #[tokio::test]
    async fn a07_waiting_ends_with_whoever_asked() {
        let unbroken = Unbroken::default();
        let (begun, begins) = oneshot::channel();
        let (done, ends) = oneshot::channel();
        let work = unbroken.run(async move {
            let _ = begun.send(());
            let waited = while_there(std::future::pending::<()>()).await;
            let _ = done.send(waited);
        });
        tokio::select! {
            _ = work => unreachable!("it waits"),
            begun = begins => begun.expect("begun"),
        }
        assert_eq!(ends.await.expect("over"), None);
        unbroken.finish().await;
        assert_eq!(unbroken.run(while_there(async { 7 })).await.expect("there"), Some(7));
        assert_eq!(while_there(async { 7 }).await, Some(7), "nobody who could leave");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_one_who_waits() {
        let unbroken = Unbroken::default();
        let work = unbroken.run(async { assert!(std::env::args().count() == usize::MAX, "on purpose") });
        assert!(matches!(work.await, Err(Error::Io { .. })));
    }
}
