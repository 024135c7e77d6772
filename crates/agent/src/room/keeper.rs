//! Looks how full a disk is and, when it is, what accounts hold of it; has that given back which `choose` names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::TaskId;
use rustix::fs::statvfs;
use tokio::task::spawn_blocking;

use super::filling::Memory;
use super::{BYTES, Choice, FILES, Holder, Level, Part, Share, Way, choose, together};
use crate::Bound;

/// Between two looks at how full the disk is.
const TICK: Duration = Duration::from_millis(200);
/// Counting what is held takes at most this part of the time, …
const PART: u32 = 20;
/// … unless that would be longer than this.
const LONGEST: Duration = Duration::from_secs(30);
/// Where the last count was in vain, the next one isn't sooner than that.
const AT_LEAST: Duration = Duration::from_secs(2);
/// What is asked to end, or is over, has gone by then, or is stuck.
const GONE: Duration = Duration::from_secs(30);
/// Between two notes of what others have. Counting for them takes no larger part of the time.
const NOTES: Duration = Duration::from_secs(10 * 60);
/// Until the first note: what agent and master set aside for themselves when they start is there by then.
const FIRST: Duration = Duration::from_secs(5);

/// Sees to it that there is room on a disk, for as long as it is polled. `place` is a directory on it, `least` how many bytes are
/// to be free. Where a task isn't over that several holders have something of, the first one of them ends it.
pub async fn keep(place: PathBuf, least: Bound<u64>, holders: Vec<Arc<dyn Holder>>) {
    let set = match least {
        Bound::Usual => None,
        Bound::Unlimited => return,
        Bound::At(bytes) => Some(bytes),
    };
    let mut keeper = Keeper {
        place,
        set,
        holders,
        memory: None,
        notes: Instant::now() + FIRST,
        leaving: HashMap::new(),
        counted: None,
        told: false,
    };
    loop {
        keeper.look().await;
        tokio::time::sleep(TICK).await;
    }
}

struct Keeper {
    place: PathBuf,
    set: Option<u64>,
    holders: Vec<Arc<dyn Holder>>,
    /// What others had lately.
    memory: Option<Memory>,
    /// When that is noted again.
    notes: Instant,
    /// Whose end was asked for, or who was seen to be over, and when.
    leaving: HashMap<TaskId, Instant>,
    /// When the last count was over, and how long it took.
    counted: Option<(Instant, Duration)>,
    /// It was said that nothing helps.
    told: bool,
}

impl Keeper {
    async fn look(&mut self) {
        let Some((bytes, files)) = self.levels().await else { return };
        let low: Vec<_> = [Some(bytes), files].into_iter().flatten().filter(Level::is_low).collect();
        if low.is_empty() {
            (self.told, self.counted) = (false, None);
            if self.notes <= Instant::now() {
                self.note().await;
            }
            return;
        }
        let urgent = low.iter().any(Level::is_urgent);
        let pause = |took: Duration| match took * PART {
            _ if urgent && !self.told => took,
            // Tasks stand still for a count, and nothing came of the last one.
            pause if self.told => pause.clamp(AT_LEAST, LONGEST),
            pause => pause.min(LONGEST),
        };
        if self.counted.is_some_and(|(at, took)| at.elapsed() < pause(took)) {
            return;
        }
        let begun = Instant::now();
        let (mut parts, _) = self.count().await;
        self.note_leaving(&mut parts);
        // Bytes first, and one thing at a time: what makes room for bytes makes room for files, too.
        for level in low {
            if self.make_room(&level, &parts).await {
                break;
            }
        }
        self.counted = Some((Instant::now(), begun.elapsed()));
    }

    /// What accounts hold, and whether that is all.
    async fn count(&self) -> (Vec<Part>, bool) {
        let mut lists = Vec::with_capacity(self.holders.len());
        for holder in &self.holders {
            lists.push(holder.shares().await);
        }
        let whole = lists.iter().all(Option::is_some);
        (together(lists.into_iter().map(Option::unwrap_or_default).collect()), whole)
    }

    /// Notes what others have. What was there before the count or is after it: something may go meanwhile, and what others
    /// have mustn't seem less than it is.
    async fn note(&mut self) {
        let begun = Instant::now();
        let before = self.levels().await;
        let (parts, whole) = self.count().await;
        self.notes = Instant::now() + NOTES.max(begun.elapsed() * PART);
        let (Some((bytes, files)), Some(after), true) = (before, self.levels().await, whole) else { return };
        let Some(memory) = &mut self.memory else { return };
        let others = |before: Level, after: Level| {
            let held = before.held(&parts);
            (!held.unknown).then(|| before.used.max(after.used).saturating_sub(held.known))
        };
        if let Some(others) = others(bytes, after.0) {
            memory.bytes.note(others);
        }
        if let Some(others) = files.zip(after.1).and_then(|(before, after)| others(before, after)) {
            memory.files.note(others);
        }
        let (file, written) = (file(&self.place), memory.clone());
        // An error means that the runtime shuts down.
        drop(spawn_blocking(move || written.write(&file)).await);
    }

    /// Notes which of these will be gone soon. Of what doesn't go although it was asked to, nothing more is hoped for: else it
    /// would be asked again and again, and nobody else (MJ3).
    fn note_leaving(&mut self, parts: &mut [Part]) {
        let mut leaving = HashMap::new();
        for Part { share, ends, .. } in parts {
            let known = self.leaving.get(&share.task).copied();
            let since = match share.way {
                Way::End(_) => known,
                Way::Soon => known.or_else(|| Some(Instant::now())),
                Way::Remove | Way::None => None,
            };
            if let Some(since) = since {
                leaving.insert(share.task, since);
                *ends = since.elapsed() < GONE;
                if !*ends {
                    share.way = Way::None;
                }
            }
        }
        self.leaving = leaving;
    }

    /// How it stands with bytes and, where their number is bounded, with files.
    async fn levels(&mut self) -> Option<(Level, Option<Level>)> {
        let place = self.place.clone();
        let disk = spawn_blocking(move || statvfs(&place)).await.ok()?.ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let memory = match &mut self.memory {
            Some(memory) => memory,
            None => {
                let file = file(&self.place);
                let read = spawn_blocking(move || Memory::read(&file, disk.f_fsid));
                self.memory.insert(read.await.ok()?)
            }
        };
        let level = Level {
            used: bytes(disk.f_blocks.saturating_sub(disk.f_bfree)),
            others: memory.bytes.least(),
            ..Level::new(BYTES, bytes(disk.f_bavail), bytes(disk.f_blocks), self.set)
        };
        let files = || Level {
            used: disk.f_files.saturating_sub(disk.f_ffree),
            others: memory.files.least(),
            ..Level::new(FILES, disk.f_favail, disk.f_files, None)
        };
        Some((level, (disk.f_files > 0).then(files)))
    }

    /// Has that given back which makes room; whether any is on its way.
    async fn make_room(&mut self, level: &Level, parts: &[Part]) -> bool {
        let Choice { parts: chosen, in_vain } = choose(level, parts);
        let chosen: Vec<&Part> = chosen.iter().filter_map(|number| parts.get(*number)).collect();
        for (number, holder) in self.holders.iter().enumerate() {
            let of = chosen.iter().filter(|part| part.holder == number).map(|part| &part.share);
            let shares: Vec<&Share> = of.collect();
            if !shares.is_empty() {
                self.leaving.extend(tell(level, &shares).into_iter().map(|task| (task, Instant::now())));
                holder.give_back(shares).await;
            }
        }
        if in_vain && chosen.is_empty() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "the disk of {} has only {} {} left, and accounts don't hold what it lacks: others have {} more there than at \
                 the least in the last week with room (a bind mount that somebody fills is among that, other programs, and \
                 what is hidden from the count). Nothing is ended or removed for that, and starts may fail; make room there. \
                 If that belongs there: stop the agent, and remove {}",
                self.place.display(),
                level.free,
                level.measure.name,
                level.grown(level.held(parts).known),
                file(&self.place).display()
            );
        }
        !chosen.is_empty() || parts.iter().any(|part| part.ends)
    }
}

/// Where it stands what others had lately, beside the directory.
fn file(place: &Path) -> PathBuf {
    place.with_extension("room")
}

/// Why a task is ended.
fn why(level: &Level, share: &Share) -> String {
    let (Share { task, bytes, files, .. }, name, free) = (share, level.measure.name, level.free);
    if (level.measure.of)(share) == u64::MAX {
        return format!(
            "task {task} is ended, which holds more than anybody looks at: only {free} {name} of the disk are left, and nobody \
             else gives way for what it may hold (agent.keep_free)"
        );
    }
    format!(
        "task {task} is ended, which holds {bytes} bytes in {files} files and its log: only {free} {name} of the disk are left, \
         and its account holds most (agent.keep_free)"
    )
}

/// Says what gives way; those among it that are to end.
fn tell(level: &Level, shares: &[&Share]) -> Vec<TaskId> {
    let (name, free) = (level.measure.name, level.free);
    let ended: Vec<&&Share> = shares.iter().filter(|share| matches!(share.way, Way::End(_))).collect();
    for share in &ended {
        tracing::warn!("{}", why(level, share));
    }
    let logs = shares.len() - ended.len();
    if logs > 0 {
        tracing::warn!(
            "{logs} logs of tasks that are over are removed: only {free} {name} of the disk are left, and their accounts \
             hold most (agent.keep_free)"
        );
    }
    ended.into_iter().map(|share| share.task).collect()
}

#[cfg(test)]
mod tests {
    use domain::id::AllocationId;

    use super::*;

    /// MJ3: the same task was ended every half minute, and nobody else was.
    #[test]
    fn a04_mj3_who_was_asked_and_does_not_go_is_not_asked_again() {
        let task = |number: u8| -> TaskId {
            format!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a0000000{number}").parse().expect("valid")
        };
        let mut keeper = Keeper {
            place: PathBuf::new(),
            set: None,
            holders: Vec::new(),
            memory: None,
            notes: Instant::now(),
            leaving: HashMap::new(),
            counted: None,
            told: false,
        };
        let part = |number, megabytes: u64| Part {
            share: Share {
                task: task(number),
                owner: "eve".into(),
                bytes: megabytes << 20,
                files: 1,
                way: Way::End(AllocationId::first(task(number))),
            },
            holder: 0,
            ends: false,
        };
        let parts = || vec![part(1, 700), part(2, 600)];
        let level = Level { used: 1300 << 20, ..Level::new(BYTES, 0, 2000 << 20, None) };
        let mut first = parts();
        keeper.note_leaving(&mut first);
        assert_eq!(choose(&level, &first).parts, [0], "who holds most");
        for (asked, chosen) in [(Duration::ZERO, vec![]), (GONE, vec![1])] {
            keeper.leaving =
                HashMap::from([(task(1), Instant::now().checked_sub(asked).expect("up for long"))]);
            let mut later = parts();
            keeper.note_leaving(&mut later);
            assert_eq!(choose(&level, &later).parts, chosen, "{asked:?}");
            assert!(keeper.leaving.contains_key(&task(1)), "it isn't forgotten");
        }
    }

    /// MD11: what isn't known has no number.
    #[test]
    fn md11_a_task_that_nobody_can_count_is_said_to_hold_no_number() {
        let task: TaskId = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000".parse().expect("valid");
        let share = |bytes, files| {
            let way = Way::End(AllocationId::first(task));
            Share { task, owner: "one".into(), bytes, files, way }
        };
        let level = Level::new(BYTES, 0, 2000 << 20, None);
        let told = why(&level, &share(u64::MAX, u64::MAX));
        assert!(told.contains("more than anybody looks at") && !told.contains("184467"), "{told}");
        assert!(why(&level, &share(5, 7)).contains("holds 5 bytes in 7 files"));
    }
}
