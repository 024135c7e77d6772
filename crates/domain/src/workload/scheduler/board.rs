//! The agents of one pool while a round is decided: what is free, what is kept for whom, who gives way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::decision::{Decision, Lack, Why};
use super::snapshot::{
    AUX_PER_ACCOUNT, AUX_PER_AGENT, Machine, Order, Policy, Running, Service, Snapshot, Span, Waiting,
};
use crate::allocation::Part;
use crate::capability::Capabilities;
use crate::hash::IdMap;
use crate::id::{AgentId, AllocationId, ResourcePool, UserId};
use crate::time::Timestamp;

/// What decides which agents can take a run: its uid, whether it is the default user's, and what it needs.
type Kind = (u32, bool, Capabilities);

#[derive(Debug)]
pub(super) struct Board<'a> {
    now: Timestamp,
    policy: Policy,
    default_user: Option<UserId>,
    running: &'a [Running],
    /// The pool, where agents are connected and none of them is in it.
    empty: Option<ResourcePool>,
    /// There are agents of the pool that aren't connected.
    has_absent: bool,
    seats: Vec<Seat<'a>>,
    kinds: IdMap<Kind, Able>,
    /// That of the run before: thousands in a row are of one.
    latest: Option<(Kind, Able)>,
    /// Something is kept since that was last counted.
    kept_one: bool,
    /// Runs that give way, by their place in `running`, and for whom.
    giving_way: BTreeMap<usize, AllocationId>,
}

/// The open agents for one kind of run.
#[derive(Debug)]
struct Able {
    seats: Vec<usize>,
    /// Slots of the largest.
    largest: usize,
    /// That many, and more, fit nowhere in this round any more: agents only get fuller.
    blocked: usize,
    /// Slots in use, kept and all, until something is placed or kept.
    counted: Option<(usize, usize, usize)>,
}

#[derive(Debug)]
struct Seat<'a> {
    machine: &'a Machine,
    free: BTreeSet<u32>,
    aux: usize,
    aux_of: IdMap<UserId, usize>,
    /// Those on it, by their place in `running`, and how many slots each has.
    runs: Vec<(usize, usize)>,
    /// It is kept for somebody.
    kept: Option<Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    /// When it is free for him, as far as that is known.
    from: Option<Timestamp>,
}

/// How soon a seat has so many slots free: when, if that is known, then what has to end until then, then its place.
type Soon = (bool, Option<Timestamp>, usize, usize);

impl Seat<'_> {
    fn is_in_service(&self) -> bool {
        self.machine.service == Service::Open
    }

    fn has_aux(&self) -> bool {
        self.aux < AUX_PER_AGENT
    }

    fn has_aux_for(&self, owner: UserId) -> bool {
        self.has_aux() && self.aux_of.get(&owner).is_none_or(|runs| *runs < AUX_PER_ACCOUNT)
    }

    fn add_aux(&mut self, owner: UserId) {
        self.aux += 1;
        *self.aux_of.entry(owner).or_default() += 1;
    }

    /// Whether somebody who runs so long may have it, too.
    fn is_open_to(&self, now: Timestamp, run: &Waiting) -> bool {
        let Some(kept) = self.kept else { return true };
        kept.from.zip(run.at_most).is_some_and(|(from, at_most)| now.plus(at_most) <= from)
    }
}

impl<'a> Board<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, pool: &ResourcePool, policy: Policy) -> Self {
        let machines = snapshot.machines.iter().filter(|machine| machine.pool == *pool);
        let mut seats: Vec<Seat<'a>> = machines
            .map(|machine| Seat {
                machine,
                free: machine.slots.clone(),
                aux: 0,
                aux_of: IdMap::default(),
                runs: Vec::new(),
                kept: None,
            })
            .collect();
        seats.sort_by(|a, b| a.machine.id.cmp(&b.machine.id));
        let by_name: HashMap<&AgentId, usize> =
            seats.iter().enumerate().map(|(place, seat)| (&seat.machine.id, place)).collect();
        let is_ours = |(_, run): &(usize, &Running)| !snapshot.elsewhere.contains(&run.pool);
        for (index, run) in snapshot.running.iter().enumerate().filter(is_ours) {
            for part in &run.on {
                let Some(seat) = by_name.get(&part.agent).and_then(|place| seats.get_mut(*place)) else {
                    continue;
                };
                let had = part.slots.iter().filter(|slot| seat.free.remove(slot)).count();
                if part.slots.is_empty() {
                    seat.add_aux(run.owner);
                } else {
                    seat.runs.push((index, had));
                }
            }
        }
        Self {
            now: snapshot.now,
            policy,
            default_user: snapshot.default_user,
            running: &snapshot.running,
            empty: (seats.is_empty() && !snapshot.machines.is_empty()).then(|| pool.clone()),
            has_absent: snapshot.absent.contains(pool),
            seats,
            kinds: IdMap::default(),
            latest: None,
            kept_one: false,
            giving_way: BTreeMap::new(),
        }
    }

    /// Who gives way.
    pub(super) fn preempted(self) -> impl Iterator<Item = Decision> {
        let running = self.running;
        self.giving_way.into_iter().filter_map(|(run, favoured)| {
            Some(Decision::Preempt { allocation: running.get(run)?.allocation, favoured })
        })
    }

    /// Gives a run its place; all parts, or why not.
    pub(super) fn place(&mut self, run: &Waiting) -> Result<Vec<Part>, Why> {
        let kind = (run.identity.uid, self.default_user == Some(run.owner), run.needs);
        let able = match self.latest.take() {
            Some((latest, able)) if latest == kind => able,
            other => {
                self.kinds.extend(other);
                self.kinds.remove(&kind).map_or_else(|| self.able(run), Ok)?
            }
        };
        let (mut able, placed) = self.place_among(able, run);
        if placed.is_ok() || self.kept_one {
            able.counted = None;
            self.kinds.values_mut().for_each(|able| able.counted = None);
            self.kept_one = false;
        }
        self.latest = Some((kind, able));
        placed
    }

    fn able(&self, run: &Waiting) -> Result<Able, Why> {
        let (mut seats, mut refusal, mut lack) = (Vec::new(), None, None);
        // What is only so for the moment ends nothing: whoever is back, or in service again, may have what it needs (MM4).
        let mut may_come = self.has_absent;
        for (place, seat) in self.seats.iter().enumerate() {
            let Machine { id, power, can, .. } = seat.machine;
            let missing = run.needs.beyond(*can);
            let given = power.can_give(id, &run.identity, run.owner, self.default_user);
            if !seat.is_in_service() {
                may_come |= given.is_ok();
                continue;
            }
            match given {
                Ok(()) if missing.is_empty() => seats.push(place),
                Ok(()) => lack = lack.or_else(|| Some(Lack { agent: id.clone(), missing })),
                Err(reason) => refusal = Some(reason.to_string()),
            }
        }
        if seats.is_empty() {
            let unable = if may_come { Why::Unable } else { Why::Never };
            let none = || refusal.map_or_else(|| self.none_in_service(), unable);
            // An agent that lacks something can be updated: that is waited for.
            return Err(lack.map_or_else(none, Why::Lacks));
        }
        let sizes = seats.iter().filter_map(|place| self.seats.get(*place));
        let largest = sizes.map(|seat| seat.machine.slots.len()).max().unwrap_or_default();
        Ok(Able { seats, largest, blocked: usize::MAX, counted: None })
    }

    /// Why nothing can be placed where no agent takes tasks.
    fn none_in_service(&self) -> Why {
        let count = |service| self.seats.iter().filter(|seat| seat.machine.service == service).count();
        match (count(Service::Disabled), count(Service::Draining)) {
            (0, 0) => self.empty.clone().map_or(Why::NoAgent, Why::NoAgentOfPool),
            (disabled, draining) => Why::Shut { disabled, draining },
        }
    }

    fn place_among(&mut self, mut able: Able, run: &Waiting) -> (Able, Result<Vec<Part>, Why>) {
        let needed = usize::try_from(run.slots).unwrap_or(usize::MAX);
        let placed = if needed == 0 {
            self.place_aux(&able, run)
        } else if needed <= able.largest {
            self.place_on_one(&mut able, run, needed)
        } else if run.span == Span::Several {
            self.place_gang(&mut able, run, needed)
        } else {
            let largest = u32::try_from(able.largest).unwrap_or(u32::MAX);
            Err(Why::TooLarge { needed: run.slots, largest, together: false })
        };
        (able, placed)
    }

    /// The fullest first: that leaves large gaps for large runs.
    fn place_aux(&mut self, able: &Able, run: &Waiting) -> Result<Vec<Part>, Why> {
        let seats = able.seats.iter().filter_map(|place| Some((*place, self.seats.get(*place)?)));
        let best = seats
            .clone()
            .filter(|(_, seat)| seat.has_aux_for(run.owner))
            .min_by_key(|(place, seat)| (seat.free.len(), seat.aux, *place))
            .map(|(place, _)| place);
        let has_room = seats.map(|(_, seat)| seat).any(Seat::has_aux);
        match best.and_then(|place| self.seats.get_mut(place)) {
            Some(seat) => {
                seat.add_aux(run.owner);
                Ok(vec![Part { agent: seat.machine.id.clone(), slots: Vec::new() }])
            }
            None if has_room => Err(Why::AuxOfOwner),
            None => Err(Why::AuxFull),
        }
    }

    fn place_on_one(&mut self, able: &mut Able, run: &Waiting, needed: usize) -> Result<Vec<Part>, Why> {
        // Who is known to be over soon may have what is kept.
        let is_behind = needed >= able.blocked;
        if is_behind && run.at_most.is_none() {
            return Err(self.slots(able, run, false));
        }
        if let Some(parts) = self.take(able, run, needed, 1) {
            return Ok(parts);
        }
        if is_behind {
            return Err(self.slots(able, run, false));
        }
        // Who comes behind one for whom others give way may have others give way, too.
        if let Some(why) = self.keep(able, run, needed, 1) {
            return Err(why);
        }
        able.blocked = able.blocked.min(needed);
        Err(self.slots(able, run, false))
    }

    /// Equal parts, on as few agents as can be.
    fn place_gang(&mut self, able: &mut Able, run: &Waiting, needed: usize) -> Result<Vec<Part>, Why> {
        let splits = |parts: usize| needed.is_multiple_of(parts).then_some((parts, needed / parts));
        let sizes: Vec<usize> =
            able.seats.iter().filter_map(|place| Some(self.seats.get(*place)?.machine.slots.len())).collect();
        let is_possible =
            |(parts, size): &(usize, usize)| sizes.iter().filter(|slots| *slots >= size).count() >= *parts;
        let possible: Vec<(usize, usize)> =
            (2..=needed.min(sizes.len())).filter_map(splits).filter(is_possible).collect();
        let Some((fewest, largest)) = possible.first().copied() else {
            let all = u32::try_from(sizes.iter().sum::<usize>()).unwrap_or(u32::MAX);
            return Err(Why::TooLarge { needed: run.slots, largest: all, together: true });
        };
        for (parts, size) in possible {
            if let Some(taken) = self.take(able, run, size, parts) {
                return Ok(taken);
            }
        }
        Err(self.keep(able, run, largest, fewest).unwrap_or_else(|| self.slots(able, run, true)))
    }

    /// Takes so many slots on each of so many agents, if they are free and not kept.
    fn take(&mut self, able: &Able, run: &Waiting, size: usize, parts: usize) -> Option<Vec<Part>> {
        let seats = able.seats.iter().filter_map(|place| Some((*place, self.seats.get(*place)?)));
        let fits = |seat: &Seat<'_>| seat.free.len() >= size && seat.is_open_to(self.now, run);
        let free = seats.filter(|(_, seat)| fits(seat));
        let mut free: Vec<_> = free.map(|(place, seat)| (seat.free.len(), seat.aux, place)).collect();
        if free.len() < parts {
            return None;
        }
        if parts < free.len() {
            free.select_nth_unstable(parts - 1);
        }
        let mut chosen: Vec<usize> = free.into_iter().take(parts).map(|(_, _, place)| place).collect();
        chosen.sort_unstable();
        let take = |place: usize| {
            let seat = self.seats.get_mut(place)?;
            let slots: Vec<u32> = seat.free.iter().copied().take(size).collect();
            slots.iter().for_each(|slot| {
                seat.free.remove(slot);
            });
            Some(Part { agent: seat.machine.id.clone(), slots })
        };
        chosen.into_iter().map(take).collect()
    }

    /// Keeps for a run the agents that will be free for it soonest; where the pool allows it, others give way there. Gives
    /// why it waits, if that isn't for slots.
    fn keep(&mut self, able: &Able, run: &Waiting, size: usize, parts: usize) -> Option<Why> {
        let could = |place: &usize| {
            self.seats.get(*place).is_some_and(|seat| seat.kept.is_none() && seat.machine.slots.len() >= size)
        };
        let candidates: Vec<usize> = able.seats.iter().copied().filter(could).collect();
        if candidates.len() < parts {
            // They are kept for those before it.
            return None;
        }
        let mut soonest: Vec<Soon> = candidates.iter().filter_map(|place| self.soon(*place, size)).collect();
        soonest.select_nth_unstable(parts - 1);
        soonest.truncate(parts);
        let from = soonest.last().and_then(|(_, from, _, _)| *from);
        if from.is_none_or(|from| from > self.now)
            && let Some(why) = self.make_way(&candidates, run, size, parts)
        {
            return Some(why);
        }
        for (_, _, _, place) in soonest {
            if let Some(seat) = self.seats.get_mut(place) {
                seat.kept = Some(Kept { from });
                self.kept_one = true;
            }
        }
        None
    }

    /// How soon a seat has so many slots free.
    fn soon(&self, place: usize, size: usize) -> Option<Soon> {
        let seat = self.seats.get(place)?;
        let missing = size.saturating_sub(seat.free.len());
        let mut ends: Vec<(bool, Option<Timestamp>, usize)> = seat
            .runs
            .iter()
            .map(|(run, slots)| {
                let end = self.ends(*run);
                (end.is_none(), end, *slots)
            })
            .collect();
        ends.sort_unstable();
        let mut freed = 0;
        let last = ends.into_iter().find(|(_, _, slots)| {
            freed += slots;
            freed >= missing
        });
        let from = if missing == 0 { Some(self.now) } else { last.and_then(|(_, end, _)| end) };
        Some((from.is_none(), from, missing, place))
    }

    /// When a run is over, as far as that is known; what is being ended is as good as over.
    fn ends(&self, index: usize) -> Option<Timestamp> {
        let run = self.running.get(index)?;
        if run.ending || self.giving_way.contains_key(&index) { Some(self.now) } else { run.ends_by }
    }

    /// Has less urgent runs give way, on the agents where that costs the fewest slots.
    fn make_way(&mut self, candidates: &[usize], run: &Waiting, size: usize, parts: usize) -> Option<Why> {
        if !self.policy.preemption || self.policy.order != Order::Priority {
            return None;
        }
        let mut ways: Vec<(usize, usize, Vec<usize>)> = candidates
            .iter()
            .filter_map(|place| {
                let (cost, victims) = self.victims(*place, run, size)?;
                Some((cost, *place, victims))
            })
            .collect();
        if ways.len() < parts {
            return None;
        }
        ways.select_nth_unstable(parts - 1);
        ways.truncate(parts);
        let mut runs = 0;
        for (_, place, victims) in ways {
            for victim in victims {
                runs += usize::from(self.giving_way.insert(victim, run.allocation).is_none());
            }
            if let Some(seat) = self.seats.get_mut(place) {
                seat.kept = Some(Kept { from: Some(self.now) });
                self.kept_one = true;
            }
        }
        Some(Why::GivingWay { runs })
    }

    /// Who would have to give way on a seat for so many slots, the least urgent and the newest first, and what slots they
    /// have there.
    fn victims(&self, place: usize, run: &Waiting, size: usize) -> Option<(usize, Vec<usize>)> {
        let seat = self.seats.get(place)?;
        let leaving =
            seat.runs.iter().filter(|(index, _)| self.ends(*index).is_some_and(|end| end <= self.now));
        let mut has = seat.free.len() + leaving.map(|(_, slots)| slots).sum::<usize>();
        let gives_way = |(index, slots): &(usize, usize)| {
            let other = self.running.get(*index)?;
            let is_one = other.can_resume
                && !other.ending
                && !self.giving_way.contains_key(index)
                && other.priority > run.priority;
            is_one.then_some((other.priority, other.seq, *index, *slots))
        };
        let mut others: Vec<_> = seat.runs.iter().filter_map(gives_way).collect();
        others.sort_unstable();
        let (mut cost, mut victims) = (0, Vec::new());
        while has < size {
            let (_, _, index, slots) = others.pop()?;
            has += slots;
            cost += slots;
            victims.push(index);
        }
        Some((cost, victims))
    }

    fn slots(&self, able: &mut Able, run: &Waiting, together: bool) -> Why {
        let count = || {
            let seats = able.seats.iter().filter_map(|place| self.seats.get(*place));
            seats.fold((0, 0, 0), |(used, kept, all), seat| {
                let (slots, free) = (seat.machine.slots.len(), seat.free.len());
                (used + slots - free, kept + if seat.kept.is_some() { free } else { 0 }, all + slots)
            })
        };
        let (used, kept, all) = *able.counted.get_or_insert_with(count);
        // What was kept just now is its own.
        let kept = if self.kept_one { 0 } else { kept };
        Why::Slots { needed: run.slots, used, kept, all, together }
    }
}
