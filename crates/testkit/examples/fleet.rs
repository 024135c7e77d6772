//! Agents without processes, by the hundred, for the benchmark: `fleet MASTER SLOTS` enrols one by each invitation that
//! stands on a line of its standard input, says `ready` when all are registered, and has whatever it is told to start run
//! until it is told to end it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;

use api::agent::{Register, ToAgent, ToMaster};
use domain::agent::{Device, DeviceKind, Power};
use domain::capability::Capabilities;
use domain::task::Exit;
use domain::time::Timestamp;
use link::{Invitation, Public};
use testkit::agent::{Key, Wire, control};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let master: SocketAddr = args.next().and_then(|arg| arg.parse().ok()).expect("the master's address");
    let slots: u32 = args.next().and_then(|arg| arg.parse().ok()).expect("slots of each");
    let mut agents = Vec::new();
    for (number, line) in std::io::stdin().lines().enumerate() {
        agents.push(enrolled(master, slots, number, &line.expect("invitations")).await);
    }
    let agents: Vec<_> = agents.into_iter().map(|wire| tokio::spawn(serve(wire))).collect();
    writeln!(std::io::stdout(), "ready").expect("somebody listens");
    for agent in agents {
        agent.await.expect("an agent");
    }
}

/// An agent that may be given work.
async fn enrolled(master: SocketAddr, slots: u32, number: usize, invitation: &str) -> Wire {
    let (key, name) = (Key::generate(), format!("fleet{number:03}"));
    key.enrol(master, invitation, &name).await.expect("a welcome");
    let invitation: Invitation = invitation.parse().expect("an invitation");
    let master_key: Public = invitation.master;
    let now = Timestamp(micros_now());
    let opening = control(&name, &format!("{number:032x}"), now);
    let mut wire = Wire::open(master, &key, master_key, &opening).await.expect("the master");
    let device = |id| Device { id, kind: DeviceKind::Cpu, brand: "none".into(), uuid: "".into() };
    let about = Register {
        devices: (0..slots).map(device).collect(),
        trouble: None,
        power: Power::Root,
        can: Capabilities::ALL,
        hostname: name.into(),
        master_url: format!("http://{master}").into(),
        held: Vec::new(),
        given: BTreeMap::new(),
    };
    wire.send(&ToMaster::Register(Box::new(about))).await;
    match wire.receive().await {
        Some(ToAgent::Welcome(_)) => wire,
        other => panic!("in place of a welcome: {other:?}"),
    }
}

/// Microseconds since 1970.
fn micros_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the year 200 000")
}

/// Obeys until the master goes. It may be silent for as long as it likes.
async fn serve(mut wire: Wire) {
    while let Ok(Some(frame)) = wire.0.receiver.next().await {
        let Ok(order) = serde_json::from_slice::<ToAgent>(&frame.body) else { continue };
        match order {
            ToAgent::Ping { number } => wire.send(&ToMaster::Pong { number }).await,
            ToAgent::Start(start) => wire.send(&ToMaster::Started { allocation: start.allocation }).await,
            ToAgent::Kill { allocation, .. } => {
                let exit = Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() };
                wire.send(&ToMaster::Exited { allocation, exit, log_bytes: 0 }).await;
            }
            _ => {}
        }
    }
}
