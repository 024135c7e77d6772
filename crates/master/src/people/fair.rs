//! Whose turn it is, where many wait for little: shares that nobody's number changes (A8, R21).
//!
//! Two lanes: who is known, and strangers. Of every four turns one is a stranger's whenever one waits, and three are those
//! of people who are known: neither lane keeps the other waiting. In a lane it is not who comes first, but who has had
//! the fewest turns lately; among strangers the network that has had the fewest, from the widest to the narrowest. Who is
//! too much when a lane is full is the last one of whoever has the most waiting there.

use std::collections::HashMap;

use domain::throttle::Origin;

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
    Stranger(Origin),
}

impl Lane {
    /// What has a share each, in what has a share.
    fn path(&self) -> &[String] {
        match self {
            Self::Known(account) => std::slice::from_ref(account),
            Self::Stranger(origin) => origin.path(),
        }
    }
}

/// Goes down from the widest shares to the narrowest ones: at each step `choose` takes one of the groups, which has the
/// indices of `paths` below it. Those of the last one are returned.
pub(crate) fn descend(
    paths: &[&[String]],
    mut choose: impl FnMut(Vec<(&str, Vec<usize>)>) -> Option<Vec<usize>>,
) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..paths.len()).collect();
    for level in 0.. {
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for index in &chosen {
            if let Some(key) = paths.get(*index).and_then(|path| path.get(level)) {
                groups.entry(key).or_default().push(*index);
            }
        }
        let Some(group) = choose(groups.into_iter().collect()) else { break };
        chosen = group;
    }
    chosen
}

/// One who waits.
#[derive(Debug)]
struct Waiter<T> {
    lane: Lane,
    item: T,
}

/// One lane.
#[derive(Debug)]
struct Queue<T> {
    /// In the order in which they came.
    waiting: Vec<Waiter<T>>,
    /// Turns had lately, by what has a share.
    had: HashMap<String, u32>,
    turns: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: vec![], had: HashMap::new(), turns: 0 }
    }
}

impl<T> Queue<T> {
    fn paths(&self) -> Vec<&[String]> {
        self.waiting.iter().map(|waiter| waiter.lane.path()).collect()
    }

    fn had(&self, key: &str) -> u32 {
        self.had.get(key).copied().unwrap_or_default()
    }

    /// Takes one more; gives back the one that is too much, if `most` are there already.
    fn push(&mut self, lane: Lane, item: T, most: usize) -> Option<T> {
        self.waiting.push(Waiter { lane, item });
        if self.waiting.len() <= most {
            return None;
        }
        // Of two with as many, it is who has had more, and of those who came last.
        let of_the_most = descend(&self.paths(), |groups| {
            let most =
                groups.into_iter().max_by_key(|(key, all)| (all.len(), self.had(key), all.last().copied()));
            most.map(|(_, all)| all)
        });
        of_the_most.last().map(|last| self.waiting.remove(*last).item)
    }

    fn pop(&mut self) -> Option<T> {
        let next = descend(&self.paths(), |groups| {
            let least = groups.into_iter().min_by_key(|(key, all)| (self.had(key), all.first().copied()));
            least.map(|(_, all)| all)
        });
        let Waiter { lane, item } = next.first().map(|first| self.waiting.remove(*first))?;
        for key in lane.path() {
            let had = self.had.entry(key.clone()).or_default();
            *had = had.saturating_add(1);
        }
        self.turns += 1;
        if self.turns >= LATELY {
            self.turns = 0;
            self.had.values_mut().for_each(|had| *had /= 2);
            self.had.retain(|_, had| *had > 0);
        }
        Some(item)
    }
}

/// All who wait.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    known: Queue<T>,
    strangers: Queue<T>,
    /// Most that wait in each lane.
    most: usize,
    /// Turns since the last stranger's.
    since: u8,
}

impl<T> Fair<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { known: Queue::default(), strangers: Queue::default(), most, since: 0 }
    }

    /// Takes one who waits. What is given back is too much: it may be another one.
    pub(crate) fn push(&mut self, lane: Lane, item: T) -> Option<T> {
        let queue = match lane {
            Lane::Known(_) => &mut self.known,
            Lane::Stranger(_) => &mut self.strangers,
        };
        queue.push(lane, item, self.most)
    }

    /// Who is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let strangers_turn = self.since + 1 >= STRANGERS_TURN;
        let known = if strangers_turn { None } else { self.known.pop() };
        if let Some(item) = known {
            // With no stranger there nobody's turn comes nearer.
            self.since = if self.strangers.waiting.is_empty() { 0 } else { self.since + 1 };
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

    fn stranger(address: &str) -> Lane {
        Lane::Stranger(Origin::of(address.parse().ok()))
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
            fair.push(stranger("203.0.113.7"), "stranger");
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
        assert!(fair.known.had["alice"] <= 2 * LATELY);
        for number in 0..LATELY * 12 {
            fair.push(known(&format!("one of many {number}")), "many");
            fair.pop();
        }
        assert!(!fair.known.had.contains_key("alice"), "it is forgotten");
        assert!(fair.known.had.len() <= 2 * LATELY as usize, "and so are they");
    }

    #[test]
    fn a08_nobody_fills_a_lane() {
        let mut fair = Fair::new(MOST);
        for _ in 0..MOST {
            assert_eq!(fair.push(stranger("203.0.113.7"), "flood"), None, "as long as nobody else wants it");
            assert_eq!(fair.push(known("alice"), "alice"), None);
        }
        assert_eq!(fair.push(stranger("203.0.113.7"), "flood"), Some("flood"));
        for (number, lane) in (0..8).map(|number| (number, stranger(&format!("198.51.{number}.1")))) {
            assert_eq!(fair.push(lane, "new"), Some("flood"), "{number}");
        }
        assert_eq!(fair.push(known("bob"), "bob"), Some("alice"));
        assert_eq!((fair.known.waiting.len(), fair.strangers.waiting.len()), (MOST, MOST));
        assert_eq!(fair.pop(), Some("alice"), "who has come first");
        assert_eq!(fair.pop(), Some("bob"), "and then who hasn't had any");
    }

    /// U3: invented names, from as many networks as a site of IPv6 has.
    #[test]
    fn a08_r21_many_networks_of_one_are_one() {
        for many in [
            (0..800).map(|n| format!("2001:db8:77:{n:x}::1")).collect::<Vec<_>>(),
            (0..800).map(|n| format!("2001:db8:{n:x}::1")).collect(),
            (1..255).map(|n| format!("203.0.113.{n}")).collect(),
            (1..255).map(|n| format!("203.0.{n}.1")).collect(),
        ] {
            let mut fair = Fair::new(MOST);
            let mut waits = 0;
            for round in 0..4 * MOST {
                for one in many.iter().cycle().skip(round * 7).take(7) {
                    assert_ne!(fair.push(stranger(one), "flood"), Some("one"), "{one}");
                }
                // Another one each time: whoever comes new.
                if round % 8 == 7 && waits == 0 {
                    assert_ne!(fair.push(stranger(&format!("2001:dead:{round:x}::1")), "one"), Some("one"));
                    waits = 3;
                }
                if fair.pop() == Some("one") {
                    waits = 0;
                } else if waits > 0 {
                    waits -= 1;
                    assert!(waits > 0, "{round}: {one:?} still waits", one = many.first());
                }
            }
        }
    }
}
