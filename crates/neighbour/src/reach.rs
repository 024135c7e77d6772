//! Whose words come to a process, and to whom its words go, over however many others: one walk over every channel that
//! `/proc` shows.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::doubt::Doubt;
use crate::process::{Image, Look, Process};
use crate::programs::is_service;
use crate::scan::{End, Open, STDERR, made_by};
use crate::shared::{self, Key, Use};

/// Most processes that one walk comes by.
const MOST: usize = 5_000;

/// Against the words, or with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Who is heard.
    Hears,
    /// Who is spoken to.
    Says,
}

/// One walk.
struct Reach<'a> {
    look: &'a Look,
    way: Way,
    /// Where it begins.
    sources: &'a [Process],
    found: BTreeSet<u32>,
    queue: VecDeque<Process>,
    /// What was followed already: many have the same.
    ends: HashSet<End>,
    files: HashSet<Key>,
    images: HashSet<Image>,
}

/// All that are at the far ends of what some processes have, directly or over others; of what these have themselves,
/// descriptors up to `until` count, and memory only if all do. Not this process, nor who came by a door, nor services.
///
/// # Errors
/// When that can't be told, or is too much.
pub(crate) fn all(sources: &[Process], way: Way, until: u32, look: &Look) -> Result<BTreeSet<u32>, Doubt> {
    let mut reach = Reach::new(sources, way, look);
    for source in sources {
        reach.follow(*source, until)?;
    }
    while let Some(next) = reach.queue.pop_front() {
        reach.follow(next, u32::MAX)?;
        if reach.found.len() > MOST {
            return Err(Doubt::TooMuch(crate::scan::owner(next.0).unwrap_or_default()));
        }
    }
    Ok(reach.found)
}

/// Those that are next to some processes, by descriptors alone.
///
/// # Errors
/// As [`all`].
pub(crate) fn direct(sources: &[Process], way: Way, look: &Look) -> Result<BTreeSet<u32>, Doubt> {
    let mut reach = Reach::new(sources, way, look);
    sources.iter().try_for_each(|source| reach.descriptors(*source, u32::MAX))?;
    Ok(reach.found)
}

impl<'a> Reach<'a> {
    fn new(sources: &'a [Process], way: Way, look: &'a Look) -> Self {
        let (ends, files, images) = (HashSet::new(), HashSet::new(), HashSet::new());
        Self { look, way, sources, found: BTreeSet::new(), queue: VecDeque::new(), ends, files, images }
    }

    /// One step from a process on.
    fn follow(&mut self, process: Process, until: u32) -> Result<(), Doubt> {
        self.descriptors(process, until)?;
        if until == STDERR { Ok(()) } else { self.memory(process) }
    }

    fn descriptors(&mut self, process: Process, until: u32) -> Result<(), Doubt> {
        let look = self.look;
        for open in look.scan.open(process.0).iter().filter(|open| open.number <= until) {
            match open.end {
                End::Pipe(_) => self.pipe(process, open),
                End::Socket(inode) => self.socket(process, inode)?,
                End::Terminal(number) if self.ends.insert(open.end.clone()) => {
                    look.scan.makers(number).iter().for_each(|maker| self.add(process, *maker, true));
                }
                // What a terminal's maker shows isn't said elsewhere.
                End::Maker if !process.is_terminal() => {
                    let made = made_by(process.0, open.number).map(End::Terminal);
                    let at = made.map_or(&[][..], |terminal| look.scan.holders(&terminal));
                    at.iter().for_each(|other| self.add(process, *other, false));
                }
                End::Maker | End::Terminal(_) | End::File | End::Interface | End::Strange => {}
            }
        }
        let files = shared::files(process, &look.scan, until).into_iter();
        files
            .filter(|(_, used)| !used.nameless || !process.is_terminal())
            .try_for_each(|(key, used)| self.file(key, used))
    }

    /// Who has the other end of a pipe. Who has the same one hears nothing of it: all that a shell starts write to one
    /// place.
    fn pipe(&mut self, process: Process, open: &Open) {
        let look = self.look;
        if look.is_ours(&open.end)
            || !self.fits(process.directions(open.number))
            || self.ends.contains(&open.end)
            || process.is_jobserver(open.number)
        {
            return;
        }
        self.ends.insert(open.end.clone());
        for other in look.scan.holders(&open.end).iter().copied().filter(|other| *other != process.0) {
            let mut theirs = look.scan.open(other).iter().filter(|theirs| theirs.end == open.end);
            if theirs.any(|theirs| self.answers(Process(other).directions(theirs.number))) {
                self.add(process, other, false);
            }
        }
    }

    fn socket(&mut self, process: Process, inode: u64) -> Result<(), Doubt> {
        let look = self.look;
        let name = |inode| look.tables.unix(inode).and_then(|unix| unix.name.as_deref());
        let is_services = |inode| name(inode).is_some_and(is_service);
        if look.is_ours(&End::Socket(inode)) || is_services(inode) || !self.ends.insert(End::Socket(inode)) {
            return Ok(());
        }
        for far in look.tables.far_ends(inode).filter(|far| !is_services(*far)) {
            match look.scan.holders(&End::Socket(far)) {
                // It is on its way to somebody, or with somebody who can't be looked into.
                [] => return Err(Doubt::Unexplained(process.0)),
                holders => holders.iter().for_each(|other| self.add(process, *other, false)),
            }
        }
        Ok(())
    }

    /// Who has the same memory: by its beginning, or by asking for it.
    fn memory(&mut self, process: Process) -> Result<(), Doubt> {
        let look = self.look;
        if let Some(image) = process.image().filter(|image| self.images.insert(*image)) {
            for other in look.shared.family(&image, &look.scan) {
                self.add(process, *other, false);
            }
        }
        // What emulators of terminals share is what they draw.
        if process.is_terminal() {
            return Ok(());
        }
        shared::memory(process)?.into_iter().try_for_each(|(key, used)| self.file(key, used))
    }

    /// Who has that file, too. Most are shared by nobody.
    fn file(&mut self, key: Key, used: Use) -> Result<(), Doubt> {
        if !self.fits((used.reads, used.writes)) || !self.files.insert(key) {
            return Ok(());
        }
        let look = self.look;
        // How they use it isn't known.
        for other in look.scan.left_out(key).filter(|other| *other != used.process.0) {
            self.add(used.process, other, false);
        }
        let mappers = if used.nameless { look.shared.mappers(key, &look.scan) } else { &[] };
        for other in look.shared.users(key, &look.scan).iter().chain(mappers) {
            if other.process != used.process && self.answers((other.reads, other.writes)) {
                self.add(used.process, other.process.0, false);
            }
        }
        Ok(())
    }

    /// Whether words come by what can be read and written so, or go.
    fn fits(&self, (reads, writes): (bool, bool)) -> bool {
        match self.way {
            Way::Hears => reads,
            Way::Says => writes,
        }
    }

    fn answers(&self, (reads, writes): (bool, bool)) -> bool {
        self.fits((writes, reads))
    }

    /// Somebody at the far end, as the maker of a terminal or otherwise. Who came by `sshd` or its like is a person; a
    /// browser is connected to many, and says nothing of theirs.
    fn add(&mut self, from: Process, other: u32, as_maker: bool) {
        let process = Process(other);
        if other == std::process::id() || self.sources.contains(&process) || self.found.contains(&other) {
            return;
        }
        let by_door = || process.is_door() && (as_maker || from.and_above().contains(&process));
        if by_door() || process.is_service(self.look) {
            return;
        }
        self.found.insert(other);
        if !process.is_browser() {
            self.queue.push_back(process);
        }
    }
}
