//! A task's runs: where each has its place, how far it is, and what may follow on that.
//!
//! [`Phase`] carries what is so in it and nothing else, so that a run that waits has no place and one that is over has an
//! ending. [`Phase::next`] is the only way from one to another: the memory asks it, and so does the store, which writes down
//! what it answers.

use serde::{Deserialize, Serialize};

use crate::exit::known_fault;
use crate::id::{AgentId, AllocationId};
use crate::task::{Ending, Fault, REASON, State};
use crate::text::Plain;
use crate::time::Timestamp;

/// What a run has of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The agent.
    pub agent: AgentId,
    /// The slots; none for a run without slots.
    pub slots: Vec<u32>,
}

/// Where a run has its place: on one agent, or in parts on several, which are given and taken together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Part>", into = "Vec<Part>")]
pub struct Placement {
    first: Part,
    others: Vec<Part>,
}

/// Parts that are no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run has at least one part, and no two on one agent")]
pub struct NoPlacement;

impl Placement {
    /// On one agent.
    #[must_use]
    pub const fn on(agent: AgentId, slots: Vec<u32>) -> Self {
        Self { first: Part { agent, slots }, others: Vec::new() }
    }

    /// The part that comes first: the only one, but for gangs.
    #[must_use]
    pub const fn first(&self) -> &Part {
        &self.first
    }

    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The part on an agent.
    #[must_use]
    pub fn part(&self, agent: &AgentId) -> Option<&Part> {
        self.parts().find(|part| part.agent == *agent)
    }

    /// Whether it is on several agents.
    #[must_use]
    pub const fn is_of_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Slots on all agents together.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.parts().map(|part| part.slots.len()).sum()
    }
}

impl TryFrom<Vec<Part>> for Placement {
    type Error = NoPlacement;
    fn try_from(parts: Vec<Part>) -> Result<Self, NoPlacement> {
        let is_double = |(at, part): (usize, &Part)| {
            parts.iter().take(at).any(|before: &Part| before.agent == part.agent)
        };
        if parts.iter().enumerate().any(is_double) {
            return Err(NoPlacement);
        }
        let mut parts = parts.into_iter();
        let first = parts.next().ok_or(NoPlacement)?;
        Ok(Self { first, others: parts.collect() })
    }
}

impl From<Placement> for Vec<Part> {
    fn from(placement: Placement) -> Self {
        std::iter::once(placement.first).chain(placement.others).collect()
    }
}

/// Why a run is to end before it does by itself, from the weakest to the strongest: who is killed isn't preempted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// For something more urgent; it goes on later.
    Preempted,
    /// Its task is paused.
    Paused,
    /// It has had the time that it may have.
    Expired,
    /// A person, or what a person has decided, ends its task.
    Killed,
}

impl Cause {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::Preempted, Self::Paused, Self::Expired, Self::Killed];

    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preempted => "preempted",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Killed => "killed",
        }
    }

    /// Reads the text of [`Self::as_str`].
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

/// How long a run that is told to end may take to save what it has, by default (contract "runtime", section 4.1).
pub const PREEMPTION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3600);

/// That a run's end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Why.
    pub cause: Cause,
    /// It said that it heard, and saves what it needs to go on: what it then ends with is no failure.
    pub heard: bool,
    /// Until when it may end by itself; without that it is being ended.
    pub until: Option<Timestamp>,
}

impl Asked {
    /// Not heard yet.
    #[must_use]
    pub const fn new(cause: Cause) -> Self {
        Self { cause, heard: false, until: None }
    }
}

/// What a run that isn't only waiting has, or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its place.
    pub on: Placement,
    /// Since when its process ran, if it did.
    pub since: Option<Timestamp>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its place.
    Waiting,
    /// It waited, and is to end: it gets no place any more.
    Withdrawn(Cause),
    /// It has its place, where it is being prepared.
    Assigned(Placement),
    /// Its process runs.
    Running {
        /// Where.
        on: Placement,
        /// Since when.
        since: Timestamp,
        /// It serves, and can be reached.
        ready: bool,
    },
    /// It is being ended.
    Ending {
        /// What it still has.
        held: Held,
        /// Why.
        asked: Asked,
    },
    /// It is over; never changes again.
    Ended {
        /// What it had; nothing if it only waited.
        held: Option<Held>,
        /// That its end was asked for.
        asked: Option<Asked>,
        /// How.
        ending: Ending,
    },
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was given a place; the same or another one, until its process runs.
    Placed(Placement),
    /// Its process runs.
    Started(Timestamp),
    /// It can be reached.
    Ready,
    /// Its end is asked for, now.
    Asked(Cause),
    /// Its end is asked for; it is told, and may take until then to save what it has and end by itself.
    Signalled {
        /// Why.
        cause: Cause,
        /// Until when.
        until: Timestamp,
    },
    /// It has heard that its end is asked for.
    Heard,
    /// It is over.
    Over(Ending),
}

impl Phase {
    /// What follows on an event; `None` where it says nothing new, or can't be.
    #[must_use]
    pub fn next(&self, event: &Event) -> Option<Self> {
        use Phase::{Assigned, Ended, Ending, Running, Waiting, Withdrawn};
        Some(match (self.clone(), event.clone()) {
            (Waiting | Assigned(_), Event::Placed(on)) => Assigned(on),

            (Assigned(on), Event::Started(since)) => Running { on, since, ready: false },
            // It began before it heard of its end.
            (Ending { held: Held { on, since: None }, asked }, Event::Started(since)) => {
                Ending { held: Held { on, since: Some(since) }, asked }
            }

            (Running { on, since, ready: false }, Event::Ready) => Running { on, since, ready: true },

            (Waiting, Event::Asked(cause) | Event::Signalled { cause, .. }) => Withdrawn(cause),
            (Assigned(on), Event::Asked(cause) | Event::Signalled { cause, .. }) => {
                Ending { held: Held { on, since: None }, asked: Asked::new(cause) }
            }
            (Running { on, since, .. }, Event::Asked(cause)) => {
                Ending { held: Held { on, since: Some(since) }, asked: Asked::new(cause) }
            }
            (Running { on, since, .. }, Event::Signalled { cause, until }) => Ending {
                held: Held { on, since: Some(since) },
                asked: Asked { until: Some(until), ..Asked::new(cause) },
            },
            (Withdrawn(before), Event::Asked(cause) | Event::Signalled { cause, .. }) if cause > before => {
                Withdrawn(cause)
            }
            (Ending { held, asked }, Event::Asked(cause)) if cause > asked.cause => {
                Ending { held, asked: Asked { cause, until: None, ..asked } }
            }
            // It keeps the time that it was given first.
            (Ending { held, asked }, Event::Signalled { cause, .. }) if cause > asked.cause => {
                Ending { held, asked: Asked { cause, ..asked } }
            }

            (Ending { held, asked }, Event::Heard) if !asked.heard => {
                Ending { held, asked: Asked { heard: true, ..asked } }
            }

            (Ended { .. }, _) => return None,
            (before, Event::Over(ending)) => Ended { held: before.held(), asked: before.asked(), ending },
            _ => return None,
        })
    }

    /// Where it has its place, or had it.
    #[must_use]
    pub const fn placement(&self) -> Option<&Placement> {
        match self {
            Self::Waiting | Self::Withdrawn(_) => None,
            Self::Assigned(on) | Self::Running { on, .. } => Some(on),
            Self::Ending { held, .. } => Some(&held.on),
            Self::Ended { held: Some(held), .. } => Some(&held.on),
            Self::Ended { held: None, .. } => None,
        }
    }

    /// The parts of its place.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.placement().into_iter().flat_map(Placement::parts)
    }

    /// Its part on an agent, while it isn't over.
    #[must_use]
    pub fn part_on(&self, agent: &AgentId) -> Option<&Part> {
        if self.is_over() { None } else { self.placement().and_then(|on| on.part(agent)) }
    }

    /// Since when its process runs, or ran.
    #[must_use]
    pub const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting | Self::Withdrawn(_) | Self::Assigned(_) => None,
            Self::Running { since, .. } => Some(*since),
            Self::Ending { held, .. } => held.since,
            Self::Ended { held: Some(held), .. } => held.since,
            Self::Ended { held: None, .. } => None,
        }
    }

    /// That its end is asked for, or was.
    #[must_use]
    pub const fn asked(&self) -> Option<Asked> {
        match self {
            Self::Waiting | Self::Assigned(_) | Self::Running { .. } => None,
            Self::Withdrawn(cause) => Some(Asked::new(*cause)),
            Self::Ending { asked, .. } => Some(*asked),
            Self::Ended { asked, .. } => *asked,
        }
    }

    /// How it ended.
    #[must_use]
    pub const fn ending(&self) -> Option<&Ending> {
        match self {
            Self::Ended { ending, .. } => Some(ending),
            _ => None,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// Whether it has no place and is not over.
    #[must_use]
    pub const fn is_queued(&self) -> bool {
        matches!(self, Self::Waiting | Self::Withdrawn(_))
    }

    /// Whether what it serves can be reached.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Running { ready: true, .. })
    }

    /// As people and clients are told.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::Waiting | Self::Withdrawn(_) => State::Queued,
            Self::Assigned(_) => State::Starting,
            Self::Running { .. } => State::Running,
            Self::Ending { .. } => State::Terminating,
            Self::Ended { .. } => State::Terminated,
        }
    }

    fn held(&self) -> Option<Held> {
        Some(Held { on: self.placement()?.clone(), since: self.since() })
    }
}

/// How a part of a run on several agents ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEnding {
    /// Where it was.
    pub agent: AgentId,
    /// As [`Ending::exit_code`].
    pub code: Option<i32>,
    /// As [`Ending::exit_signal`].
    pub signal: Option<i32>,
    /// As [`Ending::fault`].
    #[serde(default, deserialize_with = "known_fault", skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// As [`Ending::reason`].
    pub reason: Plain<REASON>,
}

impl PartEnding {
    /// Whether the other parts are of no use without it.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.code != Some(0)
    }
}

/// What follows when a part of a run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterPart<'a> {
    /// The others go on.
    Others,
    /// One failed: these are to end because of it.
    End(Placement),
    /// All of them are over, and the run with them: it ended as this one did.
    Over(&'a PartEnding),
}

/// One run of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The task's id, and which run it is.
    pub id: AllocationId,
    /// When it was made.
    pub created_at: Timestamp,
    /// How far it is.
    pub phase: Phase,
    /// How those of its parts ended that are over, the first one first. Of a run on one agent all is said by its end.
    pub exits: Vec<PartEnding>,
}

impl Allocation {
    /// One that waits.
    #[must_use]
    pub const fn waiting(id: AllocationId, created_at: Timestamp) -> Self {
        Self { id, created_at, phase: Phase::Waiting, exits: Vec::new() }
    }

    /// Whether its part on an agent is over.
    #[must_use]
    pub fn has_exit(&self, agent: &AgentId) -> bool {
        self.exits.iter().any(|exit| exit.agent == *agent)
    }

    /// Whether it has a part on an agent that isn't over.
    #[must_use]
    pub fn has_open_part(&self, agent: &AgentId) -> bool {
        self.phase.part_on(agent).is_some() && !self.has_exit(agent)
    }

    /// Whether one of its parts failed, so that the others are ended.
    #[must_use]
    pub fn has_failed_part(&self) -> bool {
        self.exits.iter().any(PartEnding::failed)
    }

    /// What follows on the ends of its parts that there are. What fails first is why it ended: what becomes of the others then,
    /// follows from that.
    #[must_use]
    pub fn after_part(&self) -> AfterPart<'_> {
        let open: Vec<Part> =
            self.phase.parts().filter(|part| !self.has_exit(&part.agent)).cloned().collect();
        let first = self.exits.iter().find(|exit| exit.failed());
        match (Placement::try_from(open), first.or(self.exits.first())) {
            (Ok(open), _) if first.is_some() => AfterPart::End(open),
            (Err(NoPlacement), Some(why)) => AfterPart::Over(why),
            _ => AfterPart::Others,
        }
    }
}

#[cfg(test)]
mod tests;
