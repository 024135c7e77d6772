//! One connection to the master: registering (R28), then messages both ways until it is lost. How the master is
//! reached is in `dial`, when to connect again in `supervise`; what the messages do is the runs'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::agent::{Control, Opening, PROTOCOL, Register, ToAgent, ToMaster, Welcome};
use domain::id::AllocationId;
use domain::time::Timestamp;
use link::{Channel, KEEP_ALIVE, Kind, Receiver, Sender};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::dial::{self, Lost, closed};
use crate::enrolment::Enrolment;
use crate::machine::Machine;
use crate::outbox::{Outbox, Outgoing, outbox};
use crate::run::Command;
use crate::runs::Runs;

/// Without a sign of life the connection is dead.
const DEAD: Duration = Duration::from_secs(30);

/// Connects and registers with the runs in `held`.
pub(crate) async fn connect(
    machine: &Machine,
    enrolment: &Enrolment,
    held: impl FnOnce() -> BTreeMap<AllocationId, String>,
) -> Result<Channel, Lost> {
    let opening = Opening::Control(Control {
        agent: machine.name.clone(),
        instance: machine.instance.as_str().into(),
        protocol: PROTOCOL,
        version: machine.version.as_str().into(),
        now: now(),
    });
    let mut channel = dial::open(machine, &enrolment.key, enrolment.master, &opening).await?;
    let held = held();
    let register = ToMaster::Register(Box::new(Register {
        devices: machine.found.devices.clone(),
        trouble: machine.found.trouble.as_deref().map(Into::into),
        power: machine.power,
        can: machine.can(),
        hostname: machine.hostname.as_str().into(),
        master_url: machine.master.as_str().into(),
        held: held.keys().copied().collect(),
        given: held
            .into_iter()
            .filter(|(_, given)| !given.is_empty())
            .map(|(id, given)| (id, given.into()))
            .collect(),
    }));
    dial::say(&mut channel.sender, &register).await?;
    match dial::answer(&mut channel.receiver).await? {
        ToAgent::Welcome(welcome) => {
            greeted(machine, &welcome);
            Ok(channel)
        }
        _ => Err(dial::unexpected()),
    }
}

/// Says what of this agent's nobody can ask for, when its master is an older one.
fn greeted(machine: &Machine, welcome: &Welcome) {
    let Some(can) = welcome.can else {
        return tracing::debug!("the master is of a version that doesn't say what it can");
    };
    let unused = machine.can().beyond(can);
    if !unused.is_empty() {
        tracing::info!(
            "the master, version {}, doesn't know {unused}: no task can ask for it",
            welcome.version
        );
    }
}

/// By the machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Serves a registered connection until it is lost, or `shutdown` closes it (`Ok`).
pub(crate) async fn serve(
    channel: Channel,
    runs: &Arc<Runs>,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let Channel { mut sender, receiver, .. } = channel;
    let (outbox, outgoing) = outbox();
    runs.connected(&outbox);
    let end = tokio::select! {
        lost = read(receiver, |message| handle(message, runs, &outbox)) => Err(lost),
        lost = write(&mut sender, outgoing) => Err(lost),
        () = shutdown.cancelled() => Ok(()),
    };
    runs.disconnected();
    if end.is_ok() {
        // Politeness: the master sees at once that the agent left and didn't crash.
        let _ = timeout(Duration::from_millis(500), sender.close()).await;
    }
    end
}

async fn read(mut receiver: Receiver, mut handle: impl FnMut(ToAgent) -> Result<(), Lost>) -> Lost {
    loop {
        let frame = match timeout(DEAD, receiver.next()).await {
            Err(_) => return Lost::Passing("the master fell silent".to_owned()),
            Ok(Ok(None)) => return closed(),
            Ok(Err(e)) => return Lost::because(&e),
            Ok(Ok(Some(frame))) => frame,
        };
        if frame.kind != Kind::Message {
            continue;
        }
        match serde_json::from_slice(&frame.body) {
            Ok(message) => {
                if let Err(lost) = handle(message) {
                    return lost;
                }
            }
            // A newer master may say more than this agent understands.
            Err(e) => tracing::warn!("a message of the master isn't understood: {e}"),
        }
    }
}

async fn write(sender: &mut Sender, mut outgoing: Outgoing) -> Lost {
    let mut sign = interval(KEEP_ALIVE);
    sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            _ = sign.tick() => sender.alive().await,
            letter = outgoing.next() => match letter {
                Some(letter) => sender.send(letter.kind, &letter.body).await,
                None => return closed(),
            },
        };
        if let Err(e) = sent {
            return Lost::because(&e);
        }
    }
}

fn handle(message: ToAgent, runs: &Arc<Runs>, outbox: &Outbox) -> Result<(), Lost> {
    match message {
        ToAgent::Start(start) => runs.start(start, outbox),
        ToAgent::Kill { allocation, now } => runs.tell(allocation, Command::Kill { now }),
        ToAgent::Disown { allocation } => runs.tell(allocation, Command::Disown),
        ToAgent::LogsReceived { allocation, offset, kept, full } => {
            runs.tell(allocation, Command::Received { offset, kept, full });
        }
        ToAgent::Forget { allocation } => runs.tell(allocation, Command::Forget),
        ToAgent::Ping { number } => outbox.send(&ToMaster::Pong { number }),
        ToAgent::Welcome(_) => {}
        ToAgent::Unknown => tracing::debug!("the master says what only a newer agent understands"),
        ToAgent::Refused { reason, remedy } => return Err(dial::refused(reason, remedy)),
        ToAgent::Enrolled { .. } => return Err(dial::unexpected()),
    }
    Ok(())
}
