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

/// What a name looks like, whatever letters of which script it is written with: look-alikes have one skeleton.
#[must_use]
pub fn look(name: &str) -> String {
    skeleton(&name.to_lowercase()).collect()
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

    #[test]
    fn a14_look_alikes_look_alike() {
        for (one, other) in [("admin", "\u{430}dmin"), ("Alice", "\u{391}lice"), ("bob", "b\u{3bf}b")] {
            assert_eq!(look(one), look(other));
            assert!(mixes_scripts(other) && !mixes_scripts(one), "{other}");
        }
        assert_ne!(look("alice"), look("alicia"));
        for one in ["Zoë Müller", "李小龍", "Алиса", "أليس", "李 Bruce Lee", "田中ひろし", "Anna Алиса", "x1"]
        {
            assert!(!mixes_scripts(one), "{one}");
        }
    }
}
