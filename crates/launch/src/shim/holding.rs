//! What a task has of the agent's disk, asked from outside of its shim: by the agent, when the disk is nearly full (A4).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

use super::usage::{self, Counted as Outcome, Found, Usage, counting};
use crate::apart::{Apart, Patience};
use crate::cgroup::{self, freezer, freezer::Still};
use crate::spec::TaskSpec;
use crate::sys::mount::open_host;
use crate::task_dir::{CONTEXT_FILE, LOG_FILE, PID_FILE, SCRATCH_DIR, read_spec};

/// How often an account's tasks stand still for one count, at most.
const PERIODS: usize = 6;
/// A count that waits for so long waits for the task; all that wait for one account's tasks share it.
const PATIENCE: Patience = Patience { one: Duration::from_secs(3), all: Duration::from_secs(10) };

/// What a task has of the disk, and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// The key of the account that the task belongs to, when that is known.
    pub owner: Option<String>,
    /// Bytes: of its own directories, its files that have no name, its context, and of its log what is still here.
    pub bytes: u64,
    /// Files and directories in its own ones.
    pub files: u64,
}

/// Counts what the tasks of these directories have, those of an account at one moment: where there is a freezer they stand still
/// for it, so that nobody moves anything meanwhile (MD5, MD6). Nothing can be moved from one task's directories to another's; so
/// whoever takes long has nobody else stand still (MG3). Blocks; millions of files take seconds. What can't be counted for as long
/// as they may stand still, or whose count waits for the task (MG4), is more than anybody looks at.
///
/// # Errors
/// When a directory can't be read.
#[must_use]
pub fn holdings(task_dirs: &[&Path]) -> Vec<io::Result<Holding>> {
    let specs: Vec<_> = task_dirs.iter().map(|dir| read_spec(dir)).collect();
    let mut counted: Vec<io::Result<Holding>> = Vec::with_capacity(specs.len());
    let mut accounts: BTreeMap<Option<String>, Vec<Counted<'_>>> = BTreeMap::new();
    let mut patience = BTreeMap::new();
    for (number, (dir, spec)) in task_dirs.iter().copied().zip(&specs).enumerate() {
        let begun = Instant::now();
        // Once for the kernel to have it all at hand: what takes long then takes long while nobody stands still.
        let first = match spec {
            Ok(spec) => {
                let patience = patience.entry(owner(spec)).or_insert(PATIENCE);
                holding(dir, spec, None, patience, &mut Found::new()).map(Option::unwrap_or_default)
            }
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        };
        if let (Ok(spec), Ok(holding)) = (spec, &first)
            && holding.bytes < u64::MAX
        {
            accounts.entry(owner(spec)).or_default().push((number, dir, spec, begun.elapsed()));
        }
        counted.push(first);
    }
    let mut found = Found::new();
    for (account, mut tasks) in accounts {
        let mut patience = patience.remove(&account).unwrap_or(PATIENCE);
        // Whoever takes long keeps nobody else from being counted.
        tasks.sort_by_key(|(.., took)| *took);
        let mut rest = &tasks[..];
        for _ in 0..PERIODS {
            if rest.is_empty() {
                break;
            }
            let begun = Instant::now();
            // Shims take no longer.
            let still = Still::hold(tasks.iter().map(|(_, dir, spec, _)| (*dir, *spec)), freezer::LONGEST);
            let until = still.as_ref().and_then(Still::until);
            let first = rest.len();
            while let [(number, dir, spec, _), others @ ..] = rest {
                let holding = holding(dir, spec, until, &mut patience, &mut found);
                let holding = holding.map(|holding| match holding {
                    // It has a period of its own then.
                    None if rest.len() < first => None,
                    holding => Some(holding.unwrap_or_else(|| counted_too_long(spec))),
                });
                let Some(holding) = holding.transpose() else { break };
                (counted[*number], rest) = (holding, others);
            }
            drop(still);
            if !rest.is_empty() {
                let _ = poll(&mut [], Timespec::try_from(begun.elapsed()).ok().as_ref());
            }
        }
        for (number, _, spec, _) in rest {
            counted[*number] = Ok(counted_too_long(spec));
        }
    }
    counted
}

/// One of the tasks: its number among them, its directory, what it is, and how long it took to count it.
type Counted<'a> = (usize, &'a Path, &'a TaskSpec, Duration);

fn counted_too_long(spec: &TaskSpec) -> Holding {
    Holding { owner: owner(spec), bytes: u64::MAX, files: u64::MAX }
}

fn owner(spec: &TaskSpec) -> Option<String> {
    spec.owner.as_ref().map(|owner| owner.key.clone())
}

/// Tasks whose count hasn't come to an end: nobody waits for them a second time.
static HANGING: Mutex<BTreeMap<PathBuf, Apart<Outcome>>> = Mutex::new(BTreeMap::new());

fn hanging() -> MutexGuard<'static, BTreeMap<PathBuf, Apart<Outcome>>> {
    HANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one has, if that can be counted until then. How long it was waited for the task is taken from `patience`.
fn holding(
    task_dir: &Path,
    spec: &TaskSpec,
    until: Option<Instant>,
    patience: &mut Patience,
    found: &mut Found,
) -> io::Result<Option<Holding>> {
    hanging().retain(|_, count| count.within(Duration::ZERO).is_none());
    if hanging().contains_key(task_dir) || patience.all.is_zero() {
        return Ok(Some(counted_too_long(spec)));
    }
    let scratch = open_host(&task_dir.join(SCRATCH_DIR))?;
    let mut count = counting(&scratch, &processes(spec, task_dir), until, std::mem::take(found))?;
    let outcome = count.unless_stuck(*patience);
    patience.all = patience.all.saturating_sub(count.waited_in_all());
    let Some(outcome) = outcome else {
        hanging().insert(task_dir.to_owned(), count);
        return Ok(Some(counted_too_long(spec)));
    };
    let (used, now_found) = outcome?;
    *found = now_found;
    let used = match used {
        Ok(Some(used)) => used,
        Ok(None) => return Ok(None),
        // Who has more than anybody looks at hides it: taken for all there is.
        Err(_) => Usage { bytes: u64::MAX, files: u64::MAX },
    };
    let context = fs::metadata(task_dir.join(CONTEXT_FILE)).map_or(0, |file| file.len());
    // What the master has of it takes no space here any more, whatever its length.
    let log = fs::metadata(task_dir.join(LOG_FILE)).map_or(0, |file| file.blocks() * 512);
    let bytes = used.bytes.saturating_add(context.saturating_add(log));
    Ok(Some(Holding { owner: owner(spec), bytes, files: used.files }))
}

/// The task's processes, as directories of `/proc`; they may hold files that have no name any more.
fn processes(spec: &TaskSpec, task_dir: &Path) -> Vec<PathBuf> {
    if let Some((_, cgroup)) = cgroup::dirs(spec).next() {
        return usage::processes(Some(&cgroup.join("cgroup.procs")), 0);
    }
    let pid = fs::read_to_string(task_dir.join(PID_FILE)).unwrap_or_default();
    let Some(shim) = pid.split_whitespace().next() else { return vec![] };
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let own = namespace("self");
    // The shim's other children, such as the helper of the network, are in the machine's own namespace.
    let init = |child: &&str| namespace(child) != own;
    let inits = children.split_whitespace().filter(init).filter_map(|child| child.parse().ok());
    inits.flat_map(|init| usage::processes(None, init)).collect()
}
