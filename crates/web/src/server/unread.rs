//! What was written and nobody has read, at either end: the kernel holds it, for each connection as much as its buffers
//! take, and autotuning lets those grow to megabytes (A5, A7). Here it has an end for each connection, and for all of
//! them; and so has what this process holds for strangers: what they have said that can't be answered yet, and their
//! connections by themselves (A6). That none is given up before its peer has taken all, or all is forgotten, is for `stream`: what the kernel keeps
//! for nobody would be in no number.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::id::UserId;
use rustix::net::sockopt;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use super::door::Door;
use super::life::{Holder, Life};
use super::limits::STALLED;
use super::registry::Registry;
use super::sealed::Crowd;
use crate::peer::Source;

/// Bytes that the kernel is to take of what is written on one connection. It takes twice as many: 2.5 MB a second to
/// somebody a tenth of a second away.
pub(super) const WRITTEN: usize = 128 << 10;

/// The same of what comes, where half of it is for what goes with it.
const COMES: usize = 256 << 10;

/// Most bytes that all connections together may leave unread.
const MOST: usize = 96 << 20;

/// Most bytes that connections of strangers may cost together (KB5) …
const STRANGERS: usize = 64 << 20;

/// … of which each can cost so much: a head, and a body that strangers may send, seven times, over TLS.
const EACH: usize = 480 << 10;

/// How often that is looked at, while there are enough connections for so much.
const OFTEN: Duration = Duration::from_millis(500);

/// Bounds what is held for connections that come through this door: they have from it what is set here. None of it is
/// worth not serving for.
pub(super) fn bound(door: &Door) {
    let Door::Tcp { listener, .. } = door else { return };
    let _ = sockopt::set_socket_send_buffer_size(listener, WRITTEN);
    let _ = sockopt::set_socket_recv_buffer_size(listener, COMES);
    let _ = sockopt::set_tcp_user_timeout(listener, u32::try_from(STALLED.as_millis()).unwrap_or(u32::MAX));
}

/// Ends strangers' connections that cost too much, for ever.
pub(super) async fn watch_strangers(registry: &Registry, crowd: &Crowd) {
    let mut often = interval(OFTEN);
    loop {
        tokio::select! {
            _ = often.tick() => {}
            () = crowd.due() => {}
        }
        if registry.count().saturating_mul(EACH) >= STRANGERS {
            end_greedy(&registry.lives(), Life::costs, STRANGERS);
        }
        crowd.looked();
    }
}

/// Ends connections that leave too much unread, for ever.
pub(super) async fn watch(registry: &Registry, doors: &[Door]) {
    let port = |door: &Door| match door {
        Door::Tcp { listener, .. } => listener.local_addr().ok().map(|address| address.port()),
        Door::Unix(_) => None,
    };
    let ports: Vec<u16> = doors.iter().filter_map(port).collect();
    let mut often = interval(OFTEN);
    loop {
        often.tick().await;
        if registry.count().saturating_mul(WRITTEN * 2 + COMES) < MOST {
            continue;
        }
        let ports = ports.clone();
        let told = spawn_blocking(move || {
            let told = ports.into_iter().map(neighbour::all_unread);
            Ok::<HashMap<_, _>, std::io::Error>(
                told.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
            )
        });
        match told.await {
            Ok(Ok(held)) => end_greedy(&registry.lives(), unread(&held), MOST),
            Ok(Err(error)) => tracing::debug!(%error, "what is unread isn't known"),
            Err(error) => tracing::debug!(%error, "what is unread isn't known"),
        }
    }
}

/// What a connection leaves unread, in bytes.
fn unread(held: &HashMap<SocketAddr, u32>) -> impl Fn(&Life) -> usize {
    |life| {
        let bytes = life.between().and_then(|(_, other)| held.get(&other)).copied().unwrap_or(0);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Who is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    Account(UserId),
    Network(Source),
}

/// What connections of one hold, in bytes.
#[derive(Default)]
struct Held<'a> {
    sum: usize,
    lives: Vec<(usize, &'a Arc<Life>)>,
}

/// Ends what makes up too much: of whoever has most, the largest, until it is enough. An agent's own channel stays.
fn end_greedy(lives: &[Arc<Life>], held: impl Fn(&Life) -> usize, most: usize) {
    let mut all = 0;
    let mut of: HashMap<Whose, Held<'_>> = HashMap::new();
    for life in lives.iter().filter(|life| !life.end.is_cancelled()) {
        let bytes = held(life);
        let (holder, _, _) = life.seen();
        let whose = match holder {
            Some(Holder::Agent) => continue,
            Some(holder) => holder.account().map(Whose::Account),
            None => Some(Whose::Network(life.source.wider()[0])),
        };
        let Some(whose) = whose.filter(|_| bytes > 0) else { continue };
        all += bytes;
        let entry = of.entry(whose).or_default();
        entry.sum += bytes;
        entry.lives.push((bytes, life));
    }
    of.values_mut().for_each(|held| held.lives.sort_unstable_by_key(|(bytes, _)| *bytes));
    while all > most {
        let Some(held) = of.values_mut().max_by_key(|held| held.sum) else { return };
        let Some((bytes, life)) = held.lives.pop() else { return };
        life.end.cancel();
        held.sum -= bytes;
        all -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::peer::Peer;

    fn life(address: &str, holder: Option<Holder>) -> (Arc<Life>, SocketAddr) {
        let address: SocketAddr = address.parse().expect("an address");
        let local = SocketAddr::from(([10, 0, 0, 1], 80));
        let peer = Peer::Tcp { address, local, encrypted: false };
        let life = Life::new(peer.source(), Instant::now).with(&peer);
        if let Some(holder) = holder {
            life.is_known(holder);
        }
        (Arc::new(life), address)
    }

    #[test]
    fn a05_of_whoever_has_most_unread_the_largest_goes() {
        let alice = Some(Holder::Account { user: UserId(1), admin: false });
        let (one, a) = life("10.0.0.2:1", None);
        let (two, b) = life("10.0.0.3:1", None);
        let (other, c) = life("10.0.1.2:1", None);
        let (hers, d) = life("10.0.0.2:2", alice);
        let (agents, e) = life("10.0.0.2:3", Some(Holder::Agent));
        let lives = [&one, &two, &other, &hers, &agents].map(Arc::clone);
        let held = HashMap::from([(a, 30), (b, 40), (c, 50), (d, 60), (e, 1000)]);
        let gone = || lives.iter().map(|life| life.end.is_cancelled()).collect::<Vec<_>>();
        end_greedy(&lives, unread(&held), 180);
        assert_eq!(gone(), [false; 5]);
        end_greedy(&lives, unread(&held), 140);
        assert_eq!(gone(), [false, true, false, false, false]);
        end_greedy(&lives, unread(&held), 90);
        assert_eq!(gone(), [false, true, false, true, false]);
    }

    /// U5: heads and bodies without their end.
    #[test]
    fn a06_strangers_say_so_much_without_an_answer() {
        let alice = Some(Holder::Account { user: UserId(1), admin: false });
        let (flood, _): (Vec<_>, Vec<_>) = (1..10).map(|n| life(&format!("10.0.0.{n}:1"), None)).unzip();
        let (hers, _) = life("10.0.0.99:1", alice);
        let (other, _) = life("10.0.1.2:1", None);
        flood.iter().for_each(|life| life.heard(30_000));
        hers.heard(1 << 20);
        other.heard(2_000);
        let lives: Vec<_> = flood.iter().chain([&hers, &other]).map(Arc::clone).collect();
        end_greedy(&lives, Life::costs, 680_000);
        assert_eq!(flood.iter().filter(|life| !life.end.is_cancelled()).count(), 3);
        assert!(!hers.end.is_cancelled() && !other.end.is_cancelled());
        flood.iter().for_each(|life| life.answered(false));
        end_greedy(&lives, Life::costs, 70_000);
        assert!(!other.end.is_cancelled(), "what was answered is gone");
    }
}
