//! Looks how full the disk is and, when it is, what tasks hold; asks shims to end those that `choose` names.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::AllocationId;
use launch::{Holding, Shim};
use rustix::fs::statvfs;
use tokio::task::spawn_blocking;

use super::{BYTES, Choice, FILES, Level, Share, choose};
use crate::limits::Bound;
use crate::machine::Machine;

/// Between two looks at how full the disk is.
const TICK: Duration = Duration::from_millis(200);
/// Counting what tasks hold takes at most this part of the time, …
const PART: u32 = 20;
/// … unless that would be longer than this.
const LONGEST: Duration = Duration::from_secs(30);
/// What is asked to end has gone by then, or is stuck.
const GONE: Duration = Duration::from_secs(30);

/// Sees to it that there is room on the disk, for as long as it is polled. `least` is how many bytes are to be free.
pub(crate) async fn keep(machine: Arc<Machine>, least: Bound<u64>) {
    let set = match least {
        Bound::Usual => None,
        Bound::Unlimited => return,
        Bound::At(bytes) => Some(bytes),
    };
    let mut keeper = Keeper { machine, set, asked: BTreeMap::new(), counted: None, told: false };
    loop {
        tokio::time::sleep(TICK).await;
        let looked = spawn_blocking(move || {
            keeper.look();
            keeper
        });
        match looked.await {
            Ok(same) => keeper = same,
            // The runtime shuts down.
            Err(_) => return,
        }
    }
}

struct Keeper {
    machine: Arc<Machine>,
    set: Option<u64>,
    /// Whose end was asked for, and when.
    asked: BTreeMap<AllocationId, Instant>,
    /// When the last count was over, and how long it took.
    counted: Option<(Instant, Duration)>,
    /// It was said that ending tasks doesn't help.
    told: bool,
}

impl Keeper {
    fn look(&mut self) {
        let Some((bytes, files)) = self.levels() else { return };
        let low: Vec<_> = [Some(bytes), files].into_iter().flatten().filter(Level::is_low).collect();
        if low.is_empty() {
            (self.told, self.counted) = (false, None);
            return;
        }
        let urgent = low.iter().any(Level::is_urgent);
        let pause = |took: Duration| if urgent { took } else { (took * PART).min(LONGEST) };
        if self.counted.is_some_and(|(at, took)| at.elapsed() < pause(took)) {
            return;
        }
        let begun = Instant::now();
        self.asked.retain(|_, at| at.elapsed() < GONE);
        let holdings = self.holdings();
        // Bytes first, and one thing at a time: what makes room for bytes makes room for files, too.
        for level in low {
            if self.make_room(&level, &holdings) {
                break;
            }
        }
        self.counted = Some((Instant::now(), begun.elapsed()));
    }

    /// How it stands with bytes and, where their number is bounded, with files.
    fn levels(&self) -> Option<(Level, Option<Level>)> {
        let disk = statvfs(self.machine.data_dir.tasks()).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let files = (disk.f_files > 0).then(|| Level::new(FILES, disk.f_favail, disk.f_files, None));
        Some((Level::new(BYTES, bytes(disk.f_bavail), bytes(disk.f_blocks), self.set), files))
    }

    /// What each task holds that isn't over.
    fn holdings(&self) -> Vec<(AllocationId, Holding)> {
        let entries = fs::read_dir(self.machine.data_dir.tasks()).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(|id: AllocationId| {
            let dir = self.machine.data_dir.tasks().join(id.to_string());
            let lives = matches!(launch::read_exit(&dir), Ok(None));
            // What can't be read yet, or any more, holds nothing.
            lives.then(|| launch::holding(&dir).ok()).flatten().map(|holding| (id, holding))
        })
        .collect()
    }

    /// Asks for the ends that make room; whether any is on its way.
    fn make_room(&mut self, level: &Level, holdings: &[(AllocationId, Holding)]) -> bool {
        let share = |(id, holding): &(AllocationId, Holding)| Share {
            id: *id,
            owner: holding.owner.clone().unwrap_or_else(|| id.to_string()),
            held: if level.measure.name == BYTES.name { holding.bytes } else { holding.files },
            ends: self.asked.contains_key(id),
        };
        let Choice { tasks, in_vain } = choose(level, holdings.iter().map(share).collect());
        for task in &tasks {
            self.end(task, level);
        }
        if in_vain && tasks.is_empty() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "the disk of {} has only {} {} left, and tasks hold little of it: nothing is ended; make room there",
                self.machine.data_dir.root().display(),
                level.free,
                level.measure.name
            );
        }
        !tasks.is_empty() || !self.asked.is_empty()
    }

    fn end(&mut self, task: &Share, level: &Level) {
        let (name, dir) = (level.measure.name, self.machine.data_dir.tasks().join(task.id.to_string()));
        let asked = match Shim::open(&dir) {
            Ok(Some(shim)) => shim.end_for_room(),
            // It has just ended.
            Ok(None) => return,
            Err(e) => Err(e),
        };
        self.asked.insert(task.id, Instant::now());
        match asked {
            Ok(()) => tracing::warn!(
                "task {} is ended, which holds {} {name}: only {} of the disk are left, and its account holds most \
                 (agent.keep_free)",
                task.id,
                task.held,
                level.free
            ),
            Err(e) => tracing::error!("task {} can't be ended to make room: {e}", task.id),
        }
    }
}
