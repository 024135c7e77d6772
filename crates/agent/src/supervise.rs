//! The agent's life: takes its directory, finds its runs again, enrols once, and keeps a connection to the master
//! for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Lost};
use crate::enrolment::{EnrolError, Enrolment};
use crate::key::Key;
use crate::machine::Machine;
use crate::runs::Runs;
use crate::{AgentError, Options, run as runs_on_disk};

/// First and longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Runs an agent until `shutdown`, or until it can't go on. Tasks go on in either case: their shims need no agent.
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
    let key = Key::load_or_create(&machine.data_dir.key_file())?;
    let mut enrolment = Enrolment::load(&machine.data_dir, &machine.name)?;
    if enrolment.is_none() && options.invitation.is_none() {
        return Err(AgentError::NotEnrolled);
    }
    machine.describe().await;
    let runs = Runs::new(Arc::clone(&machine));
    let held = runs_on_disk::tidy(&machine.data_dir)
        .map_err(AgentError::io(format!("cannot read {}", machine.data_dir.tasks().display())))?;
    for id in held {
        runs.adopt(id);
    }
    let mut reporter = Reporter { machine: &machine, registered, trouble: None };
    let mut pause = PAUSES.0;
    loop {
        let lost = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            socket = establish(&machine, &key, &mut enrolment, options.invitation.as_deref(), &runs) => socket,
        };
        let lost = match lost {
            Ok(socket) => {
                reporter.up();
                pause = PAUSES.0;
                let end = connection::serve(socket, &runs, &shutdown).await;
                reporter.registered.send_replace(false);
                match end {
                    Ok(()) => return Ok(()),
                    Err(lost) => lost,
                }
            }
            Err(lost) => lost,
        };
        match lost {
            Lost::Fatal(error) => return Err(error),
            Lost::Passing(why) => reporter.down(why),
        }
        // Jitter: a thousand agents must not come back in the same moment.
        let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(jittered) => {}
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

async fn establish(
    machine: &Machine,
    key: &Key,
    enrolment: &mut Option<Enrolment>,
    invitation: Option<&str>,
    runs: &Runs,
) -> Result<Socket, Lost> {
    let enrolment = match enrolment {
        Some(enrolment) => enrolment,
        None => {
            let invitation = invitation.ok_or(Lost::Fatal(AgentError::NotEnrolled))?;
            let Machine { http, master, data_dir, name, .. } = machine;
            let new = Enrolment::enrol(http, master, data_dir, key, name, invitation).await;
            enrolment.insert(new.map_err(|e| match e {
                EnrolError::Fatal(error) => Lost::Fatal(error),
                EnrolError::Later(why) => Lost::Passing(why),
            })?)
        }
    };
    connection::connect(machine, key, enrolment, || runs.ids()).await
}

/// Says how it stands with the master, once for each change.
struct Reporter<'a> {
    machine: &'a Machine,
    registered: watch::Sender<bool>,
    trouble: Option<String>,
}

impl Reporter<'_> {
    fn up(&mut self) {
        self.trouble = None;
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
