//! Watches how much of the kernel's memory waits in a task's sockets where no limit counts it (A12): the kernel's answers to
//! questions about the network (netlink), what it reports of what was sent (error queues: time stamps, errors), and what
//! came for connections that nobody accepts. Whoever asks and never reads could fill the machine with them; who is then
//! killed for want of memory is somebody else.
//!
//! What TCP and UDP receive is in the memory limit (version 2) or in one of its own (version 1, `cgroup`). So the memory of
//! all sockets of the task's network namespace is added up, and what is above what the limit has of it is nobody's. The
//! kernel tells of those that have an address, whichever process has them, and on their way from one to another (`diag`);
//! of the others it tells how many there are (`hidden`).

mod hidden;
mod tables;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ledger::{Kind, Ledger};
use super::too_much::TooMuch;
use super::watch::Budget;
use crate::cgroup::SocketMemory;
use crate::network::diag::{self, Diag, Sockets};
use hidden::Found;
use tables::{Tables, Waiting};

/// So many bytes of answers may wait. A socket has room for some 200 KiB, and whoever asks reads.
pub(super) const ANSWERS: u64 = 64 << 20;
/// So much of its memory may wait in a task's datagram sockets, twice of what may be received (`cgroup`), …
const DATAGRAMS_PART: u64 = 32;
/// … and at least so many bytes.
const DATAGRAMS: u64 = 128 << 20;
/// So many bytes of all sockets may be in no limit, of a task and of all of an account's. What isn't accepted yet, and
/// errors, are little.
pub(super) const UNPAID: u64 = 256 << 20;
/// So many bytes where there is none for what is received, as in an agent without root.
const UNCOUNTED: u64 = 1 << 30;
/// So many sockets of a kind there may be.
pub(super) const SOCKETS: u64 = 4096;
/// The same for TCP, of which a server has some thousands.
pub(super) const CONNECTIONS: u64 = diag::MOST;

/// So many connections of an account's tasks may be closed and not ended. The machine has some ten or hundred thousand
/// (`tcp_max_orphans`), and beyond a quarter of them resets whatever has waited for long.
const ENDING: u64 = 8192;

/// So few sockets of all kinds hold little, where each has no more room than machines usually give it, …
const FEW: u64 = 16;
/// … and so few of all of an account's tasks, each of which has its part of them, …
const FEW_TOGETHER: u64 = 64;
/// … but not of a task that has no more than the launcher's own and one or two.
const LAUNCHERS: u64 = 6;
/// A datagram that isn't complete has so much, with what the kernel adds.
const DATAGRAM: u64 = 128 << 10;
/// So few sockets that nobody was found to have are no sign of anything, …
const FEW_LOST: u64 = 32;
/// … and more of them only if it is so each of so many times, …
const TRIES: u32 = 5;
/// … so long after each other.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The sockets' memory is looked at when such a part of what may be in no limit may have been added.
const NEWS: u64 = 4;

/// Between two looks at a task that has few sockets, which costs some 20 to 100 µs of processor time; …
const REST: Duration = Duration::from_millis(250);
/// … at one that has some, of which the tables cost several times that; …
const SOME: Duration = Duration::from_millis(500);
/// … and at one that has more …
const QUICK: Duration = Duration::from_millis(20);
/// … than this part of what it may have.
const LITTLE: u64 = 64;

/// … and at one that sends and receives much.
const BUSY: Duration = Duration::from_millis(100);

/// Without that, looks at what is in the sockets take one part of a processor's time in so many.
const ALONE: u32 = 2000;

/// What a watch is about.
pub(super) struct Watched {
    /// The task's init.
    pub(super) init: i32,
    /// The memory limit in bytes.
    pub(super) memory: Option<u64>,
    /// Tells of the sockets' memory.
    pub(super) diag: Option<Diag>,
    /// Tells what of it is in a limit.
    pub(super) paid: Option<SocketMemory>,
    /// Lists the task's processes.
    pub(super) processes: Box<dyn Fn() -> Vec<PathBuf> + Send>,
    /// What looking may cost.
    pub(super) budget: Budget,
    /// What the account's tasks have together.
    pub(super) ledger: Arc<Ledger>,
}

/// How much a task with so much memory may leave in its datagram sockets, in bytes.
fn most_datagrams(memory: Option<u64>) -> u64 {
    memory.map_or(1 << 30, |n| (n / DATAGRAMS_PART).max(DATAGRAMS).min(n))
}

/// How many sockets hold little if each may ask for so much room (`rmem_max`), which the kernel doubles.
fn few(room: u64) -> u64 {
    FEW.min(DATAGRAMS / room.saturating_mul(2).max(1))
}

/// A setting's last number: the largest, where there are several.
fn setting(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?;
    text.split_ascii_whitespace().last()?.parse().ok()
}

/// How many bytes one socket may hold: what it asks for, what it has without asking, what TCP gives it by and by, and a
/// datagram that isn't complete.
fn room() -> u64 {
    let asked = setting("core/rmem_max").unwrap_or(u64::MAX).saturating_mul(2);
    let given = ["core/rmem_default", "ipv4/tcp_rmem"].into_iter().filter_map(setting).max();
    asked.max(given.unwrap_or(0)).saturating_add(DATAGRAM)
}

impl Watched {
    /// Looks at the network namespace of the task's init until it is too much, or nobody wants to know any more (`ends`
    /// has ended).
    pub(super) fn watch(self, ends: &OwnedFd) -> Option<TooMuch> {
        let (tables, room) = (Tables(self.init), room());
        let few_alone = few(setting("core/rmem_max").unwrap_or(u64::MAX));
        let (mut pause, mut before, mut unpaid) = (REST, 0, 0);
        let (mut looked, mut rest) = ((0, Instant::now()), SOME);
        loop {
            let mut fds = [PollFd::new(ends, PollFlags::IN)];
            if poll(&mut fds, Timespec::try_from(pause).ok().as_ref()) != Ok(0) {
                return None;
            }
            // What a task may have unseen is its part of what an account may have.
            let tasks = self.budget.tasks().unwrap_or_else(|| self.ledger.tasks()).max(1);
            let few = few_alone.min((FEW_TOGETHER / tasks).max(LAUNCHERS));
            let share = UNPAID / tasks;
            let Some(sockets) = tables.sockets().filter(|sockets| *sockets >= few) else {
                // That little isn't too much of anything.
                let _ = self.unpaid(0).and_then(|()| self.ending(0));
                (pause, unpaid) = (REST, 0);
                continue;
            };
            let begun = processor_time();
            let answers = self.answers(tables);
            let traffic = tables.traffic();
            let found = answers_are_few(answers).and_then(|()| {
                self.ending(self.closed(tables, sockets))?;
                let counted = counted(tables, sockets, room, share)?;
                // Nearly all that takes memory has been sent or received.
                let news = traffic.is_none_or(|traffic| traffic.saturating_sub(looked.0) >= share / NEWS);
                if !news && looked.1.elapsed() < rest {
                    return Ok(unpaid);
                }
                looked = (traffic.unwrap_or(0), Instant::now());
                let before = processor_time();
                let found = self.look(tables, counted, (room, share), ends);
                rest = processor_time().saturating_sub(before) * ALONE;
                found
            });
            let judged = found.and_then(|unpaid| {
                self.unpaid(unpaid.saturating_add(answers.bytes))?;
                Ok(unpaid)
            });
            unpaid = match judged {
                Ok(unpaid) => unpaid,
                Err(too_much) => return Some(too_much),
            };
            let traffic = traffic.unwrap_or(0);
            let busy = traffic.saturating_sub(before) >= share / NEWS / 4 || unpaid >= share / LITTLE;
            before = traffic;
            let took = processor_time().saturating_sub(begun);
            pause = next(answers, busy).max(took * self.budget.part());
        }
    }

    /// Whether the account's tasks have too many bytes in no limit, and this one the most.
    fn unpaid(&self, has: u64) -> Result<(), TooMuch> {
        let counted = self.paid.as_ref().is_some_and(|paid| has == 0 || paid.bytes().is_some());
        let most = if counted { UNPAID } else { UNCOUNTED };
        self.judge(Kind::Unpaid, has, most)
    }

    /// The same for connections that are closed and not ended.
    fn ending(&self, has: u64) -> Result<(), TooMuch> {
        self.judge(Kind::Ending, has, ENDING)
    }

    fn judge(&self, kind: Kind, has: u64, most: u64) -> Result<(), TooMuch> {
        let all = self.ledger.too_much(kind, has, most);
        all.map_or(Ok(()), |all| Err(TooMuch::OfAccount { kind, has, all, most }))
    }

    /// How many connections of the task's are closed and not ended, where anybody on the machine has too many.
    fn closed(&self, tables: Tables, sockets: u64) -> u64 {
        if sockets <= FEW || tables.machines_ending().is_none_or(|all| all <= ENDING) {
            return 0;
        }
        self.diag.as_ref().and_then(|diag| diag.tcp().ok()).map_or(0, |tcp| tcp.ending)
    }

    /// The kernel's answers that wait.
    fn answers(&self, tables: Tables) -> Waiting {
        let told = self.diag.as_ref().and_then(|diag| diag.netlink().ok());
        told.map_or_else(|| tables.answers(), |told| Waiting { bytes: told.bytes, sockets: told.count })
    }

    /// Adds up the memory of all sockets of the network and returns what of it is in no limit, in bytes.
    fn look(
        &self,
        tables: Tables,
        mut sockets: Counted,
        (room, share): (u64, u64),
        ends: &OwnedFd,
    ) -> Result<u64, TooMuch> {
        let mut lost = u64::MAX;
        for _ in 0..TRIES {
            let (known, unfound, most) = self.add_up(tables, sockets, (room, share))?;
            // Programs make and close sockets meanwhile, of which one or another isn't found: not the same ones again.
            lost = lost.min(unfound.saturating_sub(FEW_LOST));
            let unpaid = known.saturating_add(lost.saturating_mul(room));
            if unpaid <= most {
                return Ok(unpaid);
            }
            if known > most {
                return Err(TooMuch::Unpaid(known, most));
            }
            if poll(&mut [PollFd::new(ends, PollFlags::IN)], Some(&AGAIN)) != Ok(0) {
                return Ok(0);
            }
            sockets = counted(tables, tables.sockets().unwrap_or(0), room, share)?;
        }
        Err(TooMuch::Lost(lost.saturating_add(FEW_LOST)))
    }

    /// What is in no limit, in bytes, how many sockets nobody was found to have, and how much may be in no limit.
    fn add_up(
        &self,
        tables: Tables,
        sockets: Counted,
        (room, share): (u64, u64),
    ) -> Result<(u64, u64, u64), TooMuch> {
        let Counted { hidden, tcp } = sockets;
        let most_datagrams = most_datagrams(self.memory);
        let few_datagrams = |bytes| {
            if bytes > most_datagrams { Err(TooMuch::Datagrams(bytes, most_datagrams)) } else { Ok(()) }
        };
        let paid = || self.paid.as_ref().and_then(SocketMemory::bytes);
        let before = paid();
        // The kernel looks for TCP's in a table of all the machine's, which takes some milliseconds.
        let of_tcp = |diag: &Diag| {
            if tcp.saturating_mul(room) > share / 2 { diag.tcp() } else { Ok(Sockets::default()) }
        };
        let told = self.diag.as_ref().and_then(|diag| Some((diag, of_tcp(diag).ok()?, diag.udp().ok()?)));
        let Some((diag, tcp, udp)) = told else {
            return few_datagrams(tables.datagrams().bytes).map(|()| (0, 0, UNPAID));
        };
        few_datagrams(udp.bytes)?;
        // Where nothing is counted, what is received is in no limit either, and no more than usual of it is.
        let (listed, most) = match before {
            None if tcp.nobodys <= UNPAID => (tcp.bytes.saturating_add(udp.bytes), UNCOUNTED),
            None => (tcp.nobodys, UNPAID),
            Some(_) => (tcp.bytes.saturating_add(udp.bytes), UNPAID),
        };
        let mut found = Found { sockets: hidden, bytes: 0 };
        if hidden.saturating_mul(room) > share {
            let listed = tcp.inodes.into_iter().chain(udp.inodes).collect();
            found = hidden::find(diag.namespace(), (self.processes)(), listed);
        }
        // It changes meanwhile.
        let paid = before.max(paid()).unwrap_or(0);
        let unpaid = listed.saturating_add(found.bytes).saturating_sub(paid);
        Ok((unpaid, hidden.saturating_sub(found.sockets), most))
    }
}

fn answers_are_few(answers: Waiting) -> Result<(), TooMuch> {
    if answers.bytes > ANSWERS {
        return Err(TooMuch::Answers(answers.bytes));
    }
    if answers.sockets > SOCKETS { Err(TooMuch::Sockets) } else { Ok(()) }
}

/// Sockets that are counted and not looked at.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// In no table.
    hidden: u64,
    /// Of TCP, at most.
    tcp: u64,
}

/// Tells sockets apart, where they may hold more than the task's `share` of what is in no limit.
fn counted(tables: Tables, sockets: u64, room: u64, share: u64) -> Result<Counted, TooMuch> {
    if sockets.saturating_mul(room) <= share {
        return Ok(Counted { hidden: 0, tcp: sockets });
    }
    let listed = tables.listed();
    let hidden = sockets.saturating_sub(listed.all);
    if hidden > SOCKETS {
        return Err(TooMuch::Hidden);
    }
    if listed.udp > SOCKETS {
        return Err(TooMuch::Sockets);
    }
    if listed.tcp > CONNECTIONS {
        return Err(TooMuch::Connections);
    }
    Ok(Counted { hidden, tcp: listed.tcp })
}

/// How long to wait after a look.
fn next(answers: Waiting, busy: bool) -> Duration {
    let little = answers.bytes < ANSWERS / LITTLE && answers.sockets < SOCKETS / LITTLE;
    match (little, busy) {
        (true, false) => SOME,
        (true, true) => BUSY,
        (false, _) => QUICK,
    }
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

    #[test]
    fn a12_sockets_that_are_few_hold_little() {
        assert_eq!([few(212_992), few(16 << 20), few(256 << 20), few(u64::MAX)], [16, 4, 0, 0]);
        assert!(room() > 100_000);
    }

    #[test]
    fn a12_who_has_more_is_looked_at_more_often() {
        let waiting = |bytes, sockets| Waiting { bytes, sockets };
        assert_eq!(next(waiting(1000, 12), false), SOME);
        assert_eq!(next(waiting(1000, 12), true), BUSY);
        assert_eq!(next(waiting(2 << 20, 12), false), QUICK);
        assert_eq!(next(waiting(0, 100), true), QUICK);
    }
}
