//! What the kernel's tables tell of a network namespace, cheaply: how many sockets there are, what waits for readers, and
//! how much has been sent and received.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use super::SOCKETS;

/// What a packet takes besides what it carries, at most, in bytes.
const PACKET: u64 = 2304;
/// A table of counters has no more, in bytes.
const TABLE: u64 = 64 << 10;

/// What waits in a network namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) bytes: u64,
    pub(super) sockets: u64,
}

impl Waiting {
    pub(super) fn and(self, other: Self) -> Self {
        let bytes = self.bytes.saturating_add(other.bytes);
        Self { bytes, sockets: self.sockets.saturating_add(other.sockets) }
    }
}

/// Sockets that are in tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) all: u64,
    pub(super) tcp: u64,
    pub(super) udp: u64,
}

/// The tables of the network namespace of a process, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables(pub(super) i32);

impl Tables {
    /// Opened each time: an open table keeps the namespace. There is none when the process has ended.
    fn open(self, table: &str) -> Option<File> {
        File::open(format!("/proc/{}/net/{table}", self.0)).ok()
    }

    /// How many sockets there are, with a name or without.
    pub(super) fn sockets(self) -> Option<u64> {
        self.open("sockstat").and_then(sockets)
    }

    /// How many TCP connections of the whole machine are closed and not ended.
    pub(super) fn machines_ending(self) -> Option<u64> {
        self.open("sockstat").and_then(ending)
    }

    /// How many of these are in tables.
    pub(super) fn listed(self) -> Listed {
        self.open("protocols").map(listed).unwrap_or_default()
    }

    /// The kernel's answers that wait.
    pub(super) fn answers(self) -> Waiting {
        self.open("netlink").map(|table| count(table, of_netlink)).unwrap_or_default()
    }

    /// What waits in UDP sockets.
    pub(super) fn datagrams(self) -> Waiting {
        let look = |table| self.open(table).map(|table| count(table, of_udp)).unwrap_or_default();
        look("udp").and(look("udp6"))
    }

    /// A number that has grown by what sockets may have got since it was read before, in bytes; nothing if the kernel
    /// doesn't count.
    pub(super) fn traffic(self) -> Option<u64> {
        let bytes = traffic_v4(self.open("netstat")?, "IpExt:")?;
        let packets = traffic_v4(self.open("snmp")?, "Ip:")?;
        let v6 = self.open("snmp6").map_or(0, traffic_v6);
        Some(bytes.saturating_add(packets).saturating_add(v6))
    }
}

/// The first line of `sockstat`.
fn sockets(table: impl Read) -> Option<u64> {
    let mut line = String::new();
    BufReader::with_capacity(512, table).read_line(&mut line).ok()?;
    line.strip_prefix("sockets: used ")?.trim_end().parse().ok()
}

/// In the second line of `sockstat`.
fn ending(table: impl Read) -> Option<u64> {
    let line = BufReader::with_capacity(512, table).lines().nth(1)?.ok()?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "orphan")?;
    words.next()?.parse().ok()
}

/// The first and the third column of `protocols`.
fn listed(table: impl Read) -> Listed {
    let mut listed = Listed::default();
    for line in BufReader::new(table.take(TABLE)).lines().skip(1).map_while(Result::ok) {
        let mut fields = line.split_ascii_whitespace();
        let (protocol, sockets) = (fields.next(), fields.nth(1).and_then(|n| n.parse::<u64>().ok()));
        let sockets = sockets.unwrap_or(0);
        listed.all += sockets;
        match protocol {
            Some("TCP" | "TCPv6") => listed.tcp += sockets,
            Some("UDP" | "UDPv6") => listed.udp += sockets,
            _ => {}
        }
    }
    listed
}

/// Reads one of the kernel's tables, as far as there is need to.
fn count(table: impl Read, bytes: fn(&str) -> u64) -> Waiting {
    let mut waiting = Waiting::default();
    // A line has some 100 or 170 bytes.
    for line in BufReader::new(table.take(SOCKETS * 400)).lines().skip(1).map_while(Result::ok) {
        waiting = waiting.and(Waiting { bytes: bytes(&line), sockets: 1 });
        if waiting.sockets > SOCKETS {
            break;
        }
    }
    waiting
}

/// Bytes in both directions: sk, protocol, port, groups, received, sent.
fn of_netlink(line: &str) -> u64 {
    let fields = line.split_ascii_whitespace().skip(4).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The same: number, two addresses, state, sent:received.
fn of_udp(line: &str) -> u64 {
    let field = line.split_ascii_whitespace().nth(4).unwrap_or_default();
    field.split(':').filter_map(|bytes| u64::from_str_radix(bytes, 16).ok()).sum()
}

/// Of two lines with the same beginning, names and numbers.
fn traffic_v4(table: impl Read, begins: &str) -> Option<u64> {
    let mut lines = BufReader::new(table.take(TABLE)).lines().map_while(Result::ok);
    let names = lines.find(|line| line.starts_with(begins))?;
    let numbers = lines.next()?;
    let both = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
    Some(both.map(|(name, number)| taken(name, number)).fold(0, u64::saturating_add))
}

/// A name and a number on each line.
fn traffic_v6(table: impl Read) -> u64 {
    let lines = BufReader::new(table.take(TABLE)).lines().map_while(Result::ok);
    let each = lines.filter_map(|line| line.split_once(char::is_whitespace).map(|(n, v)| taken(n, v)));
    each.fold(0, u64::saturating_add)
}

/// What a counter says of the memory that was taken. Each packet of loopback is received, too.
fn taken(name: &str, number: &str) -> u64 {
    let number = number.trim().parse().unwrap_or(0_u64);
    match name {
        "OutOctets" | "InOctets" | "Ip6OutOctets" | "Ip6InOctets" => number,
        "OutRequests" | "InReceives" | "Ip6OutRequests" | "Ip6InReceives" => number.saturating_mul(PACKET),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";

    fn line(received: u64, sent: u64) -> String {
        format!(
            "00000000a6b0a89e 0   3070149124 00000000 {received:<8} {sent:<8} 0     2        0        5489    \n"
        )
    }

    #[test]
    fn a12_what_waits_in_both_directions_counts() {
        let table = [HEAD.to_owned(), line(700, 0), line(u64::from(u32::MAX), 20)].concat();
        assert_eq!(
            count(table.as_bytes(), of_netlink),
            Waiting { bytes: u64::from(u32::MAX) + 720, sockets: 2 }
        );
        assert_eq!(count(&b""[..], of_netlink), Waiting::default());
        let many = HEAD.to_owned() + &line(0, 0).repeat(10_000);
        assert_eq!(count(many.as_bytes(), of_netlink).sockets, SOCKETS + 1);
        // The kernel's own table is like that.
        let own = count(File::open("/proc/self/net/netlink").unwrap(), of_netlink);
        assert!(own.sockets > 0 && own.bytes < 1 << 40, "{own:?}");
        let line = "13442: 00000000:C8FA 00000000:0000 07 00000010:000001FF 00:00000000 00000000     0        0 29457687 2";
        assert_eq!(of_udp(line), 16 + 511);
    }

    #[test]
    fn a12_sockets_are_counted_cheaply() {
        assert_eq!(sockets(&b"sockets: used 17\nTCP: inuse 1 orphan 0"[..]), Some(17));
        assert_eq!(sockets(&b"TCP: inuse 1\n"[..]), None);
        assert_eq!(ending(&b"sockets: used 17\nTCP: inuse 1 orphan 12 tw 0\n"[..]), Some(12));
        let table =
            "protocol  size sockets  memory\nTCP  2432  3  94\nPING  976  -1  -1\nUNIX  1088  17  -1\n";
        assert_eq!(listed(table.as_bytes()), Listed { all: 20, tcp: 3, udp: 0 });
        let own = Tables(i32::try_from(std::process::id()).unwrap());
        assert!(own.sockets().is_some() && own.machines_ending().is_some());
    }

    #[test]
    fn a12_what_was_sent_and_received_is_seen() {
        let own = Tables(i32::try_from(std::process::id()).unwrap());
        let before = own.traffic().expect("this kernel counts");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[0; 60_000], socket.local_addr().unwrap()).unwrap();
        assert!(own.traffic().unwrap() >= before + 120_000);
        assert_eq!(
            traffic_v6(&b"Ip6InReceives   \t2\nIp6OutOctets  \t100\nIp6InDelivers 7\n"[..]),
            100 + 2 * PACKET
        );
    }
}
