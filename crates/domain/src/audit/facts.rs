//! How much an entry says: the log can't be shortened, so whoever changes things often must not make it grow by what they
//! write into them (A5). Of longer texts it has the beginning, the length and the digest; of long lists the first ones.

use serde_json::{Map, Value};

use super::digest;

/// Most bytes of what was before, and of what is after, as JSON.
pub const FACTS_MAX: usize = 2 << 10;

/// Longest name, id or reason, in bytes, before its length and digest.
pub const TEXT_MAX: usize = 512;

/// Bytes of texts and members of lists that are kept: the first that is small enough.
const STEPS: [(usize, usize); 6] = [(512, 64), (256, 32), (128, 16), (64, 8), (32, 4), (16, 2)];

/// The facts, or what of them has room.
pub(super) fn bounded(facts: Value) -> Value {
    let fits = |facts: &Value| facts.to_string().len() <= FACTS_MAX;
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
    use crate::audit::{BEGINNING, By, Chain, Entry, Record, Who};
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
        let by = By::System { reason: "test" };
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
}
