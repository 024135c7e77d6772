//! How much an entry says: the log can't be shortened, so whoever changes things often must not make it grow by what they
//! write into them (A5). Of longer texts it has the beginning, the length and the digest; of long lists the first ones.
//! What came and what went is found before anything is shortened: two states of a long list look the same (KX4).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::digest;

/// Most bytes of what was before, and of what is after, as JSON.
pub const FACTS_MAX: usize = 2 << 10;

/// Longest name, id or reason, in bytes, before its length and digest.
pub const TEXT_MAX: usize = 512;

/// Bytes of names that one entry has room for beside the little that it says else.
const NAMES: usize = FACTS_MAX - 512;

/// Bytes of texts and members of lists that are kept: the first that is small enough.
const STEPS: [(usize, usize); 6] = [(512, 64), (256, 32), (128, 16), (64, 8), (32, 4), (16, 2)];

fn fits(facts: &Value) -> bool {
    facts.to_string().len() <= FACTS_MAX
}

/// What differs between two states; where that has no room, what came and what went, and of that what has.
pub(super) fn changed(before: Value, after: Value) -> (Value, Value) {
    let (before, after) = differing(before, after, |before, after| (before, after));
    if fits(&before) && fits(&after) {
        return (before, after);
    }
    let (before, after) = came_and_went(before, after);
    (bounded(before), bounded(after))
}

/// The members of two objects that aren't the same in both; `both` makes less of those that both have.
fn differing(before: Value, after: Value, both: fn(Value, Value) -> (Value, Value)) -> (Value, Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(mut after)) => {
            let mut kept = (Map::new(), Map::new());
            for (key, was) in before {
                match after.remove(&key) {
                    None => drop(kept.0.insert(key, was)),
                    Some(is) if is == was => {}
                    Some(is) => {
                        let (was, is) = both(was, is);
                        kept.0.insert(key.clone(), was);
                        kept.1.insert(key, is);
                    }
                }
            }
            kept.1.extend(after);
            (Value::Object(kept.0), Value::Object(kept.1))
        }
        other => other,
    }
}

/// The same to the bottom, and lists by what is in one of them alone. One that has only another order is told apart by its
/// digest.
fn came_and_went(before: Value, after: Value) -> (Value, Value) {
    match (before, after) {
        (Value::Array(before), Value::Array(after)) => {
            let state = |key: &str, list: &[Value], other: &[Value]| {
                let digest = digest(&json!(list).to_string());
                json!({ key: without(list, other), "of": list.len(), "sha256": digest })
            };
            (state("went", &before, &after), state("came", &after, &before))
        }
        (before, after) => differing(before, after, came_and_went),
    }
}

/// What of a list isn't in another one, as often as it isn't.
fn without(list: &[Value], other: &[Value]) -> Vec<Value> {
    let mut there: HashMap<String, usize> = HashMap::new();
    other.iter().for_each(|one| *there.entry(one.to_string()).or_default() += 1);
    let is_more = |one: &&Value| match there.get_mut(&one.to_string()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    list.iter().filter(is_more).cloned().collect()
}

/// Who left and who entered, for as many entries as it takes.
pub(super) fn members(left: &[String], entered: &[String]) -> Vec<(Value, Value)> {
    let (mut parts, mut part, mut room) = (Vec::new(), (Vec::new(), Vec::new()), NAMES);
    let left = left.iter().map(|name| (true, name));
    for (leaves, name) in left.chain(entered.iter().map(|name| (false, name))) {
        let name = Value::String(short(name));
        let size = name.to_string().len() + 1;
        if size > room {
            parts.push(std::mem::take(&mut part));
            room = NAMES;
        }
        room = room.saturating_sub(size);
        if leaves { &mut part.0 } else { &mut part.1 }.push(name);
    }
    parts.push(part);
    let count = parts.len();
    let facts = |key: &str, names: Vec<Value>, number: usize| match names.is_empty() {
        true => Value::Null,
        false if count == 1 => json!({ key: names }),
        false => json!({ key: names, "part": format!("{number} of {count}") }),
    };
    let numbered = (1..).zip(parts);
    numbered.map(|(n, (left, entered))| (facts("left", left, n), facts("entered", entered, n))).collect()
}

/// Adds facts to others.
pub(super) fn add(facts: &mut Value, more: Value) {
    match (facts, more) {
        (Value::Object(facts), Value::Object(more)) => facts.extend(more),
        (_, Value::Null) => {}
        (facts, more) => *facts = more,
    }
}

/// The facts, or what of them has room.
pub(super) fn bounded(facts: Value) -> Value {
    if fits(&facts) {
        return facts;
    }
    let smaller = STEPS.iter().map(|(text, list)| shortened(&facts, *text, *list)).find(fits);
    smaller.unwrap_or_else(|| Value::String(summed_up(&facts.to_string(), TEXT_MAX)))
}

/// A text, or its beginning, length and digest.
pub(super) fn short(text: &str) -> String {
    summed_up(text, TEXT_MAX)
}

/// A text that is longer than what stands for it.
fn summed_up(text: &str, most: usize) -> String {
    let mark = |begin: &str| format!("{begin}… ({} bytes, SHA-256 {})", text.len(), digest(text));
    if text.len() <= most + mark("").len() {
        return text.to_owned();
    }
    mark(text.get(..text.floor_char_boundary(most)).unwrap_or_default())
}

fn shortened(value: &Value, text: usize, list: usize) -> Value {
    match value {
        Value::String(long) => Value::String(summed_up(long, text)),
        Value::Array(all) => {
            let mut kept: Vec<_> = all.iter().take(list).map(|one| shortened(one, text, list)).collect();
            kept.extend(more(all.len(), list, value).map(Value::String));
            Value::Array(kept)
        }
        Value::Object(all) => {
            let one = |(key, one): (&String, &Value)| (summed_up(key, text), shortened(one, text, list));
            let mut kept: Map<_, _> = all.iter().take(list).map(one).collect();
            kept.extend(more(all.len(), list, value).map(|more| ("…".to_owned(), Value::String(more))));
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

/// What is said of the rest of a list. By the digest two of them are told apart.
fn more(count: usize, kept: usize, all: &Value) -> Option<String> {
    let rest = count.checked_sub(kept).filter(|rest| *rest > 0)?;
    Some(format!("… and {rest} more (SHA-256 of all: {})", digest(&all.to_string())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::{BEGINNING, Chain, Entry, Record, Who};
    use crate::authz::System;
    use crate::time::Timestamp;

    #[test]
    fn a05_what_an_entry_says_is_bounded_whatever_was_changed() {
        let long = |c: &str, n: usize| c.repeat(n);
        for facts in [
            json!({"description": long("d", 20_000), "name": "x"}),
            json!({"tags": vec![long("é", 6_000); 4], "name": "x"}),
            json!({"tags": (0..3_000).map(|n| n.to_string()).collect::<Vec<_>>(), "name": "x"}),
            json!((0..3_000).map(|n| (n.to_string(), json!([n]))).collect::<Map<_, _>>()),
            json!([[[[vec![vec![long("a", 1000); 9]; 9]]]]]),
            json!({long("k", 10_000): long("\u{1}", 10_000)}),
            json!(long("x", 5000)),
        ] {
            let kept = bounded(facts.clone());
            assert!(kept.to_string().len() <= FACTS_MAX, "{kept}");
            assert_eq!(kept, bounded(facts.clone()), "the same facts look the same");
            if let Some(name) = facts.get("name") {
                assert_eq!(kept.get("name"), Some(name), "what is short stays");
            }
        }
        let facts = json!({"name": long("x", 200), "tags": ["a", "b"], "private": true});
        assert_eq!(bounded(facts.clone()), facts, "what is small is untouched");
        let two = ["a", "b"].map(|end| bounded(json!({"description": long("d", 20_000) + end})));
        assert_ne!(two[0], two[1], "told apart by their digests");
        assert!(two[0].to_string().contains("20001 bytes"), "{}", two[0]);
    }

    #[test]
    fn a05_an_entry_is_small_however_it_is_made_and_its_chain_is_right() {
        let by = System::at_start().by("test");
        let long = "x".repeat(20_000);
        let who = Who::named("project", &long, &long);
        let facts = |text: &str| json!({"a": text, "b": text, "c": {"d": [text]}});
        let entry = || Entry::done(&by, "project.update", who.clone());
        let entries = [
            entry().made(facts(&long)),
            entry().removed(facts(&long)),
            entry().changed(facts(&long), facts(&(long.clone() + "y"))),
            Entry::refused(&by, "project.update", who.clone(), long.clone()),
        ];
        let (mut chain, mut previous) = (Chain::default(), BEGINNING.to_owned());
        for (seq, entry) in (1..).zip(&entries) {
            let text = Record::of(entry, seq, Timestamp(seq), &previous).text();
            assert!(text.len() <= 2 * FACTS_MAX + 4 * TEXT_MAX, "{} bytes", text.len());
            previous = digest(&text);
            chain.follow(&text, &previous).expect("sound");
        }
        assert_eq!((chain.count, chain.head), (4, previous));
    }

    /// As a reader of the log sees it.
    fn written(entry: &Entry) -> Vec<String> {
        let texts = entry.all().map(|entry| Record::of(entry, 1, Timestamp(1), BEGINNING).text());
        texts.inspect(|text| assert!(text.len() <= 2 * FACTS_MAX + 4 * TEXT_MAX, "{}", text.len())).collect()
    }

    #[test]
    fn a05_who_comes_into_a_list_of_any_length_is_in_the_entry() {
        let by = System::at_start().by("test");
        for count in [0, 1, 63, 64, 65, 100, 150, 1_000, 20_000] {
            let others: Vec<_> = (0..count).map(|n| format!("student-{n:05}-of-2026")).collect();
            for at in [0, count / 2, count] {
                let mut more = others.clone();
                more.insert(at, "zz-mallory".to_owned());
                let facts = |members: &[String]| json!({"name": "class", "deep": {"members": members}});
                let entry = || Entry::done(&by, "group.update", Who::named("group", &1, "class"));
                let came = entry().changed(facts(&others), facts(&more));
                assert!(came.after.to_string().contains("zz-mallory"), "{count}: {}", came.after);
                let went = entry().changed(facts(&more), facts(&others));
                assert!(went.before.to_string().contains("zz-mallory"), "{count}: {}", went.before);
                assert_eq!((written(&came).len(), written(&went).len()), (1, 1));
            }
        }
        let [one, other] = ["a", "b"].map(|one| vec![one; 900]).map(|list| json!({"list": list}));
        let (before, after) = changed(one.clone(), other);
        assert_eq!((&before["list"]["of"], &after["list"]["of"]), (&json!(900), &json!(900)));
        assert_eq!(changed(one.clone(), one), (json!({}), json!({})));
        let order = |list: Vec<usize>| json!({ "list": list });
        let (before, after) = changed(order((0..2000).collect()), order((0..2000).rev().collect()));
        assert_eq!((&before["list"]["went"], &after["list"]["came"]), (&json!([]), &json!([])));
        assert_ne!(before["list"]["sha256"], after["list"]["sha256"], "told apart all the same");
        let small = |tags: &[&str]| json!({ "tags": tags });
        let (before, after) = changed(small(&["a", "b"]), small(&["a", "c"]));
        assert_eq!((before, after), (small(&["a", "b"]), small(&["a", "c"])), "what is short is whole");
    }

    #[test]
    fn a05_everybody_who_was_given_something_is_named_however_many_they_are() {
        let by = System::at_start().by("test");
        for count in [0, 1, 50, 250, 600] {
            let names: Vec<_> = (0..count).map(|n| format!("{}{n}", "é".repeat(n % 32))).collect();
            let entry = || Entry::done(&by, "group.update", Who::named("group", &1, "class"));
            let came = entry().changed(json!({"name": "a"}), json!({"name": "b"})).members(&[], &names);
            let both = entry().members(&names, &names);
            let texts = written(&came);
            assert!(texts[0].contains(r#""before":{"name":"a"},"#), "{}", texts[0]);
            assert!(texts[0].contains(r#""name":"b""#), "besides what else changed: {}", texts[0]);
            for (entry, sides) in [(came, 1), (both, 2)] {
                let texts = written(&entry).concat();
                for name in &names {
                    assert_eq!(texts.matches(&format!("{name:?}")).count(), sides, "{name} of {count}");
                }
                assert!(entry.all().all(|entry| entry.target.name == "class"));
            }
        }
        let odd = ["x".repeat(5000), "\u{1}".repeat(5000)];
        assert!(
            written(&Entry::done(&by, "group.update", Who::named("group", &1, "")).members(&odd, &odd)).len()
                > 1
        );
    }
}
