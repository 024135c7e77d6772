//! Answers that go on for longer than a moment: they end when their reader loses the right to read (R22, R25, W3).
//!
//! Rights have a generation (`Sessions::rights`), which every change of accounts, sessions, tokens, members, groups and
//! places raises. An open answer looks its reader up anew when it changes, and asks the policy again; what was read
//! before that is not given out after it.

use std::pin::Pin;
use std::time::Duration;

use ::api::error::Code;
use futures_util::{Stream, StreamExt as _, stream};
use master::Error;
use master::session::Caller;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::App;

/// Changes that follow each other are asked about once.
const PAUSE: Duration = Duration::from_millis(100);

/// Asked again at the latest after so long, and when what proved the reader ends.
const LONGEST: Duration = Duration::from_secs(60);

/// Who can't be asked about is asked about again after so long, …
const AGAIN: Duration = Duration::from_secs(1);

/// … and after so long isn't given anything more: it may be that the right is gone (R22).
const BENEFIT_OF_THE_DOUBT: Duration = Duration::from_secs(4);

/// An open answer.
struct Open<S: Stream, F> {
    app: App,
    caller: Caller,
    still: F,
    rights: watch::Receiver<u64>,
    /// The generation that was asked in.
    asked: u64,
    due: Instant,
    /// Since when the reader couldn't be asked about.
    unknown: Option<Instant>,
    stream: Pin<Box<S>>,
    farewell: Option<S::Item>,
    over: bool,
}

/// The stream, as long as `caller` is let in and `still` allows it, asked with the caller as things are then; at most
/// until the master stops. Who isn't allowed any more is given `farewell`, and nothing else.
pub(crate) fn while_allowed<S, F, A>(
    app: &App,
    caller: &Caller,
    still: F,
    farewell: Option<S::Item>,
    stream: S,
) -> impl Stream<Item = S::Item> + Send + use<S, F, A>
where
    S: Stream + Send,
    S::Item: Send,
    F: Fn(Caller) -> A + Send + Sync,
    A: Future<Output = Result<(), Error>> + Send,
{
    let open = Open {
        app: app.clone(),
        caller: caller.clone(),
        still,
        rights: app.master.sessions.rights(),
        asked: caller.as_of(),
        due: next(app, caller),
        unknown: None,
        stream: Box::pin(stream),
        farewell,
        over: false,
    };
    stream::unfold(open, async |mut open| {
        let item = open.next().await?;
        Some((item, open))
    })
}

impl<S, F, A> Open<S, F>
where
    S: Stream + Send,
    S::Item: Send,
    F: Fn(Caller) -> A + Send + Sync,
    A: Future<Output = Result<(), Error>> + Send,
{
    async fn next(&mut self) -> Option<S::Item> {
        let stopping = self.app.master.stopping();
        while !self.over {
            let item = tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                item = self.stream.next() => Some(item?),
                () = news(&mut self.rights, self.asked, self.due) => None,
            };
            // Also after something was read: it may have been read after the right was lost.
            if self.is_due() && !self.is_allowed().await {
                self.over = true;
                return self.farewell.take();
            }
            if item.is_some() {
                return item;
            }
        }
        None
    }

    fn is_due(&self) -> bool {
        *self.rights.borrow() != self.asked || Instant::now() >= self.due
    }

    /// Asks. Who can't be asked about at the moment may go on, for a moment.
    async fn is_allowed(&mut self) -> bool {
        // Few at once: thousands of streams must not take the database from everybody else.
        let Ok(_turn) = self.app.renewals.acquire().await else { return false };
        self.asked = *self.rights.borrow();
        self.due = next(&self.app, &self.caller);
        let allowed = match self.app.master.sessions.renewed(&self.caller).await {
            Ok(caller) => (self.still)(caller).await,
            Err(error) => Err(error),
        };
        match allowed {
            Ok(()) => {
                self.unknown = None;
                true
            }
            Err(error)
                if matches!(error.code(), Code::Internal | Code::Unavailable | Code::ResourceExhausted) =>
            {
                let now = Instant::now();
                self.due = now + AGAIN;
                now - *self.unknown.get_or_insert(now) < BENEFIT_OF_THE_DOUBT
            }
            Err(_) => false,
        }
    }
}

/// When a reader is asked about again, whatever happens.
fn next(app: &App, caller: &Caller) -> Instant {
    Instant::now() + app.master.sessions.good_for(caller).clamp(AGAIN, LONGEST)
}

/// Waits until it is time to ask again.
async fn news(rights: &mut watch::Receiver<u64>, asked: u64, due: Instant) {
    let changed = async {
        if rights.wait_for(|generation| *generation != asked).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(PAUSE).await;
    };
    let _ = timeout_at(due, changed).await;
}
