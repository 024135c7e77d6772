//! Passwords and other secrets: where they come from, what a new one may be, and the form that is sent.

use std::fmt::Write;
use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::{Context, Result, bail};
use domain::password::{CLIENT_SALT, MAX_BYTES, check_new};
use sha2::{Digest, Sha512};

use crate::failure::Failure;
use crate::output;

/// The form that is sent: what Determined's clients send, so that all of them agree. Blank stays blank.
pub(crate) fn hashed(password: &str) -> String {
    let mut out = String::new();
    if password.is_empty() {
        return out;
    }
    for byte in Sha512::digest(format!("{CLIENT_SALT}{password}")) {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Whether somebody is there to answer.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks for the password of `user`.
pub(crate) fn ask(user: &str) -> Result<String> {
    prompt(&format!("Password of {user}: "))
}

/// The first line of standard input.
pub(crate) fn from_stdin() -> Result<String> {
    // One byte more than any password, and its line end: a longer line is refused later, not cut.
    let limit = MAX_BYTES as u64 + 3;
    first_line(io::stdin().lock().take(limit))
}

/// An access token, from standard input or asked for.
pub(crate) fn token(stdin: bool) -> Result<String> {
    let token = if stdin {
        first_line(io::stdin().lock().take(MAX_BYTES as u64))?
    } else if can_ask() {
        prompt("Access token: ")?
    } else {
        bail!(Failure::Usage("there is no terminal to ask on: give the token with --token-stdin".to_owned()));
    };
    let token = token.trim().to_owned();
    // It goes into a header of every request.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(Failure::Usage("that is no access token".to_owned()));
    }
    Ok(token)
}

fn first_line(mut input: impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line).context("can't read standard input")?;
    if line.is_empty() {
        // An empty line makes a password blank; nothing at all is rather a mistake in a script.
        bail!(Failure::Usage("standard input ended before a line with the secret".to_owned()));
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).context("what is on standard input is not UTF-8 text")
}

/// A new password for `user`, checked, from standard input or asked for twice.
pub(crate) fn new_for(user: &str, stdin: bool) -> Result<String> {
    let password = if stdin {
        from_stdin()?
    } else if can_ask() {
        ask_twice(user)?
    } else {
        bail!(Failure::Usage(
            "there is no terminal to ask on: give the password with --password-stdin".to_owned()
        ));
    };
    if !password.is_empty() {
        check_new(&password)?;
    }
    Ok(password)
}

fn ask_twice(user: &str) -> Result<String> {
    let password = prompt(&format!("New password of {user}: "))?;
    if password.is_empty() {
        let question = format!("Make the password of {user} blank, so that it takes none to log in? [y/N] ");
        if !output::confirm(&question)? {
            bail!("nothing was changed");
        }
        return Ok(password);
    }
    check_new(&password)?;
    if prompt("The same again: ")? != password {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(password)
}

/// Asks for something that nobody else shall see.
pub(crate) fn ask_secret(text: &str) -> Result<String> {
    if !can_ask() {
        bail!(Failure::Usage("there is no terminal to ask on: give it on standard input".to_owned()));
    }
    prompt(text)
}

fn prompt(text: &str) -> Result<String> {
    rpassword::prompt_password(text).map_err(|error| match error.kind() {
        // The terminal itself sends no signal while it keeps what is typed to itself.
        io::ErrorKind::Interrupted => Failure::Interrupted.into(),
        _ => anyhow::Error::new(error).context("can't ask for the password"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_sent_is_that_of_determined() {
        assert_eq!(
            hashed("Passw0rd!"),
            "a49c57645ffa42d990a4d7ba2eafb6c47f9e73fbfd3e3e1f70a762c0e4ae79e5d6762ef15e0a66a5c9a8dc267128f691f9e7aa0d734706d4f47b894ec6fc68f8"
        );
        assert_eq!(hashed(""), "");
    }

    #[test]
    fn one_line_without_its_end() {
        let read = |text: &str| first_line(text.as_bytes());
        assert_eq!(read("secret\r\nmore").expect("read"), "secret");
        assert_eq!(read("no end").expect("read"), "no end");
        assert_eq!(read("\n").expect("read"), "");
        assert!(read("").is_err());
    }
}
