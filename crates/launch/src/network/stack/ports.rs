//! The machine's source ports, and what tasks leave of them (G5). Who ends a TCP connection first keeps its port for a
//! minute after that (TIME_WAIT), and on the machine that is the task's helper: some 28 000 connections to one address and
//! port one after the other, and nobody on the machine gets another one there. So who begins many waits when the machine
//! has many such ports ([`super::pace`]), and a part of all ports is never a task's.

/// One in so many of the machine's ports: that many may be kept while tasks begin as many connections as they like, and
/// that many are never a task's.
const PART: u32 = 4;

/// The machine's ports at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) lowest: u16,
    pub(super) all: u32,
    /// Connections that have ended and keep theirs; maybe of the same port, to several places.
    pub(super) kept: u32,
}

impl Ports {
    /// From `ip_local_port_range` and `sockstat`.
    pub(super) fn parse(range: &str, sockets: &str) -> Option<Self> {
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

    /// How many tasks may take.
    pub(super) fn of_tasks(self) -> u32 {
        self.all - self.all / PART
    }

    pub(super) fn has_room(self) -> bool {
        self.kept < self.all / PART
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::machine::Machine;
    use super::*;

    const SOCKETS: &str =
        "sockets: used 41\nTCP: inuse 12 orphan 0 tw 1372 alloc 15 mem 244\nUDP: inuse 0 mem 305\n";

    #[test]
    fn a05_what_the_machine_tells_of_its_ports_is_understood() {
        let ports = Ports::parse("32768\t60999\n", SOCKETS).expect("understood");
        assert_eq!(ports, Ports { lowest: 32768, all: 28232, kept: 1372 });
        assert_eq!((ports.first_of_tasks(), ports.of_tasks()), (32768 + 7058, 28232 - 7058));
        assert!(ports.has_room() && !Ports { kept: 7058, ..ports }.has_room());
        for (range, sockets) in [("", SOCKETS), ("9 1", SOCKETS), ("1 9", "TCP: inuse 1"), ("1 9", "")] {
            assert_eq!(Ports::parse(range, sockets), None, "{range:?} {sockets:?}");
        }
        assert!(Machine::open().seen(Duration::ZERO).is_some(), "this machine");
    }
}
