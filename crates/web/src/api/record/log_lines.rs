//! Which lines of a log a request asks for, and how each one is told (contract "runtime", section 1.5).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ::api::log::LogQuery;
use domain::allocation::Allocation;
use domain::id::{AllocationId, TaskId};
use domain::log::{Line, Output, Source, determined_message, level};
use domain::task::Task;
use domain::time::Timestamp;
use master::Error;
use serde::Serialize;

use crate::extract::check_count;
use crate::query::is_descending;
use crate::respond::Failure;

/// What a request for lines asks for.
pub(crate) struct Wanted {
    pub(crate) limit: u64,
    pub(crate) from_end: bool,
    before: Option<Timestamp>,
    after: Option<Timestamp>,
    sources: Vec<String>,
    stdtypes: Vec<String>,
    levels: Vec<String>,
    text: Option<String>,
    /// Of these runs.
    runs: Option<BTreeSet<u32>>,
    /// Of these ranks.
    ranks: Option<BTreeSet<Option<u16>>>,
    /// Of what is told of these agents: which part that is of which run.
    parts: Option<BTreeSet<(u32, usize)>>,
}

/// Levels that a line can have, as clients name them; a line without one has `LOG_LEVEL_INFO`.
const LEVELS: [&str; 7] = [
    "LOG_LEVEL_UNSPECIFIED",
    "LOG_LEVEL_TRACE",
    "LOG_LEVEL_DEBUG",
    "LOG_LEVEL_INFO",
    "LOG_LEVEL_WARNING",
    "LOG_LEVEL_ERROR",
    "LOG_LEVEL_CRITICAL",
];

impl Wanted {
    pub(crate) fn read(query: LogQuery, printer: &Printer) -> Result<Self, Failure> {
        let invalid = |text: &str| Err(Failure(Error::Invalid(text.to_owned())));
        let (limit, follow) = (query.limit.unwrap_or(0), query.follow.unwrap_or(false));
        let from_end = is_descending(query.order_by.as_deref());
        if follow && limit > 0 {
            return invalid("limit and follow can't be used together");
        }
        if follow && from_end {
            return invalid("orderBy: what is followed comes oldest first; leave out orderBy, or follow");
        }
        if query.enable_regex == Some(true) {
            return invalid("enableRegex: search by plain text");
        }
        let LogQuery { agent_ids, allocation_ids, container_ids, rank_ids, .. } = &query;
        let ids = [agent_ids, allocation_ids, container_ids, rank_ids];
        let lists = ids.into_iter().chain([&query.sources, &query.stdtypes, &query.levels]);
        check_count(lists.map(Vec::len).sum())?;
        if let Some(level) = query.levels.iter().find(|level| !LEVELS.contains(&level.as_str())) {
            let level = level.escape_debug();
            return invalid(&format!("levels: '{level}' is none of {}", LEVELS.join(", ")));
        }
        let time = |key: &str, text: Option<String>| match text {
            None => Ok(None),
            Some(text) => Timestamp::parse_rfc3339(&text).map(Some).ok_or_else(|| {
                Failure(Error::Invalid(format!("{key}: give a time such as 2026-01-31T10:00:00Z")))
            }),
        };
        // A container's id is its run's.
        let (allocations, containers) = (printer.runs_of(allocation_ids), printer.runs_of(container_ids));
        let runs = match (allocations, containers) {
            (Some(these), Some(those)) => Some(these.intersection(&those).copied().collect()),
            (these, those) => these.or(those),
        };
        let (ranks, parts) = (ranks_of(rank_ids), printer.parts_on(agent_ids));
        // Each once: they are compared with every line.
        let once = |all: Vec<String>| all.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Self {
            limit,
            from_end,
            before: time("timestampBefore", query.timestamp_before)?,
            after: time("timestampAfter", query.timestamp_after)?,
            sources: once(query.sources),
            stdtypes: once(query.stdtypes),
            levels: once(query.levels),
            text: query.search_text,
            runs,
            ranks,
            parts,
        })
    }

    /// Whether it may look at much and give little.
    pub(crate) fn leaves_out(&self) -> bool {
        let lists = [&self.sources, &self.stdtypes, &self.levels];
        self.runs.is_some()
            || self.ranks.is_some()
            || self.parts.is_some()
            || self.before.is_some()
            || self.after.is_some()
            || self.text.is_some()
            || lists.iter().any(|list| !list.is_empty())
    }

    pub(crate) fn takes(&self, line: &Line) -> bool {
        let among = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        let has_level = || {
            let own = level(line);
            self.levels.iter().any(|one| one.strip_prefix("LOG_LEVEL_") == Some(own))
        };
        self.runs.as_ref().is_none_or(|runs| runs.contains(&line.of.run))
            && self.ranks.as_ref().is_none_or(|ranks| ranks.contains(&line.of.rank))
            && self.parts.as_ref().is_none_or(|parts| parts.contains(&place(line.of)))
            && self.before.is_none_or(|before| line.at <= before)
            && self.after.is_none_or(|after| line.at > after)
            && among(&self.sources, line.source.origin())
            && among(&self.stdtypes, stdtype(line))
            && (self.levels.is_empty() || has_level())
            && self.text.as_ref().is_none_or(|text| line.text.contains(text.as_str()))
    }
}

/// Which ranks these are; -1 is none.
fn ranks_of(ids: &[String]) -> Option<BTreeSet<Option<u16>>> {
    let rank = |id: &String| if id == "-1" { Some(None) } else { id.parse().ok().map(Some) };
    (!ids.is_empty()).then(|| ids.iter().filter_map(rank).collect())
}

/// Of which of its run's agents a line is told: what has no rank, of the first.
fn place(of: Output) -> (u32, usize) {
    (of.run, of.rank.map_or(0, usize::from))
}

fn stdtype(line: &Line) -> &'static str {
    if line.source == Source::Stderr { "stderr" } else { "stdout" }
}

/// A line on the wire: `api::log::LogEntry`, borrowed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    id: &'a str,
    task_id: &'a str,
    allocation_id: &'a str,
    agent_id: &'a str,
    container_id: &'a str,
    timestamp: &'a str,
    level: &'a str,
    stdtype: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank_id: Option<u16>,
    log: &'a str,
    message: &'a str,
}

/// Turns lines into the NDJSON of a streamed answer.
pub(crate) struct Printer {
    id: TaskId,
    task: String,
    /// The agents of each run, by rank, as far as they were known when it was asked for.
    agents: BTreeMap<u32, Vec<String>>,
    /// Lines mostly are of one run.
    allocation: (u32, String),
    /// Lines of one record share their time.
    time: (Timestamp, String),
}

impl Printer {
    pub(crate) fn new(task: &Task, runs: &[Allocation]) -> Self {
        let agents =
            |run: &Allocation| (run.id.run, run.phase.parts().map(|part| part.agent.to_string()).collect());
        Self {
            id: task.id,
            task: task.id.to_string(),
            agents: runs.iter().map(agents).collect(),
            allocation: (task.latest.id.run, task.latest.id.to_string()),
            time: (Timestamp(0), Timestamp(0).rfc3339()),
        }
    }

    /// Which of the task's runs these are.
    fn runs_of(&self, ids: &[String]) -> Option<BTreeSet<u32>> {
        let own = |id: &String| {
            let run: AllocationId = id.parse().ok()?;
            (run.task == self.id).then_some(run.run)
        };
        (!ids.is_empty()).then(|| ids.iter().filter_map(own).collect())
    }

    /// What is told of these agents.
    fn parts_on(&self, ids: &[String]) -> Option<BTreeSet<(u32, usize)>> {
        let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        let of_run = |(run, agents): (&u32, &Vec<String>)| {
            let on = agents.iter().enumerate().filter(|(_, agent)| wanted.contains(agent.as_str()));
            on.map(|(place, _)| (*run, place)).collect::<Vec<_>>()
        };
        (!ids.is_empty()).then(|| self.agents.iter().flat_map(of_run).collect())
    }

    pub(crate) fn print(&mut self, line: &Line, out: &mut Vec<u8>) {
        if self.time.0 != line.at {
            self.time = (line.at, line.at.rfc3339());
        }
        if self.allocation.0 != line.of.run {
            let run = AllocationId { task: self.id, run: line.of.run };
            self.allocation = (run.run, run.to_string());
        }
        let (run, rank) = place(line.of);
        let agent = self.agents.get(&run).and_then(|agents| agents.get(rank));
        let level = level(line);
        let entry = Entry {
            id: &line.number.to_string(),
            task_id: &self.task,
            allocation_id: &self.allocation.1,
            agent_id: agent.map_or("", String::as_str),
            container_id: &self.allocation.1,
            timestamp: &self.time.1,
            level: &format!("LOG_LEVEL_{level}"),
            stdtype: stdtype(line),
            source: line.source.origin(),
            rank_id: line.of.rank,
            log: &line.text,
            message: &determined_message(line, &self.allocation.1),
        };
        out.extend_from_slice(b"{\"result\":");
        // Writing to memory can't fail.
        let _ = serde_json::to_writer(&mut *out, &entry);
        let _ = out.write_all(b"}\n");
    }
}
