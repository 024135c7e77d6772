//! A migration's text, taken apart into its statements. Both databases' common part of SQL: strings and quoted names, whose
//! quotes are doubled inside, and both kinds of comments. Bodies of triggers and functions are in no migration of ours.

use std::iter::Peekable;
use std::str::Chars;

/// The statements of a text, each with one space wherever there was any, and without comments: what is left is what is done
/// to a database, and what its checksum is made of.
pub(crate) fn statements(text: &str) -> Vec<String> {
    let (mut all, mut current) = (Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match (char, rest.peek()) {
            (';', _) => all.push(std::mem::take(&mut current)),
            ('\'' | '"', _) => quoted(char, &mut rest, &mut current),
            ('-', Some('-')) => {
                rest.by_ref().find(|char| *char == '\n');
                space(&mut current);
            }
            ('/', Some('*')) => {
                comment(&mut rest);
                space(&mut current);
            }
            (char, _) if char.is_whitespace() => space(&mut current),
            (char, _) => current.push(char),
        }
    }
    all.push(current);
    all.iter().map(|statement| statement.trim_end()).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

/// One space, whatever it stands for; none at a statement's beginning.
fn space(current: &mut String) {
    if !current.is_empty() && !current.ends_with(' ') {
        current.push(' ');
    }
}

/// Up to the closing quote. A doubled one closes and opens again, which comes to the same.
fn quoted(quote: char, rest: &mut Peekable<Chars<'_>>, current: &mut String) {
    current.push(quote);
    for char in rest.by_ref() {
        current.push(char);
        if char == quote {
            return;
        }
    }
}

/// Past the end of a comment, whose `/` was read. One inside another is a comment of its own on PostgreSQL and none on
/// SQLite: don't write any.
fn comment(rest: &mut Peekable<Chars<'_>>) {
    rest.next();
    let mut before = ' ';
    for char in rest.by_ref() {
        if (before, char) == ('*', '/') {
            return;
        }
        before = char;
    }
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn semicolons_in_strings_names_and_comments_end_nothing() {
        let text = "-- a; comment; it's long\nINSERT INTO a VALUES ('x;y''; --z', \"odd;name\"); /* and; this isn't */\n\n\
                    UPDATE a -- to its end; of line\n  SET b = 'one\n  two';;\n;";
        let expected = ["INSERT INTO a VALUES ('x;y''; --z', \"odd;name\")", "UPDATE a SET b = 'one\n  two'"];
        assert_eq!(statements(text), expected);
    }

    #[test]
    fn comments_and_form_are_no_part_of_a_statement() {
        let (one, other) = ("SELECT 1,\n    2;", "-- Why.\nSELECT  1, /* which */ 2");
        assert_eq!(statements(one), statements(other));
        assert_ne!(statements("SELECT ' '"), statements("SELECT '  '"));
    }

    #[test]
    fn what_never_closes_ends_with_the_text() {
        for text in ["SELECT 'a;", "SELECT /* a;", "SELECT -- a;", "SELECT /", "SELECT -"] {
            assert_eq!(statements(text).len(), 1, "{text}");
        }
    }
}
