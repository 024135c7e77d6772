//! Who has to go: of all connections at one moment the one that is missed least.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use domain::id::UserId;

use crate::peer::Source;
use crate::server::life::{Holder, Life, Worth};

/// A connection as it is at one moment.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) life: &'a Arc<Life>,
    pub(super) holder: Option<Holder>,
    pub(super) worth: Worth,
    pub(super) since: Instant,
}

impl Seen<'_> {
    pub(super) fn is_strangers(&self) -> bool {
        self.holder.is_none()
    }

    pub(super) fn is_tasks(&self) -> bool {
        matches!(self.holder, Some(Holder::Task { .. }))
    }

    /// Somebody's who is logged in and no administrator.
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self.holder, Some(Holder::Account { admin: false, .. }))
    }

    pub(super) fn account(&self) -> Option<UserId> {
        self.holder.and_then(Holder::account)
    }

    pub(super) fn end(&self) {
        self.life.end.cancel();
    }
}

/// The connections that count and haven't been told to go.
pub(super) fn living(open: &HashMap<u64, Arc<Life>>) -> Vec<Seen<'_>> {
    let living = open.values().filter(|life| !life.inner && !life.end.is_cancelled());
    let seen = living.map(|life| {
        let (holder, worth, since) = life.seen();
        Seen { life, holder, worth, since }
    });
    seen.collect()
}

/// Who goes when every place is taken.
pub(super) fn for_a_newcomer<'a>(all: &[Seen<'a>]) -> Option<Seen<'a>> {
    let strangers = || all.iter().filter(|seen| seen.is_strangers());
    let many = || all.iter().filter(|seen| seen.is_ordinary() || seen.is_tasks());
    let found = of_the_largest(strangers(), Worth::Idle, 1).pop().or_else(|| of_the_greediest(many()));
    found
        .or_else(|| of_the_largest(strangers(), Worth::Answering, 1).pop())
        .or_else(|| idlest(all.iter(), Worth::Idle))
}

/// The one that does least, among equals the oldest; nobody who does more than `most`.
pub(super) fn idlest<'s, 'a: 's>(seen: impl Iterator<Item = &'s Seen<'a>>, most: Worth) -> Option<Seen<'a>> {
    // An agent's own channel never goes.
    let may = seen.filter(|seen| seen.worth <= most && seen.holder != Some(Holder::Agent));
    may.min_by_key(|seen| (seen.worth, seen.since)).copied()
}

/// Of the network that holds most, in that of the part that holds most and so on, those that do least, at most `few`;
/// nobody who does more than `most`. Who has many addresses gains nothing by that.
pub(super) fn of_the_largest<'s, 'a: 's>(
    seen: impl Iterator<Item = &'s Seen<'a>>,
    most: Worth,
    few: usize,
) -> Vec<Seen<'a>> {
    let mut left: Vec<_> =
        seen.filter(|seen| seen.worth <= most).map(|seen| (seen, seen.life.source.wider())).collect();
    for width in 0..4 {
        let Some(first) = left.first().map(|(_, wider)| wider[width]) else { break };
        if left.iter().all(|(_, wider)| wider[width] == first) {
            continue;
        }
        let mut counts: HashMap<Source, usize> = HashMap::new();
        left.iter().for_each(|(_, wider)| *counts.entry(wider[width]).or_default() += 1);
        let largest = counts.values().copied().max();
        left.retain(|(_, wider)| counts.get(&wider[width]).copied() == largest);
    }
    let mut left: Vec<Seen<'a>> = left.into_iter().map(|(seen, _)| *seen).collect();
    left.retain(|seen| seen.holder != Some(Holder::Agent));
    left.sort_by_key(|seen| (seen.worth, seen.since));
    left.truncate(few);
    left
}

/// Of the account that holds most, if that is more than one, the one that does least; tasks' first.
pub(super) fn of_the_greediest<'s, 'a: 's>(
    seen: impl Iterator<Item = &'s Seen<'a>> + Clone,
) -> Option<Seen<'a>> {
    let mut held: HashMap<UserId, usize> = HashMap::new();
    seen.clone().filter_map(Seen::account).for_each(|account| *held.entry(account).or_default() += 1);
    let (account, _) = held.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(_, count)| *count)?;
    let own = || seen.clone().filter(|seen| seen.account() == Some(account));
    let tasks = idlest(own().filter(|seen| seen.is_tasks()), Worth::Answering);
    tasks.or_else(|| idlest(own(), Worth::Answering))
}
