//! Characters that show nothing of their own or turn what is around them, and names that look like others (A14).

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

/// What a name looks like, whatever letters of which script it is written with: as it is written, and in small letters,
/// for `I` looks like `l` and `i` doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks {
    as_written: String,
    small: String,
}

impl Looks {
    /// Of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { as_written: seen(name), small: seen(&name.to_lowercase()) }
    }

    /// Whether one may be taken for the other.
    #[must_use]
    pub fn alike(&self, other: &Self) -> bool {
        let looks = [&other.as_written, &other.small];
        looks.contains(&&self.as_written) || looks.contains(&&self.small)
    }
}

/// Look-alikes have one skeleton: also `rn` and `m`, `1` and `l`, `0` and `o`, `vv` and `w`.
fn seen(name: &str) -> String {
    let skeletons: String = skeleton(name).collect();
    // That of a zero is a large O.
    skeleton(&skeletons.to_lowercase()).collect::<String>().replace("vv", "w")
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
        ] {
            assert_eq!(alike(one, other), one != "ian", "{one}, {other}");
        }
        for (one, other) in [("alice", "alicia"), ("anna1", "anna2"), ("tim", "tom"), ("u10", "u11")] {
            assert!(!alike(one, other), "{one}, {other}");
        }
        for one in ["Zoë Müller", "李小龍", "Алиса", "أليس", "李 Bruce Lee", "田中ひろし", "Anna Алиса", "x1"]
        {
            assert!(!mixes_scripts(one), "{one}");
        }
    }
}
