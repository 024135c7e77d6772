//! What others than accounts have on a disk, and how little that was lately. Who gives way is found by what accounts hold: what
//! others have filled since then, or somebody hides from the count, no account is to give way for (T2, KA1).
//!
//! It is remembered in a file, also while no agent runs: who fills a disk could wait for an update, or bring one about. Time
//! passes by notes, which are made while there is room only: what makes a disk too full isn't forgotten for as long as it is.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Notes of one stretch: an hour. What is remembered of it is the most, since a count can find too much, of what goes just then.
const NOTES: u32 = 6;
/// So many stretches: a week. What has stood for that long is taken for what belongs there.
const STRETCHES: usize = 7 * 24;

/// What is remembered of one thing that a disk has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filling {
    /// The most of each stretch that is over, the oldest one first.
    past: VecDeque<u64>,
    /// Of the one that isn't: how many notes, and the most of them.
    #[serde(skip)]
    now: (u32, u64),
}

impl Filling {
    /// Notes what others have now, a sixth of an hour after the last note.
    pub(super) fn note(&mut self, others: u64) {
        let (notes, most) = self.now;
        self.now = (notes + 1, most.max(others));
        // What is noted first has nothing before it.
        if self.now.0 >= NOTES || self.past.is_empty() {
            self.past.push_back(std::mem::take(&mut self.now).1);
        }
        while self.past.len() > STRETCHES {
            self.past.pop_front();
        }
    }

    /// The least that others had lately, if anything is known of that.
    pub(super) fn least(&self) -> Option<u64> {
        self.past.iter().min().copied()
    }
}

/// What is remembered of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Which one that is: its number, as the kernel tells it.
    disk: u64,
    pub(super) bytes: Filling,
    pub(super) files: Filling,
}

impl Memory {
    /// What the file tells of this disk, or nothing.
    pub(super) fn read(path: &Path, disk: u64) -> Self {
        let read = std::fs::read(path).ok();
        let memory: Option<Self> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        memory.filter(|memory| memory.disk == disk).unwrap_or(Self { disk, ..Self::default() })
    }

    /// Writes it, or leaves what is there: on a full disk, what was known before counts.
    pub(super) fn write(&self, path: &Path) {
        let written = serde_json::to_vec(self).map_err(std::io::Error::other);
        if let Err(e) = written.and_then(|bytes| crate::data_dir::write_file(path, &bytes)) {
            tracing::debug!("{} can't be written, and is as it was: {e}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ka01_the_least_that_others_had_is_remembered_for_a_week_with_room() {
        let mut filling = Filling::default();
        assert_eq!(filling.least(), None);
        filling.note(500);
        assert_eq!(filling.least(), Some(500), "how it began");
        for others in [900, 300, 300, 300, 300] {
            filling.note(others);
            assert_eq!(filling.least(), Some(500), "one count may have found too much");
        }
        filling.note(300);
        assert_eq!(filling.least(), Some(500));
        for _ in 0..NOTES {
            filling.note(300);
        }
        assert_eq!(filling.least(), Some(300));
        for _ in 0..NOTES * (7 * 24 - 1) {
            filling.note(800);
            assert_eq!(filling.least(), Some(300));
        }
        for _ in 0..NOTES {
            filling.note(800);
        }
        assert_eq!((filling.least(), filling.past.len()), (Some(800), 7 * 24), "and then forgotten");
    }

    #[test]
    fn ka01_what_others_had_is_known_to_the_next_agent() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("tasks.room");
        let mut memory = Memory::read(&file, 7);
        assert_eq!(memory, Memory { disk: 7, ..Memory::default() });
        memory.bytes.note(500);
        memory.files.note(3);
        memory.write(&file);
        assert_eq!(Memory::read(&file, 7), memory);
        // Another disk is another thing.
        assert_eq!(Memory::read(&file, 8).bytes.least(), None);
        // It can't be written: what is there stays, and so does what is known.
        std::fs::create_dir(dir.path().join("tasks.room.new")).expect("in its way");
        memory.bytes.note(900);
        memory.write(&file);
        assert_eq!(Memory::read(&file, 7).bytes.least(), Some(500));
        std::fs::write(&file, "{").expect("written");
        assert_eq!(Memory::read(&file, 7).bytes.least(), None);
    }
}
