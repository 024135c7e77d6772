//! The environment of a running agent: made once, however many tasks want it, and what each of them is told meanwhile.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Choice, Maker, NotMade, Python, Shown};

/// Between two lines of progress, at least: what pip says of each package is of little interest.
const PAUSE: Duration = Duration::from_secs(3);
/// Longest line of progress, in characters.
const LONGEST: usize = 200;

/// The Python of an agent's tasks.
#[derive(Debug)]
pub(crate) struct Environment {
    maker: Maker,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked for it, or it failed.
    Unknown,
    /// It ends with the agent.
    Making(
        watch::Receiver<Progress>,
        #[expect(dead_code, reason = "dropped with the rest")] AbortOnDropHandle<()>,
    ),
    /// A named one; a managed one is looked for each time, for it may be removed.
    Named(Python),
}

#[derive(Debug, Clone, Default)]
struct Progress {
    lines: Vec<String>,
    end: Option<Result<Python, String>>,
}

/// What a task gets.
#[derive(Debug)]
pub struct Prepared {
    /// The interpreter.
    pub python: Python,
    /// Of a managed one: what the task is shown.
    pub shown: Option<Shown>,
    /// By this it stays until who sees the task through has a lock of its own.
    pub(crate) _held: Option<File>,
}

impl Prepared {
    /// A named one: nobody removes it.
    #[must_use]
    pub fn named(python: Python) -> Self {
        Self { python, shown: None, _held: None }
    }
}

/// A task's place among those that wait for the environment.
#[derive(Debug)]
pub(crate) struct Waiting {
    environment: Arc<Environment>,
    progress: watch::Receiver<Progress>,
    told: usize,
}

/// What a waiting task is told.
#[derive(Debug)]
pub(crate) enum News {
    /// For its log.
    Line(String),
    /// It goes on.
    Ready(Box<Prepared>),
    /// It can't.
    Failed(String),
}

impl Environment {
    pub(crate) fn new(maker: Maker) -> Arc<Self> {
        Arc::new(Self { maker, state: Mutex::new(State::Unknown) })
    }

    /// Whether tasks have a Python besides the machine's own at all.
    pub(crate) fn is_wanted(&self) -> bool {
        *self.maker.choice() != Choice::Off
    }

    /// Whether it has to be made: a named one is there in a moment, and every task waits for that.
    pub(crate) fn takes_long(&self) -> bool {
        *self.maker.choice() == Choice::Managed
    }

    /// What there is now. Blocks for as long as a file takes.
    pub(crate) fn at_once(&self) -> Option<Prepared> {
        if let State::Named(python) = &*self.state() {
            return Some(Prepared::named(python.clone()));
        }
        if *self.maker.choice() != Choice::Managed {
            return None;
        }
        let found = self.maker.found().unwrap_or_else(|e| {
            tracing::debug!("{e}");
            None
        });
        found.map(|(python, held, shown)| Prepared { python, shown: Some(shown), _held: Some(held) })
    }

    /// Clears away what a crash has left, unless somebody is making something now.
    pub(crate) async fn tidy(&self) {
        let maker = self.maker.clone();
        // An error means that the runtime shuts down.
        if let Ok(Err(e)) = tokio::task::spawn_blocking(move || maker.tidy()).await {
            tracing::warn!("{e}");
        }
    }

    /// Takes a place among those that wait for it; the first one has it made.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        let mut state = self.state();
        let progress = match &*state {
            State::Making(progress, _) => progress.clone(),
            State::Unknown | State::Named(_) => {
                let (tell, progress) = watch::channel(Progress::default());
                // It goes on when nobody waits any more: the next task is glad of it.
                let making = tokio::spawn(make(self.maker.clone(), Arc::downgrade(self), tell));
                *state = State::Making(progress.clone(), AbortOnDropHandle::new(making));
                progress
            }
        };
        drop(state);
        Waiting { environment: Arc::clone(self), progress, told: 0 }
    }

    /// Notes how the making of it went.
    fn made(&self, made: &Result<Python, NotMade>) {
        *self.state() = match made {
            Ok(python) if !self.takes_long() => State::Named(python.clone()),
            _ => State::Unknown,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has it made, and tells those who wait.
async fn make(maker: Maker, of: Weak<Environment>, tell: watch::Sender<Progress>) {
    let (begun, mut last) = (Instant::now(), None::<Instant>);
    let say = |line: &str| {
        let plain = |c: &char| !c.is_control();
        let line: String = line.trim().chars().filter(plain).take(LONGEST).collect();
        let now = Instant::now();
        if line.is_empty() || last.is_some_and(|last| now - last < PAUSE) {
            return;
        }
        last = Some(now);
        tracing::info!("the Python of tasks: {line}");
        tell.send_modify(|progress| progress.lines.push(line));
    };
    let made = maker.make(say).await;
    let took = begun.elapsed().as_secs();
    match &made {
        Ok(python) => tracing::info!("the Python of tasks ({}) is there after {took} s", python.release),
        Err(e) => tracing::warn!("there is no Python for tasks: {e}"),
    }
    // Before anybody hears of it, who then looks for it.
    if let Some(environment) = of.upgrade() {
        environment.made(&made);
    }
    tell.send_modify(|progress| {
        if made.is_ok() && *maker.choice() == Choice::Managed {
            progress.lines.push(format!("there after {took} s"));
        }
        progress.end = Some(made.map_err(|e| e.to_string()));
    });
}

impl Waiting {
    /// What is new. Can be dropped while it waits.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            let now = self.progress.borrow_and_update().clone();
            if let Some(line) = now.lines.get(self.told) {
                self.told += 1;
                return News::Line(format!("the Python of tasks: {line}"));
            }
            match now.end {
                Some(Ok(_)) => return self.end().await,
                Some(Err(why)) => return News::Failed(format!("there is no Python for this task: {why}")),
                None => {}
            }
            if self.progress.changed().await.is_err() {
                return News::Failed("the agent ended before there was a Python for this task".to_owned());
            }
        }
    }

    async fn end(&mut self) -> News {
        let environment = Arc::clone(&self.environment);
        match tokio::task::spawn_blocking(move || environment.at_once()).await {
            Ok(Some(prepared)) => News::Ready(Box::new(prepared)),
            // Somebody has removed it in this moment.
            _ => News::Failed(
                "the Python of tasks was removed while this task began: start it again".to_owned(),
            ),
        }
    }
}
