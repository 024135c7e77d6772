//! What parsers say of what they can't read, in words for people (ME8): whoever writes a configuration needn't know how it is
//! held here.

/// A parser's words, and ours. The longer one of two that begin alike comes first.
const WORDS: &[(&str, &str)] = &[
    ("cannot deserialize null into string; use Option<String>", "there is nothing, and a text is expected"),
    ("invalid socket address syntax", "this is no address: write it like 127.0.0.1:8080"),
    ("expected struct ByDevice", "expected a list of NAME=VALUE"),
    ("expected mapping start", "expected a map of keys and values"),
    ("expected sequence start", "expected a list"),
    ("expected a sequence", "expected a list"),
    ("invalid type: sequence", "invalid type: a list"),
    ("invalid type: map", "invalid type: a map"),
];

/// Words before the name of a type, and what stands for both where it is a number.
const NUMBERS: [(&str, &str); 2] = [("expected ", "expected "), ("invalid ", "this is not ")];

/// A refusal without words of the language that this is written in.
#[must_use]
pub fn in_words(refusal: &str) -> String {
    let mut text = refusal.to_owned();
    for (theirs, ours) in WORDS {
        text = text.replace(theirs, ours);
    }
    for (before, ours) in NUMBERS {
        for bits in ["8", "16", "32", "64", "128", "size"] {
            text = text.replace(&format!("{before}u{bits}"), &format!("{ours}a whole number of 0 or more"));
            text = text.replace(&format!("{before}i{bits}"), &format!("{ours}a whole number"));
            text = text.replace(&format!("{before}f{bits}"), &format!("{ours}a number"));
        }
    }
    while let Some((before, after)) = text.split_once("expected struct ") {
        let rest = after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        text = format!("{before}expected a map of keys and values{rest}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn me08_refusals_speak_of_what_is_written() {
        for (theirs, ours) in [
            (
                r#"resources.slots: invalid type: string "abc", expected u32"#,
                r#"resources.slots: invalid type: string "abc", expected a whole number of 0 or more"#,
            ),
            ("invalid u64", "this is not a whole number of 0 or more"),
            ("invalid f64", "this is not a number"),
            ("expected struct ByDevice at x", "expected a list of NAME=VALUE at x"),
            ("expected struct Smtp at x", "expected a map of keys and values at x"),
            (
                "listen: invalid socket address syntax",
                "listen: this is no address: write it like 127.0.0.1:8080",
            ),
            ("unknown field `smpt`, expected one of `smtp`", "unknown field `smpt`, expected one of `smtp`"),
        ] {
            assert_eq!(in_words(theirs), ours);
        }
    }
}
