//! The machine's source ports, and what a task leaves of them (G5). Who ends a TCP connection first keeps its port for a
//! minute after that (TIME_WAIT), and on the machine that is the task's helper: some 28 000 connections to one address and
//! port one after the other, and nobody on the machine gets another one there. So a task that begins many waits when
//! the machine has many such ports, and a part of all ports is never a task's.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Connections that a task may begin within [`KEPT`], however many ports are used up: as many as it may have at a time.
const FREE: usize = super::MOST_TCP;
/// How long the kernel keeps the port of a connection that has ended.
const KEPT: Duration = Duration::from_secs(60);
/// Least time between two looks at the machine.
const GLANCE: Duration = Duration::from_millis(100);
/// One in so many of the machine's ports: that many may be kept while tasks begin as many connections as they like, and
/// that many are never a task's.
const PART: u32 = 4;
/// Longer than what is read.
const TEXT: usize = 1024;

/// Where the machine tells of its ports. Opened once, so that a task whose helper has many files open is still paced.
#[derive(Debug)]
pub(super) struct Machine {
    range: File,
    sockets: File,
}

/// The machine's ports at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    lowest: u16,
    all: u32,
    /// Connections that have ended and keep theirs; maybe of the same port, to several places.
    kept: u32,
}

impl Machine {
    pub(super) fn open() -> io::Result<Self> {
        let range = File::open("/proc/sys/net/ipv4/ip_local_port_range")?;
        Ok(Self { range, sockets: File::open("/proc/net/sockstat")? })
    }

    pub(super) fn look(&self) -> Option<Ports> {
        Ports::parse(&text(&self.range)?, &text(&self.sockets)?)
    }
}

fn text(file: &File) -> Option<String> {
    let mut text = [0; TEXT];
    let length = file.read_at(&mut text, 0).ok()?;
    String::from_utf8(text[..length].to_vec()).ok()
}

impl Ports {
    fn parse(range: &str, sockets: &str) -> Option<Self> {
        let mut range = range.split_whitespace().map_while(|number| number.parse::<u16>().ok());
        let (lowest, highest) = (range.next()?, range.next()?);
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let kept = tcp.split_whitespace().skip_while(|word| *word != "tw").nth(1)?.parse().ok()?;
        Some(Self { lowest, all: u32::from(highest.checked_sub(lowest)?) + 1, kept })
    }

    /// The first port that tasks may take; those below are for the machine's own programs.
    pub(super) fn first_of_tasks(self) -> u16 {
        let spared = u16::try_from(self.all / PART).unwrap_or(u16::MAX);
        self.lowest.saturating_add(spared)
    }

    fn has_room(self) -> bool {
        self.kept < self.all / PART
    }
}

/// How fast a task begins connections.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the last ones were begun, [`FREE`] at most.
    begun: VecDeque<Instant>,
    /// When the machine was looked at last, and whether it had room.
    looked: Option<(Instant, bool)>,
}

impl Pace {
    /// Whether one more connection may be begun now; if not, later. A machine that can't be looked at has no room.
    pub(super) fn permits(&mut self, now: Instant, look: impl FnOnce() -> Option<Ports>) -> bool {
        let within = |time: Instant, span| now.saturating_duration_since(time) < span;
        let fast = self.begun.len() >= FREE && self.begun.front().is_some_and(|first| within(*first, KEPT));
        if !fast {
            return true;
        }
        match self.looked {
            Some((when, room)) if within(when, GLANCE) => room,
            _ => {
                let room = look().is_some_and(Ports::has_room);
                self.looked = Some((now, room));
                room
            }
        }
    }

    /// One has been begun.
    pub(super) fn note(&mut self, now: Instant) {
        if self.begun.len() >= FREE {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: &str =
        "sockets: used 41\nTCP: inuse 12 orphan 0 tw 1372 alloc 15 mem 244\nUDP: inuse 0 mem 305\n";

    #[test]
    fn a05_what_the_machine_tells_of_its_ports_is_understood() {
        let ports = Ports::parse("32768\t60999\n", SOCKETS).expect("understood");
        assert_eq!(ports, Ports { lowest: 32768, all: 28232, kept: 1372 });
        assert_eq!(ports.first_of_tasks(), 32768 + 7058);
        assert!(ports.has_room() && !Ports { kept: 7058, ..ports }.has_room());
        for (range, sockets) in [("", SOCKETS), ("9 1", SOCKETS), ("1 9", "TCP: inuse 1"), ("1 9", "")] {
            assert_eq!(Ports::parse(range, sockets), None, "{range:?} {sockets:?}");
        }
        assert!(Machine::open().expect("open").look().is_some(), "this machine");
    }

    #[test]
    fn a05_many_connections_in_a_minute_wait_for_the_machines_ports() {
        let ports = |kept| move || Some(Ports { lowest: 1, all: 400, kept });
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut pace = Pace::default();
        for n in 0..FREE as u64 {
            assert!(pace.permits(at(n), ports(400)), "{n}: the first are free");
            pace.note(at(n));
        }
        assert!(!pace.permits(at(1000), ports(100)), "no room");
        assert!(!pace.permits(at(1099), ports(99)), "looked at a moment ago");
        assert!(pace.permits(at(1100), ports(99)), "there is room again");
        pace.note(at(1100));
        assert!(!pace.permits(at(2000), || None), "nobody knows");
        // The second one was begun a minute ago: one more is free, and no other.
        assert!(!pace.permits(at(60_000), ports(400)));
        assert!(pace.permits(at(60_001), ports(400)));
        pace.note(at(60_001));
        assert!(!pace.permits(at(60_001), ports(400)));
        assert!(pace.permits(at(200_000), ports(400)), "it has been quiet");
    }
}
