//! The only place that writes to standard output and standard error.
//!
//! A reader that has gone (`muster … | head`) ends the program quietly; text that others chose is shown without its
//! control characters. A task's own output is the exception: into a pipe or a file it goes byte for byte, and what a
//! terminal gets of it is `terminal`'s business.

use std::borrow::Cow;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::failure::ReaderGone;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    text_block(&format!("{text}\n"))
}

/// Writes text that brings its own line ends to standard output. It may hold what others chose, as CSV, JSON and YAML do:
/// a terminal gets it without what would steer it (A14).
pub(crate) fn text_block(text: &str) -> Result<()> {
    if io::stdout().is_terminal() && text.chars().any(|c| steers(c) && c != '\n') {
        let lines: Vec<_> = text.split('\n').map(printable).collect();
        return bytes(lines.join("\n").as_bytes());
    }
    bytes(text.as_bytes())
}

/// Writes bytes to standard output, unchanged.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    write(&mut io::stdout().lock(), bytes)
}

/// Writes bytes to standard error, unchanged.
pub(crate) fn error_bytes(bytes: &[u8]) -> Result<()> {
    write(&mut io::stderr().lock(), bytes)
}

/// Writes a value as JSON to standard output.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    text_block(&text)
}

/// Writes a value as YAML to standard output.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<()> {
    let text = serde_saphyr::to_string(value)?;
    text_block(&format!("{}\n", text.trim_end()))
}

/// Whether a person reads standard output, on a terminal.
pub(crate) fn is_for_people() -> bool {
    io::stdout().is_terminal()
}

/// Tells the person something on standard error. There is nowhere to complain to when that fails.
pub(crate) fn note(text: &str) {
    let lines: Vec<_> = text.lines().map(printable).collect();
    let _ = writeln!(io::stderr().lock(), "{}", lines.join("\n"));
}

/// Asks on standard error; only a clear yes is one.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    error_bytes(printable(question).as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().take(16).read_line(&mut answer).context("can't read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Shows `text` in place of the last such text, on a terminal only.
/// Goes on where somebody means it: says so with `--yes`, or when asked.
pub(crate) fn is_meant(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !crate::auth::password::can_ask() {
        anyhow::bail!(crate::failure::Failure::Usage(
            "there is no terminal to ask on: say that you mean it with --yes".to_owned()
        ));
    }
    if confirm(&format!("{question} [y/N] "))? {
        return Ok(());
    }
    anyhow::bail!("nothing was changed")
}

pub(crate) fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}

/// `text` with every control character written out, so that it can't steer a terminal or break a table.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if steers(c) { c.escape_default().to_string() } else { c.to_string() }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

pub(crate) use domain::text::steers;

fn write(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(anyhow!(error).context("can't write the output")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("plain ü"), "plain ü");
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("abc\u{202e}cba"), "abc\\u{202e}cba");
        assert_eq!(
            printable("ad\u{200b}m\u{ad}in\u{feff}\u{e0041}"),
            "ad\\u{200b}m\\u{ad}in\\u{feff}\\u{e0041}"
        );
    }

    #[test]
    fn a_reader_that_has_gone_is_told_apart() {
        struct Gone(ErrorKind);
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let failure = |kind| write(&mut Gone(kind), b"x").expect_err("must fail");
        assert!(failure(ErrorKind::BrokenPipe).is::<ReaderGone>());
        assert!(!failure(ErrorKind::StorageFull).is::<ReaderGone>());
    }
}
