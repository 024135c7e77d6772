//! The agent's life: takes its directory, finds its runs again, enrols once, and keeps a connection to the master
//! for as long as it lives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::id::AllocationId;
use link::{Channel, Invitation, Secret};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::dial::Lost;
use crate::enrolment::{self, Found};
use crate::launcher::{Launcher, Outlived};
use crate::machine::Machine;
use crate::runs::Runs;
use crate::{AgentError, Options, connection, key, lost, room, run as runs_on_disk};

/// First and longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A connection that didn't last that long was none: the next tries become slower, whatever the master answered first (S7).
const STEADY: Duration = Duration::from_secs(10);

/// Longest pause after such ones.
const UNSTEADY: Duration = Duration::from_secs(30);

/// Between two tries to remove what couldn't be.
const TIDIES: Duration = Duration::from_secs(10 * 60);

/// What runs need at most to pass on what the master said last.
const OBEY: Duration = Duration::from_secs(1);

/// Runs an agent until `shutdown`, or until it can't go on. Tasks go on in either case: they need no agent.
///
/// `registered` says at any time whether the master has the agent registered.
///
/// # Errors
/// What an administrator has to set right. A master that is away isn't among it: the agent tries until it is back.
pub async fn run(
    options: Options,
    registered: watch::Sender<bool>,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let machine = Arc::new(Machine::open(&options).await?);
    let mut belonging = Belonging::find(&machine, options.invitation)?;
    machine.describe().await;
    machine.environment.tidy().await;
    let tasks = machine.data_dir.tasks();
    let mut holders: Vec<Arc<dyn room::Holder>> =
        vec![Arc::new(room::Tasks::new(&machine.launcher, &machine.data_dir))];
    holders.extend(options.beside);
    let room = room::keep(tasks, options.keep_free, holders);
    let _room = AbortOnDropHandle::new(tokio::spawn(room));
    let runs = Runs::new(Arc::clone(&machine));
    let held = runs_on_disk::tidy(&machine.data_dir)
        .map_err(AgentError::io(format!("cannot read {}", machine.data_dir.tasks().display())))?;
    let mut outlived = find_outlived(&machine).await;
    for id in held {
        match outlived.remove(&id) {
            Some(run) => runs.end_outlived(id, run),
            None => runs.adopt(id),
        }
    }
    for (id, run) in outlived {
        runs.end_outlived(id, run);
    }
    let mut reporter = Reporter { machine: &machine, registered, trouble: None, was_up: false };
    let mut pause = PAUSES.0;
    let mut longest;
    let _tidying = AbortOnDropHandle::new(tokio::spawn(keep_tidy(
        Arc::clone(&machine.launcher),
        machine.data_dir.tasks(),
        machine.data_dir.lost(),
    )));
    loop {
        let lost = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            channel = belonging.connect(&runs) => channel,
        };
        let lost = match lost {
            Ok(channel) => {
                reporter.up();
                let since = Instant::now();
                let end = connection::serve(channel, &runs, &shutdown).await;
                reporter.registered.send_replace(false);
                (pause, longest) = after(since.elapsed(), pause);
                match end {
                    Ok(()) => return Ok(()),
                    Err(lost) => lost,
                }
            }
            Err(lost) => {
                // A master that is away is looked for as before.
                (pause, longest) = (pause.min(PAUSES.1), PAUSES.1);
                lost
            }
        };
        match lost {
            Lost::Fatal(error) => return Err(error),
            Lost::Stranger(reason) => {
                // A master that shuts an agent out says before which runs must end: they are told by then.
                tokio::time::sleep(OBEY).await;
                return Err(AgentError::Stranger { agent: machine.name.clone(), reason });
            }
            Lost::Taken(why) if !reporter.was_up => return Err(AgentError::Taken(why)),
            // It was this agent's name first: who took it may leave.
            Lost::Unproved(why) if belonging.is_new() => {
                return Err(AgentError::ForeignMaster { address: machine.master.clone(), why });
            }
            Lost::Taken(why) | Lost::Unproved(why) | Lost::Passing(why) => reporter.down(why),
        }
        // Jitter: a thousand agents must not come back in the same moment.
        let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(jittered) => {}
        }
        pause = (pause * 2).min(longest);
    }
}

/// Tries again, now and then, to remove what couldn't be. It may take its time, and nobody waits for it.
async fn keep_tidy(launcher: Arc<dyn Launcher>, tasks: PathBuf, lost: PathBuf) {
    let mut ticks = tokio::time::interval(TIDIES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (launcher, tasks, lost) = (Arc::clone(&launcher), tasks.clone(), lost.clone());
        let tidy = move || {
            lost::remove_left(launcher.as_ref(), &tasks);
            lost::tidy(launcher.as_ref(), &lost);
        };
        // An error means that the runtime shuts down.
        let _ = tokio::task::spawn_blocking(tidy).await;
    }
}

/// What runs on without a record, by its run (KP2).
async fn find_outlived(machine: &Arc<Machine>) -> BTreeMap<AllocationId, Box<dyn Outlived>> {
    let machine = Arc::clone(machine);
    let find = move || machine.launcher.outlived(machine.data_dir.root());
    tokio::task::spawn_blocking(find).await.unwrap_or_default().into_iter().collect()
}

/// The next pause and the longest one, when a connection lasted that long.
fn after(lasted: Duration, pause: Duration) -> (Duration, Duration) {
    if lasted < STEADY { (pause, UNSTEADY) } else { PAUSES }
}

/// Whose agent this is, or how it gets to belong to somebody.
struct Belonging {
    machine: Arc<Machine>,
    /// Not used yet.
    invitation: Option<Invitation>,
}

impl Belonging {
    fn find(machine: &Arc<Machine>, invitation: Option<Invitation>) -> Result<Self, AgentError> {
        let enrolment = match (enrolment::load(&machine.data_dir, &machine.name)?, &invitation) {
            // An invitation of another master, or of one with another key, is there to be followed.
            (Found::Enrolled(known), Some(invitation)) if known.master != invitation.master => None,
            (Found::Enrolled(known), _) => Some(known),
            (Found::Old, None) => return Err(AgentError::OldEnrolment(machine.name.clone())),
            (Found::Nothing, None) => return Err(AgentError::NotEnrolled),
            (Found::Old | Found::Nothing, Some(_)) => None,
        };
        machine.set_enrolment(enrolment);
        Ok(Self { machine: Arc::clone(machine), invitation })
    }

    fn is_new(&self) -> bool {
        self.machine.enrolment().is_none()
    }

    /// Enrols if need be, connects and registers.
    async fn connect(&mut self, runs: &Runs) -> Result<Channel, Lost> {
        let file = self.machine.data_dir.key_file();
        let Some(enrolment) = self.machine.enrolment() else {
            let key = key::load_or_create(&file).map_err(Lost::Fatal)?;
            return self.enrol(key, runs).await;
        };
        match connection::connect(&self.machine, &enrolment, || runs.given()).await {
            Err(Lost::Stranger(why)) if self.invitation.is_some() => {
                tracing::warn!("the master refused this agent: {why}; it enrols again by its invitation");
                // The old key may be one that is refused for ever.
                let key = key::replace(&file).map_err(Lost::Fatal)?;
                self.machine.set_enrolment(None);
                self.enrol(key, runs).await
            }
            connected => connected,
        }
    }

    async fn enrol(&mut self, key: Secret, runs: &Runs) -> Result<Channel, Lost> {
        let invitation = self.invitation.as_ref().ok_or(Lost::Fatal(AgentError::NotEnrolled))?;
        let enrolment = enrolment::enrol(&self.machine, key, invitation).await?;
        self.invitation = None;
        self.machine.set_enrolment(Some(enrolment.clone()));
        connection::connect(&self.machine, &enrolment, || runs.given()).await
    }
}

/// Says how it stands with the master, once for each change.
struct Reporter<'a> {
    machine: &'a Machine,
    registered: watch::Sender<bool>,
    trouble: Option<String>,
    was_up: bool,
}

impl Reporter<'_> {
    fn up(&mut self) {
        (self.trouble, self.was_up) = (None, true);
        tracing::info!("agent {} is registered with {}", self.machine.name, self.machine.master);
        self.registered.send_replace(true);
    }

    fn down(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!("no connection to {}: {why}; trying until there is one", self.machine.master);
            self.trouble = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S7: a master that takes an agent in and breaks off at once isn't asked 9 634 times in ten minutes.
    #[test]
    fn a04_connections_that_break_off_are_tried_more_and_more_seldom() {
        let (mut pause, mut waited, mut tries) = (PAUSES.0, Duration::ZERO, 0);
        while waited < Duration::from_secs(600) {
            let (next, longest) = after(Duration::from_millis(5), pause);
            waited += next;
            tries += 1;
            pause = (next * 2).min(longest);
        }
        assert!(tries < 40, "{tries}");
        assert_eq!(after(STEADY, pause), PAUSES);
    }
}
