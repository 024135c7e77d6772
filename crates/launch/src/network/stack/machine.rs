//! What the machine tells of the numbers that all its conversations share: source ports ([`Ports`]) and, where it tracks
//! connections (Docker, ufw, firewalld), the places in the table that it does that with. A conversation keeps its place
//! there for half a minute to three minutes after it has ended, UDP's too, and when none is left nobody on the machine
//! talks to anybody, not even over loopback.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::packet::Protocol;
use super::ports::Ports;

/// Least time between two looks at the machine.
pub(super) const GLANCE: Duration = Duration::from_millis(100);
/// Longer than what is read.
const TEXT: usize = 1024;

/// The table's level is told in so many parts of all its places: …
const LEVELS: u64 = 8;
/// … below this one there is room for anybody, …
const ROOM: u64 = 1;
/// … from this one on, half of all, tasks begin hardly anything new, …
const HALF: u64 = LEVELS / 2;
/// … and from this one on nothing at all.
const NEARLY_FULL: u64 = 6;
/// From [`HALF`] on one in so many may be begun of what may be otherwise: enough to find a name and to fetch something, on
/// a machine that has so many connections of its own.
const HARDLY: u32 = 32;

/// What one account may begin in a minute whether or not there is room: of the machine's ports, each kept for a minute, …
const PORTS_PART: u32 = 8;
/// … and of the places in its table, each kept for up to three minutes.
const PLACES_PART: u32 = 32;
/// What tasks may have at a time of those places.
const OPEN_PART: u32 = 4;

/// Where the machine tells it. Opened once, so that a task whose helper has many files open is still paced.
#[derive(Debug)]
pub(super) struct Machine {
    ports: Option<[File; 2]>,
    table: Option<[File; 2]>,
    looked: Option<(Duration, Option<Seen>)>,
}

/// The machine at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) ports: Ports,
    pub(super) table: Option<Table>,
}

/// The machine's table of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) taken: u32,
    pub(super) all: u32,
}

impl Machine {
    pub(super) fn open() -> Self {
        let ports = files(["/proc/sys/net/ipv4/ip_local_port_range", "/proc/net/sockstat"]).ok();
        Self { ports, table: table().ok(), looked: None }
    }

    /// What it is like now, or was a moment ago; nothing if it doesn't tell.
    pub(super) fn seen(&mut self, now: Duration) -> Option<Seen> {
        match self.looked {
            Some((when, seen)) if now.saturating_sub(when) < GLANCE => seen,
            _ => {
                let seen = self.look();
                self.looked = Some((now, seen));
                seen
            }
        }
    }

    fn look(&mut self) -> Option<Seen> {
        // It may be there from now on: a firewall has been started.
        self.table = self.table.take().or_else(|| table().ok());
        let [range, sockets] = self.ports.as_ref()?;
        let ports = Ports::parse(&text(range)?, &text(sockets)?)?;
        let table = self.table.as_ref().and_then(|[taken, all]| Table::parse(&text(taken)?, &text(all)?));
        Some(Seen { ports, table })
    }
}

fn table() -> io::Result<[File; 2]> {
    files(["/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"])
}

fn files([one, other]: [&str; 2]) -> io::Result<[File; 2]> {
    Ok([File::open(one)?, File::open(other)?])
}

fn text(file: &File) -> Option<String> {
    let mut text = [0; TEXT];
    let length = file.read_at(&mut text, 0).ok()?;
    String::from_utf8(text[..length].to_vec()).ok()
}

impl Table {
    fn parse(taken: &str, all: &str) -> Option<Self> {
        let table = Self { taken: taken.trim().parse().ok()?, all: all.trim().parse().ok()? };
        // Without a limit it is never full.
        (table.all > 0).then_some(table)
    }

    fn level(self) -> u64 {
        u64::from(self.taken) * LEVELS / u64::from(self.all)
    }
}

impl Seen {
    fn level(self) -> u64 {
        self.table.map_or(0, Table::level)
    }

    /// There is so much of everything that nobody need be counted.
    pub(super) fn has_room(self, protocol: Protocol) -> bool {
        self.level() < ROOM && (protocol == Protocol::Udp || self.ports.has_room())
    }

    /// How many conversations all tasks of an account may begin in a minute without that.
    pub(super) fn for_account(self) -> u32 {
        let places = self.table.map_or(u32::MAX, |table| table.all / PLACES_PART);
        (self.ports.all / PORTS_PART).min(places)
    }

    /// What is left of so many when the table is as full as it is.
    pub(super) fn left(self, of: u32) -> u32 {
        match self.level() {
            0..HALF => of,
            HALF..NEARLY_FULL => of / HARDLY,
            _ => 0,
        }
    }

    /// How many conversations all tasks of the machine may have at a time.
    pub(super) fn open(self) -> u32 {
        let places = self.table.map_or(u32::MAX, |table| table.all / OPEN_PART);
        self.ports.of_tasks().min(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_a_table_of_connections_is_left_to_the_machine_in_steps() {
        let ports = Ports { lowest: 32_768, all: 28_232, kept: 0 };
        let at = |taken, all| Seen { ports, table: Table::parse(&format!("{taken}\n"), &format!("{all}\n")) };
        let none = Seen { ports, table: None };
        assert_eq!(at(5, 0), none, "no limit");
        for seen in [none, at(8191, 65_536)] {
            assert!(seen.has_room(Protocol::Udp) && seen.has_room(Protocol::Tcp), "{seen:?}");
        }
        let kept = Seen { ports: Ports { kept: 7058, ..ports }, table: None };
        assert!(kept.has_room(Protocol::Udp) && !kept.has_room(Protocol::Tcp));
        let few = at(8192, 65_536);
        assert!(!few.has_room(Protocol::Udp) && !few.has_room(Protocol::Tcp));
        assert_eq!([none, few, at(0, 262_144)].map(Seen::for_account), [3529, 2048, 3529]);
        assert_eq!([none, few].map(Seen::open), [21_174, 16_384]);
        let left = |taken| at(taken, 65_536).left(2048);
        assert_eq!([0, 32_767, 32_768, 49_151, 49_152, 70_000].map(left), [2048, 2048, 64, 64, 0, 0]);
    }
}
