//! How much fuller a disk has become lately. Who gives way is found by what accounts hold: where that explains little of it,
//! somebody else has filled the disk, or somebody hides what they hold, and no innocent one is to be ended for it (T2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long it is remembered how full the disk was, …
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// … of stretches of time the least in each.
const STRETCH: Duration = Duration::from_secs(10 * 60);

/// What is remembered of one thing that a disk has.
#[derive(Debug, Default)]
pub(super) struct Filling(VecDeque<(Instant, u64)>);

impl Filling {
    /// Notes how much is used now; how much more that is than it was at its least lately.
    pub(super) fn note(&mut self, used: u64, now: Instant) -> u64 {
        match self.0.back_mut().filter(|(since, _)| now.saturating_duration_since(*since) < STRETCH) {
            Some((_, least)) => *least = used.min(*least),
            None => self.0.push_back((now, used)),
        }
        while self.0.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > MEMORY) {
            self.0.pop_front();
        }
        let least = self.0.iter().map(|(_, least)| *least).min();
        least.map_or(0, |least| used.saturating_sub(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_how_full_it_was_is_remembered_for_a_day() {
        let (mut filling, begun) = (Filling::default(), Instant::now());
        let minute = Duration::from_secs(60);
        assert_eq!(filling.note(500, begun), 0);
        assert_eq!(filling.note(900, begun + minute), 400);
        assert_eq!(filling.note(300, begun + 2 * minute), 0);
        assert_eq!(filling.note(800, begun + 12 * minute), 500);
        for minutes in 13..48 * 60 {
            filling.note(800, begun + minutes * minute);
            assert!(filling.0.len() <= 146);
        }
        assert_eq!(filling.note(900, begun + 48 * 60 * minute), 100, "and then forgotten");
    }
}
