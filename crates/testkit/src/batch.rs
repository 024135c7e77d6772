//! A batch system in memory, as a second place where work runs: it has a queue and nodes of its own and decides by itself.
//! It is slow: what it is asked for is done, and answered, a while later. It can be away, with answers lost for what it did.
//! It outlives masters. A job is room for a run on a node, where a launcher comes up and waits for its order; the test says
//! what the processes do. How a master deals with it is in `manager`.

mod manager;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::master::manager::ResourceManager;
use api::agent::Start;
use domain::id::{AgentId, AllocationId};
use domain::log::{Record, Source};
use domain::task::Exit;
use domain::time::Timestamp;
use tokio::sync::watch;

use crate::soon;

/// How long each question, and each answer, is under way.
const SLOW: Duration = Duration::from_millis(10);

/// The batch system.
#[derive(Clone)]
pub struct Batch(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Slots of each node.
    nodes: BTreeMap<AgentId, usize>,
    jobs: BTreeMap<u64, Job>,
    submitted: u64,
    away: bool,
    loses_answers: bool,
    /// How often a process of each run began.
    begun: BTreeMap<AllocationId, usize>,
}

/// A job, by its number there.
#[derive(Debug, Clone, PartialEq)]
struct Job {
    wish: Wish,
    stage: Stage,
    /// It was told to end.
    ending: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    run: AllocationId,
    slots: u32,
    priority: i64,
    /// How many are before it in our own queue.
    ahead: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Queued,
    /// Its launcher is there and has no order.
    Up(AgentId),
    /// It has one and hasn't begun.
    Ordered(AgentId, Order),
    Running(AgentId, Vec<u8>),
    Over(AgentId, Vec<u8>, Exit),
}

/// What a launcher is told to start.
#[derive(Debug, Clone)]
struct Order(Box<Start>);

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.0.token == other.0.token
    }
}

/// Why nothing comes of a question.
#[derive(Debug, PartialEq)]
enum No {
    /// Nobody answers; it may have been done.
    Away,
    /// That can't be.
    Never(String),
}

impl Batch {
    /// One with these nodes.
    #[must_use]
    pub fn new(nodes: &[(&str, usize)]) -> Self {
        let node = |(name, slots): &(&str, usize)| (name.parse().expect("a name"), *slots);
        let state = State { nodes: nodes.iter().map(node).collect(), ..State::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: watch::Sender::new(0) }))
    }

    /// A master's way to it, which knows nothing yet.
    #[must_use]
    pub fn manager(&self) -> Arc<dyn ResourceManager> {
        Arc::new(manager::Manager::new(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something; what can start then starts.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        state.start_what_fits();
        drop(state);
        self.0.changed.send_modify(|changes| *changes += 1);
        changed
    }

    /// Waits for something there.
    async fn until<T>(&self, what: &str, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changes = self.0.changed.subscribe();
        let event = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = found(&mut self.state()) {
                    return found;
                }
                changes.changed().await.expect("it is there");
            }
        };
        soon(what, event).await
    }

    /// A question: it arrives late, and so does what comes back.
    async fn asked<T>(&self, carry_out: impl FnOnce(&mut State) -> Result<T, No>) -> Result<T, No> {
        tokio::time::sleep(SLOW).await;
        let away = |batch: &Self| batch.state().away;
        if away(self) {
            return Err(No::Away);
        }
        let done = self.change(carry_out);
        tokio::time::sleep(SLOW).await;
        let is_lost = self.state().loses_answers && done.is_ok();
        if away(self) || is_lost { Err(No::Away) } else { done }
    }

    async fn list(&self) -> Result<BTreeMap<u64, Job>, No> {
        tokio::time::sleep(SLOW * 2).await;
        let state = self.state();
        if state.away { Err(No::Away) } else { Ok(state.jobs.clone()) }
    }

    async fn submit(&self, wish: Wish) -> Result<(), No> {
        self.asked(|state| {
            let most = state.nodes.values().copied().max().unwrap_or_default();
            if usize::try_from(wish.slots).is_ok_and(|slots| slots > most) {
                return Err(No::Never("Requested node configuration is not available".to_owned()));
            }
            state.submitted += 1;
            state.jobs.insert(state.submitted, Job { wish, stage: Stage::Queued, ending: false });
            Ok(())
        })
        .await
    }

    /// Ends a job: what hasn't begun is gone, what runs is told so.
    async fn cancel(&self, number: u64) -> Result<(), No> {
        self.asked(|state| {
            let Some(job) = state.jobs.get_mut(&number) else { return Ok(()) };
            match &job.stage {
                Stage::Queued | Stage::Up(_) | Stage::Ordered(..) => drop(state.jobs.remove(&number)),
                Stage::Running(..) => job.ending = true,
                Stage::Over(..) => {}
            }
            Ok(())
        })
        .await
    }

    /// Gives a launcher its order; one that has begun takes none any more.
    async fn order(&self, number: u64, start: Start) -> Result<(), No> {
        self.asked(|state| {
            if let Some(job) = state.jobs.get_mut(&number)
                && let Stage::Up(node) | Stage::Ordered(node, _) = &job.stage
            {
                job.stage = Stage::Ordered(node.clone(), Order(Box::new(start)));
            }
            Ok(())
        })
        .await
    }

    async fn forget(&self, number: u64) -> Result<(), No> {
        self.asked(|state| {
            state.jobs.remove(&number);
            Ok(())
        })
        .await
    }
}

/// What a test sees and has happen.
impl Batch {
    /// Nobody can ask it anything, or they can again. What it has goes on.
    pub fn set_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    /// What it is asked for is done and never answered, or answered again.
    pub fn lose_answers(&self, loses: bool) {
        self.change(|state| state.loses_answers = loses);
    }

    /// How many jobs were submitted in all.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.state().submitted
    }

    /// How often a process of a run began.
    #[must_use]
    pub fn begun(&self, run: AllocationId) -> usize {
        self.state().begun.get(&run).copied().unwrap_or_default()
    }

    /// Waits until a run waits there for a node.
    pub async fn queued(&self, run: AllocationId) {
        let is_it = |job: &Job| job.wish.run == run && job.stage == Stage::Queued;
        self.until("a job in the queue", |state| state.jobs.values().any(is_it).then_some(())).await;
    }

    /// Waits until it has so many jobs.
    pub async fn has_jobs(&self, jobs: usize) {
        self.until("that many jobs", |state| (state.jobs.len() == jobs).then_some(())).await;
    }

    /// Waits until a launcher has its order, and has it begin.
    pub async fn begin(&self) -> Start {
        let begin = |state: &mut State| {
            let begins = |job: &&mut Job| matches!(job.stage, Stage::Ordered(..));
            let job = state.jobs.values_mut().find(begins)?;
            let Stage::Ordered(node, Order(start)) = job.stage.clone() else { return None };
            job.stage = Stage::Running(node, Vec::new());
            *state.begun.entry(start.allocation).or_default() += 1;
            Some(*start)
        };
        let start = self.until("an order", begin).await;
        self.change(|_| ());
        start
    }

    /// A run writes.
    pub fn print(&self, run: AllocationId, text: &[u8]) {
        self.change(|state| {
            if let Stage::Running(_, log) = &mut state.of(run).stage {
                Record { at: Timestamp(1), source: Source::Stdout, rank: None, payload: text }.encode(log);
            }
        });
    }

    /// A run ends.
    pub fn end(&self, run: AllocationId, exit: Exit) {
        self.change(|state| {
            let job = state.of(run);
            let Stage::Running(node, log) = job.stage.clone() else { panic!("{job:?} doesn't run") };
            job.stage = Stage::Over(node, log, exit);
        });
    }

    /// Waits until a run that runs is told to end.
    pub async fn told_to_end(&self, run: AllocationId) {
        let is_told = |job: &Job| job.wish.run == run && job.ending;
        self.until("an order to end", |state| state.jobs.values().any(is_told).then_some(())).await;
    }

    /// A run's node burns down.
    pub fn lose(&self, run: AllocationId) {
        self.change(|state| state.jobs.retain(|_, job| job.wish.run != run));
    }
}

impl State {
    fn of(&mut self, run: AllocationId) -> &mut Job {
        let is_it =
            |job: &&mut Job| job.wish.run == run && matches!(job.stage, Stage::Running(..) | Stage::Over(..));
        self.jobs.values_mut().find(is_it).expect("such a job")
    }

    /// In its own order, and the first that doesn't fit holds up the others. Nothing is ever ended for another one.
    fn start_what_fits(&mut self) {
        let mut free = self.nodes.clone();
        for job in self.jobs.values() {
            if let Stage::Up(node) | Stage::Ordered(node, _) | Stage::Running(node, _) = &job.stage
                && let Some(free) = free.get_mut(node)
            {
                *free = free.saturating_sub(job.wish.slots as usize);
            }
        }
        let mut queue: Vec<_> = self.jobs.iter_mut().filter(|(_, job)| job.stage == Stage::Queued).collect();
        queue.sort_by_key(|(number, job)| (job.wish.priority, **number));
        for (_, job) in queue {
            let slots = job.wish.slots as usize;
            let Some((node, free)) = free.iter_mut().find(|(_, free)| **free >= slots) else { return };
            *free -= slots;
            job.stage = Stage::Up(node.clone());
        }
    }
}
