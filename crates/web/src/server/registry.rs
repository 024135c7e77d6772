//! All connections of a server: who is let in, who has to go for them, who is too slow.
//!
//! Strangers and tasks have three quarters of all places, people who are logged in may have seven eighths: what is left
//! is for administrators and agents (W4, F7). When there are too many, strangers go that do nothing, first of the network
//! that has most; then whoever holds most has to give way, also in the middle of an answer: a stream of a log can be asked
//! for again. Nobody is judged by what a newcomer can't have done yet (KX2). Which one goes is chosen in `choice`.

mod choice;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::life::{Holder, Life, Worth};
use super::limits::Limits;
use crate::peer::Source;
use choice::{Seen, for_a_newcomer, idlest, living, of_the_greediest, of_the_largest};

/// Places beyond all others, for this machine's own socket.
const OWN: usize = 16;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    open: Mutex<HashMap<u64, Arc<Life>>>,
}

/// A place among the open connections, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.open().remove(&self.number);
    }
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Life>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection. When there are too many, another one has to go; `None` when all of them are dearer
    /// than a newcomer.
    pub(super) fn admit(self: &Arc<Self>, number: u64, life: &Arc<Life>) -> Option<Place> {
        let mut open = self.open();
        if !life.inner {
            let all = living(&open);
            let strangers = || all.iter().filter(|seen| seen.is_strangers());
            let others = || all.iter().filter(|seen| seen.is_strangers() || seen.is_tasks());
            let neighbours = || strangers().filter(|seen| seen.life.source == life.source);
            let leaves = if neighbours().count() >= self.limits.per_address {
                Some(idlest(neighbours(), Worth::Answering)?)
            } else if others().count() >= self.limits.strangers {
                self.for_a_stranger(life, &all)?
            } else if all.len() >= self.limits.total {
                let found = for_a_newcomer(&all);
                if found.is_none() && !self.has_a_place_of_its_own(life, &all) {
                    return None;
                }
                found
            } else {
                None
            };
            if let Some(leaves) = leaves {
                leaves.end();
            }
        }
        open.insert(number, Arc::clone(life));
        Some(Place { registry: Arc::clone(self), number })
    }

    /// Who goes when strangers and tasks have all their places: `None` when there is nobody. Who comes from where few come
    /// from finds room all the same, until it is known what they want. Others that do nothing go with the one that goes, so
    /// that not each newcomer costs a look at all connections.
    fn for_a_stranger<'a>(&self, life: &Life, all: &[Seen<'a>]) -> Option<Option<Seen<'a>>> {
        let strangers = || all.iter().filter(|seen| seen.is_strangers());
        let tasks = || all.iter().filter(|seen| seen.is_tasks());
        let count = strangers().count() + tasks().count();
        let idle = of_the_largest(strangers(), Worth::New, self.limits.at_once);
        let found = idle.first().copied();
        if found.is_none_or(|found| found.worth == Worth::New) {
            let [_, network, ..] = life.source.wider();
            let near = strangers().filter(|seen| seen.life.source.wider()[1] == network).count();
            if near < self.limits.few && count < self.limits.newcomers {
                return Some(None);
            }
        }
        if let Some(found) = found.filter(|_| count > self.limits.strangers) {
            // Of those who were let in beyond the number, somebody goes as well.
            let rest = strangers().filter(|seen| !Arc::ptr_eq(seen.life, found.life));
            of_the_largest(rest, Worth::New, 1).iter().for_each(Seen::end);
        }
        idle.iter().skip(1).filter(|seen| seen.worth <= Worth::Idle).for_each(Seen::end);
        let found = found.or_else(|| of_the_greediest(tasks()));
        let found = found.or_else(|| of_the_largest(strangers(), Worth::Answering, 1).pop());
        found.or_else(|| idlest(tasks(), Worth::Answering)).map(Some)
    }

    /// The command line on this machine always gets in.
    fn has_a_place_of_its_own(&self, life: &Arc<Life>, all: &[Seen<'_>]) -> bool {
        matches!(life.source, Source::Uid(_)) && all.len() < self.limits.total + OWN
    }

    /// A connection became somebody's: who has too many by now gives one up.
    pub(super) fn settle(&self, life: &Arc<Life>) {
        let (Some(holder), _, _) = life.seen() else { return };
        if life.inner {
            return;
        }
        let open = self.open();
        let all = living(&open);
        let others = || all.iter().filter(|seen| !Arc::ptr_eq(seen.life, life));
        if let Holder::Task { task, .. } = holder {
            let own =
                |seen: &&Seen<'_>| matches!(seen.holder, Some(Holder::Task { task: t, .. }) if t == task);
            if others().filter(own).count() >= self.limits.per_task {
                idlest(others().filter(own), Worth::Answering).iter().for_each(|seen| seen.end());
                return;
            }
        }
        if let Some(account) = holder.account() {
            let own = || others().filter(|seen| seen.account() == Some(account));
            if own().count() >= self.limits.per_account {
                // A person doesn't lose what is open to a task.
                let tasks = of_the_greediest(own().filter(|seen| seen.is_tasks()));
                let leaves = tasks.or_else(|| idlest(own(), Worth::Answering));
                leaves.iter().for_each(|seen| seen.end());
                return;
            }
        }
        let ordinary = || others().filter(|seen| seen.is_ordinary());
        if matches!(holder, Holder::Account { admin: false, .. })
            && ordinary().count() >= self.limits.ordinary
        {
            let leaves = of_the_greediest(ordinary()).or_else(|| idlest(ordinary(), Worth::Answering));
            leaves.iter().for_each(|seen| seen.end());
        }
    }

    /// Ends a connection, when descriptors have run out all the same.
    pub(super) fn shed(&self) {
        let open = self.open();
        for_a_newcomer(&living(&open)).iter().for_each(Seen::end);
    }

    /// How many connections there are.
    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// All of them.
    pub(super) fn lives(&self) -> Vec<Arc<Life>> {
        self.open().values().map(Arc::clone).collect()
    }

    /// Ends what is too slow.
    pub(super) fn end_late(&self) {
        for life in self.open().values().filter(|life| life.is_late(&self.limits)) {
            life.end.cancel();
        }
    }
}

#[cfg(test)]
mod tests;
