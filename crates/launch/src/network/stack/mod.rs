//! The network of a task from outside: a TCP/IP stack in a process without rights, between the task's interface and
//! the machine's sockets. The task's packets end here; what they carry goes on over sockets that this process
//! opens in the machine's network, for every destination that isn't the machine itself ([`outside`]).
//!
//! TCP ([`tcp`]) is smoltcp's on the task's side and the kernel's on the other; UDP is carried datagram by
//! datagram. There is no way in: nothing listens.

mod account;
mod device;
mod machine;
mod outside;
mod pace;
mod packet;
mod ports;
mod tcp;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant as Clock};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use smoltcp::time::Instant;

pub(crate) use account::{Account, Place};
use device::Link;
use machine::{Machine, Seen};
use outside::Outside;
use pace::Pace;
use packet::{Flow, Protocol, Unreachable};
use tcp::Connection;

use super::doorbell::Doorbell;
use crate::sys::clock;

/// Conversations of one task at a time, by protocol. Each takes one of the machine's source ports, of which there are
/// some 28 000: those of UDP, which the machine's own programs need to find any name, in all; those of TCP for each
/// address and port that they lead to. What all tasks of an account may have is in [`account`], and what conversations
/// leave behind when they have ended in [`pace`].
const MOST_UDP: usize = 128;
const MOST_TCP: usize = 512;
/// Silence after which a UDP conversation is over. RFC 4787 asks for two minutes of who lets others in, and nobody is let
/// in here: who is silent for longer than this says the first word again.
const UDP_IDLE: Duration = Duration::from_secs(60);
/// Packets that are taken from one side before the other has its turn.
const BURST: usize = 32;
/// A packet can't be longer.
const LONGEST: usize = 65_536;

const TUN: u64 = 0;
const DOORBELL: u64 = 1;

/// All conversations of a task.
struct Stack {
    tun: OwnedFd,
    epoll: OwnedFd,
    outside: Outside,
    machine: Machine,
    /// Whose the task is, if that is known.
    account: Option<Account>,
    pace: Pace,
    talks: HashMap<u64, Talk>,
    tokens: HashMap<Flow, u64>,
    next_token: u64,
    started: Clock,
    swept: Clock,
    /// When the first connection wants to be asked again; maybe earlier, never later.
    due: Option<Instant>,
    buffer: Box<[u8]>,
}

/// One conversation.
struct Talk {
    flow: Flow,
    state: Talking,
}

enum Talking {
    /// The task's opening packet waits for the world.
    Opening {
        outside: OwnedFd,
        packet: Vec<u8>,
    },
    Open(Box<Connection>),
    /// `packet` is what the last datagram began with, for an answer that it can't be delivered.
    Udp {
        outside: OwnedFd,
        packet: Vec<u8>,
        last: Clock,
    },
}

/// Serves the task's interface until something breaks that can't.
///
/// `reach` are addresses that say who the machine is, and that the task may talk to all the same.
pub(super) fn run(
    tun: OwnedFd,
    doorbell: &Doorbell,
    relay: &OwnedFd,
    reach: &[IpAddr],
    account: Option<Account>,
) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64;
    epoll::add(&epoll, &tun, data(TUN), epoll::EventFlags::IN)?;
    epoll::add(&epoll, doorbell, data(DOORBELL), epoll::EventFlags::IN)?;
    let now = Clock::now();
    let mut machine = Machine::open();
    let ports = machine.seen(clock::since_start()).map(|seen| seen.ports);
    let mut stack = Stack {
        tun,
        epoll,
        outside: Outside::open(reach, ports)?,
        machine,
        account,
        pace: Pace::default(),
        talks: HashMap::new(),
        tokens: HashMap::new(),
        next_token: DOORBELL + 1,
        started: now,
        swept: now,
        due: None,
        buffer: vec![0; LONGEST].into(),
    };
    let mut packet = vec![0; LONGEST];
    let mut space = [const { MaybeUninit::uninit() }; 128];
    loop {
        let timeout = stack.timeout();
        let (events, _) = match epoll::wait(&stack.epoll, &mut space[..], timeout.as_ref()) {
            Ok(events) => events,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        for event in events {
            match event.data.u64() {
                TUN => stack.read(&mut packet)?,
                DOORBELL => doorbell.answer(relay),
                token => stack.woken(token, event.flags, &mut packet),
            }
        }
        stack.remind();
    }
}

impl Stack {
    /// The time as smoltcp counts it.
    fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn timeout(&self) -> Option<Timespec> {
        let now = self.now();
        let connection = self
            .due
            .map(|due| Duration::from(if due > now { due - now } else { smoltcp::time::Duration::ZERO }));
        let udp = (!self.talks.is_empty()).then_some(UDP_IDLE);
        let wait = [connection, udp].into_iter().flatten().min()?;
        Timespec::try_from(wait).ok()
    }

    /// Takes packets of the task.
    fn read(&mut self, packet: &mut [u8]) -> io::Result<()> {
        for _ in 0..BURST {
            match rustix::io::read(&self.tun, &mut *packet) {
                Ok(length) => self.take(&packet[..length]),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(packet) = packet::parse(bytes) else { return };
        let flow = packet.flow;
        if let Some(token) = self.tokens.get(&flow).copied() {
            match self.talks.get_mut(&token).map(|talk| &mut talk.state) {
                Some(Talking::Open(_)) => self.drive(token, Some(bytes)),
                Some(Talking::Udp { outside, packet: begin, last }) => {
                    *last = Clock::now();
                    remember(begin, bytes);
                    say(outside, packet.payload);
                }
                // It says again that it wants to open the connection.
                Some(Talking::Opening { .. }) | None => {}
            }
            return;
        }
        if flow.protocol == Protocol::Tcp && !packet.opens {
            return self.reset(&flow, bytes);
        }
        let now = clock::since_start();
        let seen = self.machine.seen(now);
        if !self.pace.permits(flow.protocol, now, seen, self.account.as_ref()) {
            // As if it had been lost on the way. TCP asks again, for two minutes; who uses UDP has to in any case.
            return;
        }
        if !self.makes_room(flow.protocol, now, seen) {
            return self.refuse(&flow, bytes, Unreachable::Route);
        }
        match self.outside.connect(&flow) {
            Ok(outside) => {
                self.pace.note();
                self.begin(flow, outside, bytes, packet.payload);
            }
            Err(why) => self.refuse(&flow, bytes, why),
        }
    }

    /// Whether there may be one more conversation; of UDP's the one that has been silent for longest goes.
    fn makes_room(&mut self, protocol: Protocol, now: Duration, seen: Option<Seen>) -> bool {
        let begun = self.talks.values().filter(|talk| talk.flow.protocol == protocol).count();
        let all = self.talks.len() + 1;
        let share = |account: &mut Account| account.holds(all, now, seen);
        let most = if protocol == Protocol::Tcp { MOST_TCP } else { MOST_UDP };
        let room = begun < most && self.account.as_mut().is_none_or(share);
        room || (protocol == Protocol::Udp && self.forget_idle(Duration::ZERO))
    }

    fn begin(&mut self, flow: Flow, outside: OwnedFd, packet: &[u8], payload: &[u8]) {
        let token = self.next_token;
        self.next_token += 1;
        let mut flags = epoll::EventFlags::IN;
        let state = match flow.protocol {
            Protocol::Tcp => {
                flags |= epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
                Talking::Opening { outside, packet: packet.to_owned() }
            }
            Protocol::Udp => {
                say(&outside, payload);
                let mut begin = vec![];
                remember(&mut begin, packet);
                Talking::Udp { outside, packet: begin, last: Clock::now() }
            }
        };
        let (Talking::Opening { outside, .. } | Talking::Udp { outside, .. }) = &state else { return };
        if epoll::add(&self.epoll, outside, epoll::EventData::new_u64(token), flags).is_ok() {
            self.tokens.insert(flow, token);
            self.talks.insert(token, Talk { flow, state });
        }
    }

    /// The kernel has something for a conversation.
    fn woken(&mut self, token: u64, flags: epoll::EventFlags, buffer: &mut [u8]) {
        let ended = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        let Some(talk) = self.talks.get_mut(&token) else { return };
        match &mut talk.state {
            Talking::Opening { .. } => self.opened(token),
            Talking::Open(connection) => {
                let readable = flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | ended);
                connection.woken(readable, flags.intersects(epoll::EventFlags::OUT | ended));
                self.drive(token, None);
            }
            Talking::Udp { outside, packet, last } => {
                *last = Clock::now();
                for _ in 0..BURST {
                    let answer = match recv(&*outside, &mut *buffer, RecvFlags::DONTWAIT) {
                        Ok((length, _)) => packet::datagram(&talk.flow, &buffer[..length]),
                        Err(Errno::AGAIN) => break,
                        Err(e) => packet::unreachable(packet, outside::why(e)),
                    };
                    if let Some(answer) = answer {
                        device::write(&self.tun, &answer);
                    }
                }
            }
        }
    }

    /// The world has answered to an opening, well or badly.
    fn opened(&mut self, token: u64) {
        let Some(Talk { flow, state: Talking::Opening { outside, packet } }) = self.talks.remove(&token)
        else {
            return;
        };
        if let Err(e) = sockopt::socket_error(&outside).unwrap_or_else(Err) {
            self.tokens.remove(&flow);
            return self.refuse(&flow, &packet, outside::why(e));
        }
        // A hasher begins with random numbers, which is all that a first sequence number asks for.
        let (now, seed) = (self.now(), RandomState::new().build_hasher().finish());
        let mut link = Link { tun: &self.tun, packet: Some(&packet), buffer: &mut self.buffer };
        match Connection::open(outside, flow.outside, seed, now, &mut link) {
            Some(connection) => {
                self.talks.insert(token, Talk { flow, state: Talking::Open(Box::new(connection)) });
                self.drive(token, Some(&packet));
            }
            None => drop(self.tokens.remove(&flow)),
        }
    }

    /// Carries what a connection has to carry, with a packet of the task's or without.
    fn drive(&mut self, token: u64, packet: Option<&[u8]>) {
        let now = self.now();
        let Some(Talk { flow, state: Talking::Open(connection) }) = self.talks.get_mut(&token) else {
            return;
        };
        let mut link = Link { tun: &self.tun, packet, buffer: &mut self.buffer };
        if connection.drive(now, &mut link) {
            self.due = [self.due, connection.due].into_iter().flatten().min();
        } else {
            self.tokens.remove(flow);
            self.talks.remove(&token);
        }
    }

    /// Asks the connections whose time has come, and forgets who has been silent.
    fn remind(&mut self) {
        let now = self.now();
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            let tokens: Vec<u64> = self.talks.keys().copied().collect();
            for token in tokens {
                let Some(Talking::Open(connection)) = self.talks.get(&token).map(|talk| &talk.state) else {
                    continue;
                };
                match connection.due {
                    Some(due) if due <= now => self.drive(token, None),
                    due => self.due = [self.due, due].into_iter().flatten().min(),
                }
            }
        }
        if self.swept.elapsed() > UDP_IDLE / 2 {
            self.swept = Clock::now();
            self.forget_idle(UDP_IDLE);
        }
        if let Some(account) = &mut self.account {
            account.needs(self.talks.len());
        }
    }

    /// Ends UDP conversations that have been silent for so long, the longest silent one when that is no time at all;
    /// whether there was one.
    fn forget_idle(&mut self, silence: Duration) -> bool {
        let silent = self.talks.iter().filter_map(|(token, talk)| match talk.state {
            Talking::Udp { last, .. } if last.elapsed() >= silence => Some((last, *token)),
            _ => None,
        });
        let ended: Vec<u64> = if silence.is_zero() {
            silent.min().map(|(_, token)| token).into_iter().collect()
        } else {
            silent.map(|(_, token)| token).collect()
        };
        for token in &ended {
            if let Some(talk) = self.talks.remove(token) {
                self.tokens.remove(&talk.flow);
            }
        }
        !ended.is_empty()
    }

    /// Says that nobody is there.
    fn refuse(&mut self, flow: &Flow, packet: &[u8], why: Unreachable) {
        if flow.protocol == Protocol::Tcp && why == Unreachable::Port {
            return self.reset(flow, packet);
        }
        if let Some(answer) = packet::unreachable(packet, why) {
            device::write(&self.tun, &answer);
        }
    }

    fn reset(&mut self, flow: &Flow, packet: &[u8]) {
        let now = self.now();
        let mut link = Link { tun: &self.tun, packet: Some(packet), buffer: &mut self.buffer };
        tcp::reset(flow.outside, now, &mut link);
    }
}

/// Sends a datagram. What the kernel doesn't take is lost; what it has to say about it, it says when asked next.
fn say(outside: &OwnedFd, payload: &[u8]) {
    let _ = send(outside, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Keeps as much of a packet as its answer quotes.
fn remember(place: &mut Vec<u8>, packet: &[u8]) {
    place.clear();
    place.extend_from_slice(&packet[..packet.len().min(256)]);
}
