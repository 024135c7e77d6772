//! How things read on a page: times, durations, states, command lines, the output of tasks.

use std::time::Duration;

use domain::task::{State, Task};
use domain::time::Timestamp;

/// `2026-11-22 10:00:00 UTC`.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.rfc3339();
    format!("{} UTC", text.get(..19).unwrap_or(&text).replace('T', " "))
}

/// How long ago, in one unit.
pub(crate) fn ago(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0..=4 => "just now".to_owned(),
        5..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        _ => match seconds / 86_400 {
            1 => "1 day ago".to_owned(),
            days => format!("{days} days ago"),
        },
    }
}

/// How long, in two units.
pub(crate) fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// With a capital letter first.
pub(crate) fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + rest.as_str()
}

/// A state as the pages show it: the style's name and the word.
pub(crate) fn badge(task: &Task) -> (&'static str, &'static str) {
    match (task.state(), task.ending()) {
        (State::Queued, _) => ("queued", "Queued"),
        (State::Starting, _) => ("starting", "Starting"),
        (State::Running, _) => ("running", "Running"),
        (State::Terminating, _) => ("terminating", "Stopping"),
        (State::Terminated, Some(ending)) if ending.exit_code == Some(0) && !ending.was_killed() => {
            ("completed", "Completed")
        }
        (State::Terminated, _) if task.is_killed() => ("killed", "Killed"),
        (State::Terminated, _) => ("failed", "Failed"),
    }
}

/// The command line, as one would type it.
pub(crate) fn command_line(entrypoint: &[String]) -> String {
    match entrypoint {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Longest line that a page shows, in characters; the whole text has all of it.
const LONGEST: usize = 4096;

/// A line of output for the page: as a terminal would leave it, without what moves its cursor and sets its colours
/// (R10), and not endless.
pub(crate) fn shown_line(text: &str) -> String {
    let mut line = plain(text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or(""));
    if let Some((cut, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// Text without escape sequences and control characters, tabs apart.
pub(crate) fn plain(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_until(&mut rest, is_final),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// What ends a control sequence.
fn is_final(c: char) -> bool {
    ('\u{40}'..='\u{7e}').contains(&c)
}

/// Behind the escape character (ECMA-48): a control sequence, a string up to its terminator, or a short one.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => skip_until(rest, is_final),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
        Some(' '..='/') => skip_until(rest, |c| ('0'..='~').contains(&c)),
        _ => {}
    }
}

fn skip_until(rest: &mut std::str::Chars<'_>, last: impl Fn(char) -> bool) {
    let _ = rest.find(|c| last(*c));
}

fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let at = Timestamp(1_763_805_600_000_000);
        let after = |seconds| at.plus(Duration::from_secs(seconds));
        assert_eq!(moment(at), "2025-11-22 10:00:00 UTC");
        for (seconds, text) in [
            (0, "just now"),
            (59, "59 s ago"),
            (3599, "59 min ago"),
            (86_400, "1 day ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(after(seconds), at), text);
        }
        assert_eq!(lasting(Duration::from_millis(1_234)), "1.2 s");
        assert_eq!(lasting(Duration::from_secs(3_725)), "1 h 2 min");
    }

    #[test]
    fn command_lines_can_be_typed_again() {
        let line = |words: &[&str]| command_line(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(line(&["echo $HOME | wc"]), "echo $HOME | wc");
        assert_eq!(line(&["sh", "-c", "echo 'a'", ""]), r"sh -c 'echo '\''a'\''' ''");
    }

    #[test]
    fn r10_escape_sequences_never_reach_a_page() {
        for (raw, shown) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\link", "alink"),
            ("\u{1b}Pq..\u{1b}\\b\u{1b}(Bc\u{9b}2Jd", "bcd"),
            ("a\tb\u{0}\u{8}c", "a\tbc"),
            ("open\u{1b}[", "open"),
            ("<b>&", "<b>&"),
        ] {
            assert_eq!(plain(raw), shown);
        }
        assert_eq!(shown_line(" 10%\r 50%\r100%\r"), "100%");
        assert_eq!(shown_line(&"é".repeat(5000)).chars().count(), LONGEST + 1);
    }
}
