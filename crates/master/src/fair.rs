//! Whose turn it is, where many wait for little: shares that nobody's number changes (A8, R21).
//!
//! Two lanes: who is known, and strangers. Of every four turns one is a stranger's whenever one waits, and three are those
//! of people who are known: neither lane keeps the other waiting. In a lane it is not who comes first, but who has had
//! the fewest turns lately. Who is too much when a lane is full is the last one of whoever has the most waiting there.

use std::collections::{HashMap, VecDeque};

/// Of so many turns one is a stranger's.
const STRANGERS_TURN: u8 = 4;

/// After so many turns in a lane, what was had before counts half: *lately* is measured in work.
const LATELY: u32 = 256;

/// Who waits, and for what they are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lane {
    /// Somebody who is logged in, or has logged in from there before. The account, in any form that tells it from others.
    Known(String),
    /// Anybody; where they ask from.
    Stranger(String),
}

/// One who waits.
#[derive(Debug, Default)]
struct Share<T> {
    /// Turns had lately.
    had: u32,
    waiting: VecDeque<(u64, T)>,
}

/// One lane.
#[derive(Debug)]
struct Queue<T> {
    of: HashMap<String, Share<T>>,
    waiting: usize,
    turns: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), waiting: 0, turns: 0 }
    }
}

impl<T> Queue<T> {
    /// Takes one more; gives back the one that is too much, if `most` are there already.
    fn push(&mut self, key: String, number: u64, item: T, most: usize) -> Option<T> {
        let share = self.of.entry(key).or_insert_with(|| Share { had: 0, waiting: VecDeque::new() });
        share.waiting.push_back((number, item));
        self.waiting += 1;
        if self.waiting <= most {
            return None;
        }
        // Of two with as many, it is who has had more, and of those who came last.
        let weight = |share: &Share<T>| {
            let last = share.waiting.back().map_or(0, |(number, _)| *number);
            (share.waiting.len(), share.had, last)
        };
        let largest = self.of.iter().max_by_key(|(_, share)| weight(share));
        let key = largest.map(|(key, _)| key.clone())?;
        let share = self.of.get_mut(&key)?;
        let (_, item) = share.waiting.pop_back()?;
        self.waiting -= 1;
        self.tidy(&key);
        Some(item)
    }

    fn pop(&mut self) -> Option<T> {
        let waiting = self.of.iter().filter_map(|(key, share)| {
            let (number, _) = share.waiting.front()?;
            Some(((share.had, *number), key))
        });
        let key = waiting.min_by_key(|(order, _)| *order).map(|(_, key)| key.clone())?;
        let share = self.of.get_mut(&key)?;
        let (_, item) = share.waiting.pop_front()?;
        share.had = share.had.saturating_add(1);
        self.waiting -= 1;
        self.turns += 1;
        if self.turns >= LATELY {
            self.turns = 0;
            self.of.values_mut().for_each(|share| share.had /= 2);
            self.of.retain(|_, share| share.had > 0 || !share.waiting.is_empty());
        }
        Some(item)
    }

    /// Forgets who has had nothing and waits for nothing.
    fn tidy(&mut self, key: &str) {
        if self.of.get(key).is_some_and(|share| share.had == 0 && share.waiting.is_empty()) {
            self.of.remove(key);
        }
    }
}

/// All who wait.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    known: Queue<T>,
    strangers: Queue<T>,
    /// Most that wait in each lane.
    most: usize,
    numbers: u64,
    /// Turns since the last stranger's.
    since: u8,
}

impl<T> Fair<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { known: Queue::default(), strangers: Queue::default(), most, numbers: 0, since: 0 }
    }

    /// Takes one who waits. What is given back is too much: it may be another one.
    pub(crate) fn push(&mut self, lane: Lane, item: T) -> Option<T> {
        self.numbers += 1;
        match lane {
            Lane::Known(key) => self.known.push(key, self.numbers, item, self.most),
            Lane::Stranger(key) => self.strangers.push(key, self.numbers, item, self.most),
        }
    }

    /// Who is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let strangers_turn = self.since + 1 >= STRANGERS_TURN;
        let known = if strangers_turn { None } else { self.known.pop() };
        if let Some(item) = known {
            // With no stranger there nobody's turn comes nearer.
            self.since = if self.strangers.waiting > 0 { self.since + 1 } else { 0 };
            return Some(item);
        }
        self.since = 0;
        self.strangers.pop().or_else(|| self.known.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 64;

    fn known(name: &str) -> Lane {
        Lane::Known(name.to_owned())
    }

    fn stranger(place: &str) -> Lane {
        Lane::Stranger(place.to_owned())
    }

    /// Who has the turns, one after the other.
    fn turns(fair: &mut Fair<&'static str>, number: usize) -> Vec<&'static str> {
        (0..number).map_while(|_| fair.pop()).collect()
    }

    #[test]
    fn a08_neither_lane_keeps_the_other_waiting() {
        let mut fair = Fair::new(MOST);
        for _ in 0..30 {
            fair.push(known("alice"), "alice");
            fair.push(stranger("there"), "stranger");
        }
        let turns = turns(&mut fair, 40);
        assert_eq!(turns.iter().filter(|who| **who == "stranger").count(), 10);
        assert!(turns[..4].contains(&"stranger"), "{turns:?}");
        assert_eq!(std::iter::from_fn(|| fair.pop()).count(), 20, "and no turn is lost");
    }

    #[test]
    fn a08_who_had_much_lately_goes_last() {
        let mut fair = Fair::new(MOST);
        for _ in 0..50 {
            fair.push(known("alice"), "alice");
            assert_eq!(fair.pop(), Some("alice"), "who is alone waits for nobody");
        }
        for _ in 0..10 {
            fair.push(known("alice"), "alice");
        }
        fair.push(known("bob"), "bob");
        fair.push(known("bob"), "bob");
        fair.push(known("carol"), "carol");
        assert_eq!(turns(&mut fair, 4), ["bob", "carol", "bob", "alice"]);
    }

    #[test]
    fn a08_lately_is_not_for_ever() {
        let mut fair = Fair::new(MOST);
        for _ in 0..LATELY * 12 {
            fair.push(known("alice"), "alice");
            fair.pop();
        }
        assert!(fair.known.of["alice"].had <= 2 * LATELY);
        for number in 0..LATELY * 12 {
            fair.push(known(&format!("one of many {number}")), "many");
            fair.pop();
        }
        assert!(!fair.known.of.contains_key("alice"), "it is forgotten");
        assert!(fair.known.of.len() <= 2 * LATELY as usize, "and so are they");
    }

    #[test]
    fn a08_nobody_fills_a_lane() {
        let mut fair = Fair::new(MOST);
        for _ in 0..MOST {
            assert_eq!(fair.push(stranger("there"), "flood"), None, "as long as nobody else wants it");
            assert_eq!(fair.push(known("alice"), "alice"), None);
        }
        assert_eq!(fair.push(stranger("there"), "flood"), Some("flood"));
        for (number, lane) in (0..8).map(|number| (number, stranger(&format!("new {number}")))) {
            assert_eq!(fair.push(lane, "new"), Some("flood"), "{number}");
        }
        assert_eq!(fair.push(known("bob"), "bob"), Some("alice"));
        assert_eq!((fair.known.waiting, fair.strangers.waiting), (MOST, MOST));
        assert_eq!(fair.pop(), Some("alice"), "who has come first");
        assert_eq!(fair.pop(), Some("bob"), "and then who hasn't had any");
    }
}
