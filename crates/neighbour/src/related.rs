//! Who else may speak by a process: those that started it, those at the other end of what it was given to speak by, and
//! those of its family that have what it has.
//!
//! A forwarder needn't be one process: `ssh` lets a child hold its connection, `socat` starts a program for each client,
//! `nc` is put behind a pipe. What such forwarders have in common is that one of the related processes holds the way to
//! the stranger.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::FileTypeExt as _;

use crate::doubt::Doubt;
use crate::process::{Look, Process, is_service};
use crate::scan::{End, Open, STDERR};

/// How a process is related.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    /// It started the process's session: whatever else it does, it serves nobody.
    Before,
    /// It started the process, or made its terminal: a shell, tmux, an editor. No words of others come to it by the
    /// network.
    Above,
    /// It is at the other end of a pipe and hears or says what the process does: it must be as much alone.
    Beside,
    /// It talks with the process itself: what else it has pipes to counts, too (`socat EXEC:a EXEC:b`).
    Next,
}

/// Whether none of those that are related to a process could be a stranger's way.
///
/// # Errors
/// Which one could.
pub(crate) fn check(process: Process, look: &Look) -> Result<(), Doubt> {
    for (other, relation) in related(process, look) {
        let doubtful = match relation {
            // A browser is connected to many, and says nothing of theirs.
            _ if other.is_browser() => other.serves(look),
            Relation::Before => other.serves(look),
            Relation::Above => other.is_abroad(look),
            Relation::Beside | Relation::Next => other.is_connected(look),
        };
        if doubtful {
            return Err(Doubt::SpeaksFor(process.0, other.0));
        }
    }
    Ok(())
}

/// All of them. Who came by `sshd` or its like is a person, so what lets people in isn't asked what else it does; and
/// nor is this process.
fn related(process: Process, look: &Look) -> Vec<(Process, Relation)> {
    let above = process.and_above();
    let mut found: BTreeMap<u32, Relation> = BTreeMap::new();
    let mut queue: VecDeque<(Process, Relation)> = who_started(&above, look).into_iter().collect();
    queue.extend(ends(process, look, STDERR));
    queue.extend(family(process, look).into_iter().map(|other| (other, Relation::Beside)));
    queue.extend(at_own_terminals(process, look).into_iter().map(|other| (other, Relation::Beside)));
    queue.extend(talks_with(process, look).map(|other| (other, Relation::Next)));
    while let Some((other, relation)) = queue.pop_front() {
        let passes = other == process
            || other.0 == std::process::id()
            || (above.contains(&other) && other.is_door())
            || found.get(&other.0).is_some_and(|known| *known >= relation);
        if passes {
            continue;
        }
        found.insert(other.0, relation);
        let until = if relation == Relation::Next { u32::MAX } else { STDERR };
        queue.extend(ends(other, look, until));
    }
    found.into_iter().map(|(pid, relation)| (Process(pid), relation)).collect()
}

/// Who started it, and who made the terminal that it was started at, or who started its session where there is none.
fn who_started(above: &[Process], look: &Look) -> Vec<(Process, Relation)> {
    let mut found = Vec::new();
    for (lower, upper) in above.iter().zip(above.iter().skip(1)) {
        if upper.session() == lower.session() {
            found.push((*upper, Relation::Above));
            continue;
        }
        match lower.terminal() {
            Some(terminal) => {
                found.extend(look.scan.makers(terminal).map(|maker| (Process(maker), Relation::Above)));
            }
            None => found.push((*upper, Relation::Before)),
        }
        break;
    }
    found
}

/// Who started it and who else was started by that one, if they have a pipe or socket that it was left with: nobody has
/// closed what he doesn't need. What comes from further above is left open in everything that a desktop or `make` starts.
fn family(process: Process, look: &Look) -> Vec<Process> {
    let Some(parent) = process.parent() else { return Vec::new() };
    let is_from_above = |open: &Open| {
        let grandparent = parent.parent();
        grandparent.is_some_and(|grandparent| look.scan.open(grandparent.0).contains(open))
            || look.is_ours(&open.end)
    };
    let left =
        look.scan.open(process.0).iter().filter(|open| process.is_left(look, open) && !is_from_above(open));
    let both = left.flat_map(|open| {
        let far = match open.end {
            End::Socket(inode) => look.tables.unix(inode).and_then(|unix| unix.peer).map(End::Socket),
            _ => None,
        };
        let carries = matches!(open.end, End::Pipe(_) | End::Socket(_));
        [carries.then(|| open.end.clone()), far].into_iter().flatten()
    });
    let holders = both.flat_map(|end| look.scan.holders(&end)).copied().map(Process);
    holders.filter(|other| *other == parent || other.parent() == Some(parent)).collect()
}

/// Who is at a terminal that the process itself has made.
fn at_own_terminals(process: Process, look: &Look) -> Vec<Process> {
    let made = look.scan.open(process.0).iter().filter(|open| open.end == End::Maker);
    let numbers = made.filter_map(|open| look.scan.made_by(process.0, open.number));
    numbers.flat_map(|number| look.scan.holders(&End::Terminal(number))).copied().map(Process).collect()
}

/// Who says what the process hears and hears what it says: who only reads its output carries nothing in.
fn talks_with(process: Process, look: &Look) -> impl Iterator<Item = Process> {
    let at = |number: u32| {
        let open = look.scan.open(process.0).iter().filter(move |open| open.number == number);
        open.flat_map(|open| ends_of(process, open, look))
            .filter(|(_, relation)| *relation == Relation::Beside)
    };
    let heard: Vec<Process> = at(0).map(|(other, _)| other).collect();
    at(1).map(|(other, _)| other).filter(move |other| heard.contains(other)).collect::<Vec<_>>().into_iter()
}

/// Who is at the other ends of a process's first descriptors.
fn ends(process: Process, look: &Look, until: u32) -> Vec<(Process, Relation)> {
    let open = look.scan.open(process.0).iter().filter(|open| open.number <= until);
    let open = open.filter(|open| !process.is_left(look, open));
    open.flat_map(|open| ends_of(process, open, look)).collect()
}

fn ends_of(process: Process, open: &Open, look: &Look) -> Vec<(Process, Relation)> {
    let beside = |end: &End, fits: &dyn Fn(Process) -> bool| -> Vec<(Process, Relation)> {
        let others = look.scan.holders(end).iter().filter(|holder| **holder != process.0);
        others
            .map(|other| Process(*other))
            .filter(|other| fits(*other))
            .map(|other| (other, Relation::Beside))
            .collect()
    };
    let is_pipe = |open: &Open| match &open.end {
        End::Pipe(_) => true,
        End::File(_) => is_named_pipe(process, open.number),
        _ => false,
    };
    match &open.end {
        end if is_pipe(open) => {
            let (reads, writes) = process.directions(open.number);
            // Who has the same end hears nothing of it: all that a shell starts write to one place.
            beside(end, &|other| {
                let ends = look.scan.open(other.0).iter().filter(|theirs| theirs.end == *end);
                let mut ends = ends.map(|theirs| other.directions(theirs.number));
                ends.any(|(hears, says)| (reads && says) || (writes && hears))
            })
        }
        End::Terminal(_) if open.number > STDERR => Vec::new(),
        End::Terminal(number) => {
            look.scan.makers(*number).map(|maker| (Process(maker), Relation::Above)).collect()
        }
        End::Socket(inode) => match far_end(*inode, open.number, look) {
            Some(far) => beside(&End::Socket(far), &|_| true),
            None => Vec::new(),
        },
        End::Pipe(_) | End::File(_) | End::Maker | End::Interface | End::Strange => Vec::new(),
    }
}

/// The other end of a Unix socket that isn't a service's of the system. Beyond the first descriptors pairs alone count:
/// an editor is a client of many.
fn far_end(inode: u64, number: u32, look: &Look) -> Option<u64> {
    let far = look.tables.unix(inode)?.peer?;
    let name = look.tables.unix(far).and_then(|unix| unix.name.as_deref());
    let counts = match name {
        None => true,
        Some(name) => number <= STDERR && !is_service(name),
    };
    counts.then_some(far)
}

fn is_named_pipe(process: Process, number: u32) -> bool {
    let meta = std::fs::metadata(format!("/proc/{}/fd/{number}", process.0));
    meta.is_ok_and(|meta| meta.file_type().is_fifo())
}
