//! A run whose Python is being made: it has a directory and a log, and no shim yet. What there is to say meanwhile this
//! process writes to its log, and the shim goes on where it ends. Which run waits is decided in `environment`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::agent::{Start, ToMaster};
use launch::TaskSpec;
use launch::record::{Source, encode_header};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::LOG_FILE;
use super::disk;
use super::follower::{Abandoned, Follower, State};
use crate::connection::now;
use crate::environment::{self, Archive, Environment, News, Prepared, Wish, equip};

/// How long a task that may not need it waits for a named environment: a module may be on another machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run waits with.
#[derive(Debug)]
pub(super) struct Waiting {
    spec: TaskSpec,
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
    /// Gives a task the Python that is there, or marks its description as one that is still to get it. The second value is to
    /// be held until the shim is up.
    pub(super) async fn with_python(&self, spec: TaskSpec, start: Start) -> (TaskSpec, Option<Prepared>) {
        let environment = Arc::clone(&self.machine.environment);
        if !environment.is_wanted() {
            return (spec, None);
        }
        let context = start.has_context.then(|| disk::incoming_context(&self.machine.data_dir, self.id));
        let looks = Arc::clone(&environment);
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
        let mut spec = TaskSpec { unfinished: wish == Wish::Wait, ..spec };
        if let Some(Prepared { python, shown, .. }) = &prepared {
            equip(&mut spec, python, shown.clone());
        }
        (spec, prepared)
    }

    /// Lets a run whose description isn't finished wait.
    pub(super) fn wait_for_python(&mut self, spec: TaskSpec) -> State {
        if self.machine.environment.takes_long() {
            let text = "this task needs Python: it begins when that is there, with JupyterLab, TensorBoard and determined";
            self.note_in_log(text);
        }
        State::Waiting(Box::new(Waiting { spec, place: Mutex::new(self.machine.environment.wait()) }))
    }

    /// Does what the news of a waiting run mean. Gives its next state, if that is another one.
    pub(super) async fn hear(&mut self, state: &State, news: News) -> Result<Option<State>, Abandoned> {
        let State::Waiting(waiting) = state else { return Ok(None) };
        let prepared = match news {
            News::Line(line) => {
                self.note_in_log(&line);
                return Ok(None);
            }
            News::Failed(why) => return Ok(Some(self.end_without_shim(disk::never_began(why)).await)),
            News::Ready(prepared) => prepared,
        };
        let mut spec = waiting.spec.clone();
        spec.unfinished = false;
        equip(&mut spec, &prepared.python, prepared.shown.clone());
        let (machine, dir) = (Arc::clone(&self.machine), self.dir.clone());
        let finished =
            spawn_blocking(move || machine.reserve.spend(|| launch::finish_spec(&dir, &spec))).await;
        if let Err(e) = finished.map_err(io::Error::from).flatten() {
            let why = format!("the task's description couldn't be written: {e}");
            return Ok(Some(self.end_without_shim(disk::never_began(why)).await));
        }
        let up = self.start_shim().await?;
        // By now the shim has a lock of its own.
        drop(prepared);
        if self.started {
            self.tell(&ToMaster::Started { allocation: self.id });
        }
        Ok(Some(up))
    }

    /// A line of Muster's own in the log of a run that has no shim.
    fn note_in_log(&self, text: &str) {
        if let Err(e) = append(&self.dir, text) {
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
    let len = u32::try_from(line.len()).map_err(io::Error::other)?;
    let micros = u64::try_from(now().0).unwrap_or_default();
    let mut record = encode_header(micros, Source::Agent, len).to_vec();
    record.extend_from_slice(line.as_bytes());
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join(LOG_FILE))?;
    file.write_all(&record)
}
