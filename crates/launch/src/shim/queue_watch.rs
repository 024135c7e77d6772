//! Watches how much of the kernel's memory waits in a task's sockets where no limit counts it (A12): the kernel's answers to
//! questions about the network (netlink), and what it reports of datagrams that were sent (error queues: time stamps,
//! errors). Whoever asks and never reads could fill the machine with them; who is then killed for want of memory is somebody
//! else.
//!
//! The kernel's tables have all sockets of the task's network namespace that have a name, whichever process has them, and on
//! their way from one to another. What TCP and UDP receive is in the memory limit (version 2) or in one of its own
//! (version 1, `cgroup`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::too_much::TooMuch;

/// So many bytes of answers may wait. A socket has room for some 200 KiB, and whoever asks reads.
pub(super) const ANSWERS: u64 = 64 << 20;
/// So much of its memory may wait in a task's datagram sockets, twice of what may be received (`cgroup`), …
const DATAGRAMS_PART: u64 = 32;
/// … and at least so many bytes.
const DATAGRAMS: u64 = 128 << 20;
/// So many sockets of a kind there may be.
pub(super) const SOCKETS: u64 = 4096;

/// So few sockets of all kinds hold little, where each has no more room than machines usually give it.
const FEW: u64 = 16;

/// Between two looks at a task that has few sockets, which costs some 20 to 100 µs of processor time; …
const REST: Duration = Duration::from_millis(250);
/// … at one that has some, of which the tables cost several times that; …
const SOME: Duration = Duration::from_millis(500);
/// … and at one that has more …
const QUICK: Duration = Duration::from_millis(20);
/// … than this part of what it may have.
const LITTLE: u64 = 64;
/// Looking takes at most this part of a processor.
const PART: u32 = 20;

/// How much a task with so much memory may leave in its datagram sockets, in bytes.
fn most_datagrams(memory: Option<u64>) -> u64 {
    memory.map_or(1 << 30, |n| (n / DATAGRAMS_PART).max(DATAGRAMS).min(n))
}

/// How many sockets hold little if each may ask for so much room (`rmem_max`), which the kernel doubles.
fn few(room: u64) -> u64 {
    FEW.min(DATAGRAMS / room.saturating_mul(2).max(1))
}

/// Looks at the network namespace of a task's init until it is too much, or nobody wants to know any more (`ends` has
/// ended). `memory` is the task's limit in bytes.
pub(super) fn watch(init: i32, memory: Option<u64>, ends: &OwnedFd) -> Option<TooMuch> {
    let most = most_datagrams(memory);
    let room =
        std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|n| n.trim().parse().ok());
    let few = few(room.unwrap_or(u64::MAX));
    // Opened each time: an open table keeps the namespace. There is none when the init ends.
    let open = |table: &str| File::open(format!("/proc/{init}/net/{table}")).ok();
    let look =
        |table: &str, bytes: fn(&str) -> u64| open(table).map(|file| count(file, bytes)).unwrap_or_default();
    let mut pause = REST;
    loop {
        let mut fds = [PollFd::new(ends, PollFlags::IN)];
        if poll(&mut fds, Timespec::try_from(pause).ok().as_ref()) != Ok(0) {
            return None;
        }
        if open("sockstat").and_then(sockets).is_some_and(|sockets| sockets < few) {
            pause = REST;
            continue;
        }
        let begun = processor_time();
        let answers = look("netlink", of_netlink);
        let datagrams = look("udp", of_udp).and(look("udp6", of_udp));
        if answers.bytes > ANSWERS {
            return Some(TooMuch::Answers(answers.bytes));
        }
        if datagrams.bytes > most {
            return Some(TooMuch::Datagrams(datagrams.bytes, most));
        }
        if answers.sockets.max(datagrams.sockets) > SOCKETS {
            return Some(TooMuch::Sockets);
        }
        pause = next(answers.and(datagrams), processor_time().saturating_sub(begun));
    }
}

/// What waits in a network namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Waiting {
    bytes: u64,
    sockets: u64,
}

impl Waiting {
    fn and(self, other: Self) -> Self {
        let bytes = self.bytes.saturating_add(other.bytes);
        Self { bytes, sockets: self.sockets.saturating_add(other.sockets) }
    }
}

/// How many sockets there are, with a name or without: the first line of `sockstat`.
fn sockets(table: impl Read) -> Option<u64> {
    let mut line = String::new();
    BufReader::with_capacity(512, table).read_line(&mut line).ok()?;
    line.strip_prefix("sockets: used ")?.trim_end().parse().ok()
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

/// How long to wait after a look that took so much processor time.
fn next(waiting: Waiting, took: Duration) -> Duration {
    let little = waiting.bytes < ANSWERS / LITTLE && waiting.sockets < SOCKETS / LITTLE;
    if little { SOME } else { QUICK }.max(took * PART)
}

/// Of this thread.
fn processor_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_THREAD).map(|used| used.user_time() + used.system_time());
    let microseconds = used.map_or(0, |used| used.num_microseconds());
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
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
        assert_eq!([few(212_992), few(16 << 20), few(256 << 20), few(u64::MAX)], [16, 4, 0, 0]);
        assert!(sockets(File::open("/proc/self/net/sockstat").unwrap()).is_some());
    }

    #[test]
    fn a12_who_has_more_is_looked_at_more_often() {
        let took = Duration::from_micros(50);
        let waiting = |bytes, sockets| Waiting { bytes, sockets };
        assert_eq!(next(waiting(1000, 12), took), SOME);
        assert_eq!(next(waiting(2 << 20, 12), took), QUICK);
        assert_eq!(next(waiting(0, 100), took), QUICK);
        assert_eq!(next(waiting(0, 4000), QUICK), QUICK * PART);
    }
}
