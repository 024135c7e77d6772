//! Characters that show nothing of their own or turn what is around them, and names that look like others (A14).

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use unicode_security::mixed_script::is_potential_mixed_script_confusable_char;
use unicode_security::{RestrictionLevel, RestrictionLevelDetection as _, skeleton};

/// Control characters, those that reorder the text around them, and those that can't be seen. On a terminal and in a
/// table they are written out, in names refused.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}'
            | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character is in no name: also those that join or part letters and emoji, which texts need.
#[must_use]
pub fn is_in_no_name(c: char) -> bool {
    steers(c) || matches!(c, '\u{34f}' | '\u{200c}' | '\u{200d}')
}

/// Words of others, short and on one line: without what steers a terminal or the text around it, and `most` characters at most.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    text.chars().filter(|c| !steers(*c)).take(most).collect()
}

/// Words of others that are [`plain`] and have `MOST` characters at most: by whatever way they come, a constructor, a message or
/// a row of the database (A6, A14).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Plain<const MOST: usize>(String);

impl<const MOST: usize> Plain<MOST> {
    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MOST: usize> From<&str> for Plain<MOST> {
    fn from(text: &str) -> Self {
        Self(plain(text, MOST))
    }
}

impl<const MOST: usize> From<String> for Plain<MOST> {
    fn from(text: String) -> Self {
        // Most of them are as they should be.
        if text.len() <= MOST && !text.contains(steers) { Self(text) } else { Self::from(text.as_str()) }
    }
}

impl<const MOST: usize> From<Plain<MOST>> for String {
    fn from(text: Plain<MOST>) -> Self {
        text.0
    }
}

impl<const MOST: usize> std::ops::Deref for Plain<MOST> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MOST: usize> fmt::Display for Plain<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MOST: usize> PartialEq<str> for Plain<MOST> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl<const MOST: usize> PartialEq<&str> for Plain<MOST> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Plain<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words<const MOST: usize>;
        impl<const MOST: usize> Visitor<'_> for Words<MOST> {
            type Value = Plain<MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// What a name looks like, whatever letters of which script it is written with: as it is written, and in small letters,
/// for `I` looks like `l` and `i` doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks {
    as_written: String,
    small: String,
    bare: String,
}

impl Looks {
    /// Of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let small = name.to_lowercase();
        Self { as_written: seen(name), small: seen(&small), bare: bare(&small) }
    }

    /// Whether one may be taken for the other. A dot, dash, line or blank within a name is as good as another one, and none at
    /// its ends is seen; but whether there is one tells people apart, as `anna.b` and `annab`.
    #[must_use]
    pub fn alike(&self, other: &Self) -> bool {
        let looks = [&other.as_written, &other.small];
        looks.contains(&&self.as_written) || looks.contains(&&self.small)
    }

    /// Whether it may pass for the other at a glance, as nobody may for an administrator: only letters and digits count, and
    /// digits for the letters that they stand for.
    #[must_use]
    pub fn passes_for(&self, other: &Self) -> bool {
        self.alike(other) || (!self.bare.is_empty() && self.bare == other.bare)
    }
}

/// Whether a name says that its bearer is an administrator, or the installation itself.
#[must_use]
pub fn claims_an_office(name: &str) -> bool {
    let is = |name: &str, offices: &[&str]| {
        let looks = Looks::of(name);
        offices.iter().any(|office| looks.passes_for(&Looks::of(office)))
    };
    let mut words = name.split(|c: char| c.is_whitespace() || "()[]{}<>,;:/".contains(c));
    is(name, &["system", "muster", "determined", "root"]) || words.any(|word| is(word, &ADMINISTRATOR))
}

/// What administrators are called.
pub(crate) const ADMINISTRATOR: [&str; 2] = ["admin", "administrator"];

fn bare(small: &str) -> String {
    let only: String = small.chars().filter(|c| !is_mark(*c)).collect();
    let read = |c| match c {
        'i' | '1' => 'l',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        '8' => 'b',
        other => other,
    };
    seen(&only).chars().filter(|c| c.is_alphanumeric()).map(read).collect()
}

/// What stands between the parts of a name.
fn is_mark(c: char) -> bool {
    matches!(c, '.' | '_' | '-') || c.is_whitespace()
}

/// Look-alikes have one skeleton: also `rn` and `m`, `1` and `l`, `0` and `o`, `vv` and `w`, `cl` and `d`.
fn seen(name: &str) -> String {
    let skeletons: String = skeleton(name).collect();
    // That of a zero is a large O.
    let skeletons: String = skeleton(&skeletons.to_lowercase()).collect();
    let letters = skeletons.replace("vv", "w").replace("cl", "d");
    let parts: Vec<&str> = letters.split(is_mark).filter(|part| !part.is_empty()).collect();
    // One that is nothing but marks looks like itself.
    if parts.is_empty() { letters } else { parts.join(".") }
}

/// Whether a word of a name has letters of several scripts that aren't written together, as Latin and Cyrillic aren't.
#[must_use]
pub fn mixes_scripts(name: &str) -> bool {
    name.split(|c: char| !c.is_alphanumeric()).any(|word| {
        let mixed = word.detect_restriction_level() > RestrictionLevel::HighlyRestrictive;
        mixed && word.chars().any(is_potential_mixed_script_confusable_char)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_what_is_not_seen_is_in_no_name() {
        for c in ['\u{200b}', '\u{ad}', '\u{feff}', '\u{e0041}', '\u{202e}', '\u{2066}', '\u{1b}', '\u{200d}']
        {
            assert!(is_in_no_name(c), "{c:?}");
        }
        for c in ['a', 'ü', ' ', '視', 'أ', '\u{1f600}', '\u{fe0f}'] {
            assert!(!is_in_no_name(c), "{c:?}");
        }
    }

    fn alike(one: &str, other: &str) -> bool {
        Looks::of(one).alike(&Looks::of(other))
    }

    #[test]
    fn a14_words_of_others_are_plain_and_short() {
        assert_eq!(plain("h\u{1b}[2J\u{1b}[HALL GOOD\r\n\u{202e}b\u{2066}\u{9b}", 10), "h[2J[HALL ");
        assert_eq!(plain("NVIDIA A100-SXM4 80 GB, Zoë", 100), "NVIDIA A100-SXM4 80 GB, Zoë");
    }

    /// KB3: whoever sends them can't make them longer, nor have them do something on a terminal.
    #[test]
    fn a14_plain_words_are_plain_by_whatever_way_they_come() {
        let bad = format!("h\u{1b}[2J\u{202e}\r\n{}", "ü".repeat(1000));
        let json = serde_json::to_string(&bad).expect("JSON");
        let read: Plain<8> = serde_json::from_str(&json).expect("a text");
        for words in [read, Plain::from(bad.as_str()), Plain::from(bad)] {
            assert_eq!(words, "h[2Jüüüü");
            assert_eq!(serde_json::to_string(&words).expect("JSON"), r#""h[2Jüüüü""#);
        }
        assert!(serde_json::from_str::<Plain<8>>("7").is_err());
        assert_eq!(String::from(Plain::<8>::from("as it was")), "as it wa");
    }

    #[test]
    fn a14_nobody_passes_for_an_administrator() {
        let passes = |one: &str, other: &str| Looks::of(one).passes_for(&Looks::of(other));
        for one in ["admin.", "admin-", "adm1n", "a.d.m.i.n", "ADM1N", "adrnin", "adm|n", "4dmin", "aclmin"] {
            assert!(passes(one, "admin"), "{one}");
        }
        for one in ["da.ve", "d4ve", "dave.", "dave_", "clave", "c.lave"] {
            assert!(passes(one, "dave"), "{one}");
        }
        for one in ["adam", "damin", "testadmin", "admin2", "administra", "--"] {
            assert!(!passes(one, "admin"), "{one}");
        }
        for one in ["Administrator", "alice (admin)", "System", "Adm1n of all", "M.uster"] {
            assert!(claims_an_office(one), "{one}");
        }
        for one in ["Alice", "Solar System Group", "Dave (ETH)", "", "Administra Ltd", "Адам"] {
            assert!(!claims_an_office(one), "{one}");
        }
    }

    #[test]
    fn a14_look_alikes_look_alike() {
        for (one, other) in [("admin", "\u{430}dmin"), ("Alice", "\u{391}lice"), ("bob", "b\u{3bf}b")] {
            assert!(alike(one, other), "{other}");
            assert!(mixes_scripts(other) && !mixes_scripts(one), "{other}");
        }
        for (one, other) in [
            ("admin", "adrnin"),
            ("carol", "caroI"),
            ("Carol", "caroI"),
            ("alice", "aIice"),
            ("bob", "b0b"),
            ("ian", "lan"),
            ("wanda", "vvanda"),
            ("anna", "ANNA"),
            ("dave", "clave"),
            ("dave", "dave_"),
            ("dave", ".Dave-"),
            ("anna.b", "anna_b"),
        ] {
            assert_eq!(alike(one, other), one != "ian", "{one}, {other}");
        }
        for (one, other) in [("alice", "alicia"), ("anna1", "anna2"), ("tim", "tom"), ("u10", "u11")] {
            assert!(!alike(one, other), "{one}, {other}");
        }
        for (one, other) in
            [("anna.b", "annab"), ("andré", "andre"), ("u4", "ua"), ("--", "__"), ("d.e", "de")]
        {
            assert!(!alike(one, other), "{one}, {other}: people are called so");
        }
        for one in ["Zoë Müller", "李小龍", "Алиса", "أليس", "李 Bruce Lee", "田中ひろし", "Anna Алиса", "x1"]
        {
            assert!(!mixes_scripts(one), "{one}");
        }
    }
}
