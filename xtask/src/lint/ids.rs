//! Ids of requirements and findings: each that a comment, a message or the name of a test has is explained in
//! `docs/requirements.md`, once.

use std::collections::BTreeSet;

use super::sources::Sources;

/// Where they are explained, each in a row of a table that begins with it.
const EXPLAINED: &str = "docs/requirements.md";

/// What looks like an id and is none.
const NOT_IDS: &[&str] = &["B64", "X32", "X86"];

/// The letters and the number: `a04_` in a test's name is A4.
type Id = (String, u32);

/// Ids without a row, and rows of one id that stand twice.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let explained = sources.iter().find(|(name, _)| name == EXPLAINED);
    let Some((_, explained)) = explained else {
        return vec![format!("{EXPLAINED} is missing")];
    };
    let mut known = BTreeSet::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(explained.lines()) {
        for word in row(line) {
            if parse(word).is_some_and(|id| !known.insert(id)) {
                problems.push(format!("{EXPLAINED}:{number}: {word} has a row already"));
            }
        }
    }
    for (name, content) in sources {
        for (number, line) in (1..).zip(content.lines()) {
            for word in mentioned(name, line).filter(|word| !NOT_IDS.contains(&word.to_uppercase().as_str()))
            {
                if parse(word).is_some_and(|id| !known.contains(&id)) {
                    problems.push(format!("{name}:{number}: {word} has no row in {EXPLAINED}"));
                }
            }
        }
    }
    problems
}

/// The words of the first cell, when the line is a row of a table.
fn row(line: &str) -> impl Iterator<Item = &str> {
    let cell = line.strip_prefix("| ").and_then(|rest| rest.split(" |").next());
    cell.into_iter().flat_map(|cell| cell.split(", "))
}

/// What may be an id in a line of that file.
fn mentioned<'a>(name: &str, line: &'a str) -> impl Iterator<Item = &'a str> {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    let comment = match kind {
        "md" => Some(line),
        "rs" | "mjs" => {
            line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':')).map(|(at, _)| &line[at..])
        }
        "sql" => line.find("--").map(|at| &line[at..]),
        "toml" | "py" => line.find('#').map(|at| &line[at..]),
        _ => None,
    };
    let code = matches!(kind, "rs" | "mjs").then_some(line);
    let in_comment =
        comment.into_iter().flat_map(words).filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
    in_comment.chain(code.into_iter().flat_map(messages)).chain(code.into_iter().flat_map(test))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The first word of each text, where it is all of it or a colon follows: `"R25"`, `"R25: still in"`.
fn messages(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(['"', '\'']).filter_map(|(at, _)| {
        let text = &line[at + 1..];
        let word = words(text).next()?;
        let first = word.starts_with(|c: char| c.is_ascii_uppercase());
        (first && text[word.len()..].starts_with([':', '"', '\''])).then_some(word)
    })
}

/// The parts of a function's name that come before its first word: `fn r15_a03_nobody()` has r15 and a03.
fn test(line: &str) -> impl Iterator<Item = &str> {
    let name = line.split_once("fn ").and_then(|(_, rest)| words(rest).next());
    name.into_iter().flat_map(|name| name.split('_').take_while(|part| parse(part).is_some()))
}

/// One or two letters and one or two digits.
fn parse(word: &str) -> Option<Id> {
    let (letters, number) = word.split_at(word.find(|c: char| c.is_ascii_digit())?);
    let letters_only = letters.chars().all(|c| c.is_ascii_alphabetic());
    if !letters_only || !(1..=2).contains(&letters.len()) || number.len() > 2 {
        return None;
    }
    Some((letters.to_uppercase(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "| id | what |\n|---|---|\n| A4 | Full disks. |\n| U3, U4 | Turns. |\n";

    /// Nobody explains it. In parts, or this file would break its own rule.
    const UNKNOWN: &str = concat!("Q", "7");

    /// How many breaches there are in a line, in which `ID` is an id without a row.
    #[track_caller]
    fn breaches(name: &str, line: &str, count: usize) {
        let line = line.replace("ID", UNKNOWN).replace("_id_", &format!("_{UNKNOWN}_").to_lowercase());
        let found = check(&[(EXPLAINED.to_owned(), ROWS.to_owned()), (name.to_owned(), line)]);
        assert_eq!(found.len(), count, "{found:?}");
        let told = |problem: &String| problem.to_uppercase().contains(&format!("{UNKNOWN} HAS NO ROW"));
        assert!(found.iter().all(told), "{found:?}");
    }

    #[test]
    fn an_id_that_nobody_explains_is_told() {
        breaches("crates/web/src/lib.rs", "let a = 1; // For that (A4, ID).", 1);
        breaches("crates/web/src/lib.rs", "assert!(a, \"ID\");", 1);
        breaches("crates/web/src/lib.rs", "assert!(a, \"ID: {a}\");", 1);
        breaches("crates/web/tests/a.rs", "async fn a04_id_a_disk() {", 1);
        breaches("e2e/a.mjs", "ok(a, 'ID: a');", 1);
        breaches("README.md", "Text (ID, U4).", 1);
        breaches("a.sql", "SELECT 1; -- Text (ID).", 1);
        breaches("a.toml", "# Text (ID).", 1);
    }

    #[test]
    fn what_is_explained_or_no_id_is_fine() {
        for line in [
            "fn a04_u03_a_disk() {} // A4, U4",
            "IpAddr::ID(address) => ID,",
            "let url = \"http://ID.example/ID\";",
            "// IPv6's PATH_MAX, x86_64, SHA512, 4K",
            "\"%ID%A1\"",
        ] {
            breaches("crates/web/src/lib.rs", line, 0);
        }
    }

    #[test]
    fn an_id_is_explained_once() {
        let sources = [(EXPLAINED.to_owned(), format!("{ROWS}| A4 | Again. |\n"))];
        assert_eq!(check(&sources), ["docs/requirements.md:5: A4 has a row already"]);
        assert_eq!(check(&[]), ["docs/requirements.md is missing"]);
    }
}
