//! A run whose Python is being made: it has a directory and a log, and isn't started yet. What there is to say meanwhile this
//! process writes to its log, and whoever sees the run through goes on where it ends. Which run waits is decided in `environment`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::agent::{Start, ToMaster};
use domain::capability::{Capabilities, Capability};
use domain::log::{Record, Source};
use domain::task::Fault;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::disk;
use super::follower::{Abandoned, Follower, State};
use crate::connection::now;
use crate::environment::{self, Archive, Environment, News, Prepared, Wish};
use crate::launcher::LOG_FILE;

/// How long a task that may not need it waits for a named environment: a module may be on another machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run waits with.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Locked by who looks for news, and nobody else.
    place: Mutex<environment::Waiting>,
}

/// The news of a run that waits; of others there are none.
pub(super) async fn news(state: &State) -> News {
    match state {
        State::Waiting(waiting) => waiting.place.lock().await.next().await,
        State::Live(_) | State::Ended(_) => std::future::pending().await,
    }
}

impl Follower {
    /// Whether a task waits for its Python, and the one that it gets if it is there: to be held until the task is up.
    pub(super) async fn python_for(&self, start: &Start) -> (bool, Option<Prepared>) {
        let environment = Arc::clone(&self.machine.environment);
        let needs = Capabilities::of(&[Capability::ManagedEnvironment]);
        if !needs.beyond(self.machine.can()).is_empty() {
            return (false, None);
        }
        let context = start.has_context.then(|| disk::incoming_context(&self.machine.data_dir, self.run.id));
        let (looks, start) = (Arc::clone(&environment), start.clone());
        let looked = spawn_blocking(move || {
            let said = Wish::said(&start);
            let prepared = if said == Some(Wish::Nothing) { None } else { looks.at_once() };
            let wish = match &prepared {
                Some(_) => Wish::AtOnce,
                None => said.unwrap_or_else(|| Wish::of(&start, context.map(Archive).as_ref())),
            };
            (wish, prepared)
        });
        // An error means that the runtime shuts down.
        let (wish, mut prepared) = looked.await.unwrap_or((Wish::Nothing, None));
        if wish == Wish::AtOnce && prepared.is_none() && !environment.takes_long() {
            prepared = at_last(environment).await;
        }
        (wish == Wish::Wait, prepared)
    }

    /// Lets a run that isn't complete wait.
    pub(super) fn wait_for_python(&mut self) -> State {
        if self.machine.environment.takes_long() {
            let text = "this task needs Python: it begins when that is there, with JupyterLab, TensorBoard and determined";
            self.note_in_log(text);
        }
        State::Waiting(Box::new(Waiting { place: Mutex::new(self.machine.environment.wait()) }))
    }

    /// Does what the news of a waiting run mean. Gives its next state, if that is another one.
    pub(super) async fn hear(&mut self, state: &State, news: News) -> Result<Option<State>, Abandoned> {
        if !matches!(state, State::Waiting(_)) {
            return Ok(None);
        }
        let prepared = match news {
            News::Line(line) => {
                self.note_in_log(&line);
                return Ok(None);
            }
            News::Failed(why) => {
                return Ok(Some(self.end_unattended(disk::never_began(&why, Fault::Launch)).await));
            }
            News::Ready(prepared) => prepared,
        };
        let (machine, run) = (Arc::clone(&self.machine), self.run.clone());
        if let Err(why) = machine.launcher.complete(&run, &prepared).await {
            return Ok(Some(self.fail(&why).await));
        }
        let up = self.start().await?;
        // By now whoever sees the task through has a lock of their own.
        drop(prepared);
        if self.started {
            self.tell(&ToMaster::Started { allocation: self.run.id });
        }
        Ok(Some(up))
    }

    /// A line of Muster's own in the log of a run that isn't started.
    fn note_in_log(&self, text: &str) {
        if let Err(e) = append(&self.run.dir, text) {
            // There is more than one way to hear of it.
            tracing::warn!("its log can't be written: {e}");
        }
    }
}

/// A named environment that nobody has looked at yet. A task that may not need it goes on without one that isn't there.
async fn at_last(environment: Arc<Environment>) -> Option<Prepared> {
    let mut place = environment.wait();
    let end = async {
        loop {
            match place.next().await {
                News::Ready(prepared) => return Some(*prepared),
                News::Failed(_) => return None,
                News::Line(_) => {}
            }
        }
    };
    timeout(PATIENCE, end).await.ok().flatten()
}

fn append(dir: &Path, text: &str) -> io::Result<()> {
    let line = format!("{text}\n");
    let mut record = Vec::new();
    Record { at: now(), source: Source::Agent, rank: None, payload: line.as_bytes() }.encode(&mut record);
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join(LOG_FILE))?;
    file.write_all(&record)
}
