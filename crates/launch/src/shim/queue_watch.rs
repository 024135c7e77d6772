//! Watches how much of the kernel's memory waits in a task's netlink sockets (A12): the kernel's answers to questions about
//! the network, which are in nobody's limit. Whoever asks and never reads could fill the machine with them; who is then
//! killed for want of memory is somebody else.
//!
//! The kernel's table has all sockets of the task's network namespace, whichever process has them, and on their way from
//! one to another. What TCP and UDP keep is in the memory limit (version 2) or in one of its own (version 1, `cgroup`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::too_much::TooMuch;

/// So many bytes may wait. A socket has room for some 200 KiB, and whoever asks reads.
pub(super) const BYTES: u64 = 64 << 20;
/// So many sockets there may be; programs have one, if any.
pub(super) const SOCKETS: u64 = 4096;

/// Between two looks at a task that has little: they cost some 30 µs each.
const REST: Duration = Duration::from_millis(250);
/// Between two looks at one that has more …
const QUICK: Duration = Duration::from_millis(20);
/// … than this part of what it may have.
const LITTLE: u64 = 64;
/// Looking takes at most this part of a processor.
const PART: u32 = 20;

/// Looks at the network namespace of a task's init until it is too much, or nobody wants to know any more (`ends` has
/// ended).
pub(super) fn watch(init: i32, ends: &OwnedFd) -> Option<TooMuch> {
    let table = format!("/proc/{init}/net/netlink");
    let mut pause = REST;
    loop {
        let mut fds = [PollFd::new(ends, PollFlags::IN)];
        if poll(&mut fds, Timespec::try_from(pause).ok().as_ref()) != Ok(0) {
            return None;
        }
        let begun = processor_time();
        // Opened each time: an open table keeps the namespace. There is none when the init ends.
        let waiting = File::open(&table).map(|table| count(BufReader::new(table))).unwrap_or_default();
        if waiting.bytes > BYTES {
            return Some(TooMuch::Answers(waiting.bytes));
        }
        if waiting.sockets > SOCKETS {
            return Some(TooMuch::Askers);
        }
        pause = next(waiting, processor_time().saturating_sub(begun));
    }
}

/// What waits in a network namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Waiting {
    bytes: u64,
    sockets: u64,
}

/// Reads the kernel's table, as far as there is need to.
fn count(table: impl Read) -> Waiting {
    let mut waiting = Waiting::default();
    // A line has some 100 bytes.
    for line in BufReader::new(table.take(SOCKETS * 200)).lines().skip(1).map_while(Result::ok) {
        // In both directions: sk, protocol, port, groups, received, sent.
        let fields = line.split_ascii_whitespace().skip(4).take(2);
        let bytes: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        waiting.bytes = waiting.bytes.saturating_add(bytes);
        waiting.sockets += 1;
        if waiting.sockets > SOCKETS {
            break;
        }
    }
    waiting
}

/// How long to wait after a look that took so much processor time.
fn next(waiting: Waiting, took: Duration) -> Duration {
    let little = waiting.bytes < BYTES / LITTLE && waiting.sockets < SOCKETS / LITTLE;
    if little { REST } else { QUICK }.max(took * PART)
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
        assert_eq!(count(table.as_bytes()), Waiting { bytes: u64::from(u32::MAX) + 720, sockets: 2 });
        assert_eq!(count(&b""[..]), Waiting::default());
        let many = HEAD.to_owned() + &line(0, 0).repeat(10_000);
        assert_eq!(count(many.as_bytes()).sockets, SOCKETS + 1);
        // The kernel's own table is like that.
        let own = count(File::open("/proc/self/net/netlink").unwrap());
        assert!(own.sockets > 0 && own.bytes < 1 << 40, "{own:?}");
    }

    #[test]
    fn a12_who_has_more_is_looked_at_more_often() {
        let took = Duration::from_micros(50);
        let waiting = |bytes, sockets| Waiting { bytes, sockets };
        assert_eq!(next(waiting(1000, 12), took), REST);
        assert_eq!(next(waiting(2 << 20, 12), took), QUICK);
        assert_eq!(next(waiting(0, 100), took), QUICK);
        assert_eq!(next(waiting(0, 4000), QUICK), QUICK * PART);
    }
}
