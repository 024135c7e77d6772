//! What waiting tasks were told in their logs of why they wait: each kind of reason once, and none of them so often that
//! somebody who has many wait fills a disk with that (MC10).

use std::sync::Arc;
use std::time::Duration;

use domain::hash::IdMap;
use domain::id::TaskId;
use tokio::time::Instant;

use super::Wait;

/// So many reasons are told at once, …
const AT_ONCE: u32 = 10;
/// … and then one in this time. What changes back meanwhile isn't told.
const AGAIN: Duration = Duration::from_secs(60);

/// What those that wait were told last.
#[derive(Default)]
pub(super) struct Told(IdMap<TaskId, Last>);

struct Last {
    why: Arc<str>,
    at: Instant,
    left: u32,
}

/// What comes behind a colon are numbers, which change often.
fn kind(why: &str) -> &str {
    why.split(':').next().unwrap_or_default()
}

impl Told {
    /// Which of those that wait now are to be told why.
    pub(super) fn news(&mut self, waits: &IdMap<TaskId, Wait>, now: Instant) -> Vec<TaskId> {
        let mut news = Vec::new();
        for (task, wait) in waits {
            let last = self.0.entry(*task).or_insert_with(|| Last { why: "".into(), at: now, left: AT_ONCE });
            if last.why == wait.why || kind(&last.why) == kind(&wait.why) {
                continue;
            }
            let again = now.saturating_duration_since(last.at).as_secs() / AGAIN.as_secs();
            let left = last.left.saturating_add(u32::try_from(again).unwrap_or(u32::MAX)).min(AT_ONCE);
            if let Some(left) = left.checked_sub(1) {
                *last = Last { why: Arc::clone(&wait.why), at: now, left };
                news.push(*task);
            }
        }
        if self.0.len() > waits.len() {
            self.0.retain(|task, _| waits.contains_key(task));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_reasons_that_change_all_the_time_are_told_now_and_then() {
        let task = TaskId(uuid::Uuid::from_u128(1));
        let waits = |why: &str| IdMap::from_iter([(task, Wait { why: why.into(), ahead: 0 })]);
        let (mut told, begun) = (Told::default(), Instant::now());
        assert_eq!(told.news(&waits("it waits for 1 slot: 1 of 2 are in use"), begun), [task]);
        assert!(told.news(&waits("it waits for 1 slot: 2 of 2 are in use"), begun).is_empty(), "numbers");
        let flips = |told: &mut Told, at: Instant| {
            let both = ["its workspace is archived", "no agent is connected"];
            (0..100).filter(|n| !told.news(&waits(both[n % 2]), at).is_empty()).count()
        };
        assert_eq!(flips(&mut told, begun), 9);
        assert_eq!(flips(&mut told, begun + AGAIN / 2), 0);
        assert_eq!(flips(&mut told, begun + AGAIN), 1);
        assert!(told.news(&IdMap::default(), begun + AGAIN).is_empty());
        assert_eq!(told.news(&waits("again"), begun + AGAIN), [task], "it waits anew");
    }
}
