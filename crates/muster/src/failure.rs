//! Failures that the command line itself finds, and the exit status that each kind of failure ends with.

use std::process::ExitCode;

use api::client::{ClientError, InvalidAddress, Refused};

use crate::output;

/// Exit status of a failure without a kind of its own.
const FAILED: u8 = 1;
/// Exit status of a request that doesn't make sense.
const USAGE: u8 = 2;
/// Exit status when one has to log in first.
const NOT_LOGGED_IN: u8 = 4;
/// Exit status when one is known but may not.
const FORBIDDEN: u8 = 5;
/// Exit status when the thing isn't there.
const NOT_FOUND: u8 = 6;
/// Exit status after Ctrl-C at a prompt, as a shell gives it: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
/// Exit status when there is no master, or none that can be trusted.
const UNREACHABLE: u8 = 8;

/// A failure found on this side of the wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for can't be meant.
    #[error("{0}")]
    Usage(String),
    /// Nobody is logged in, or not any more; says what to do.
    #[error("{0}")]
    NotLoggedIn(String),
    /// The account may not do this any more.
    #[error("{0}")]
    Forbidden(String),
    /// Nothing by that name.
    #[error("{0}")]
    NotFound(String),
    /// Who answers can't be taken for the master.
    #[error("{0}")]
    Untrusted(String),
    /// Ctrl-C where something was asked for.
    #[error("interrupted")]
    Interrupted,
    /// The master went away and didn't come back.
    #[error("{0}")]
    Lost(String),
}

/// Whoever reads our output has gone: nothing more to do, and nothing to complain of.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output has gone")]
pub(crate) struct ReaderGone;

/// Tells a failure on standard error and gives the exit status that it means.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<ReaderGone>() {
        return ExitCode::SUCCESS;
    }
    let remedy = match error.downcast_ref() {
        Some(ClientError::Unreachable { .. }) => ". Start one with `muster up`, or name it with -m",
        Some(ClientError::Untrusted { shown, .. })
            if matches!(shown.refused, Some(Refused::Changed { .. })) =>
        {
            ". If you know why, and compared it with what the master printed when it started: \
             `muster master forget` drops what is remembered here"
        }
        _ => "",
    };
    output::note(&format!("error: {error:#}{remedy}"));
    ExitCode::from(status(error))
}

fn status(error: &anyhow::Error) -> u8 {
    if error.is::<InvalidAddress>() {
        return USAGE;
    }
    match (error.downcast_ref::<Failure>(), error.downcast_ref::<ClientError>()) {
        (Some(Failure::Usage(_)), _) | (_, Some(ClientError::Address(_))) => USAGE,
        (Some(Failure::NotLoggedIn(_)), _) => NOT_LOGGED_IN,
        (Some(Failure::Forbidden(_)), _) => FORBIDDEN,
        (Some(Failure::NotFound(_)), _) => NOT_FOUND,
        (Some(Failure::Lost(_) | Failure::Untrusted(_)), _)
        | (_, Some(ClientError::Unreachable { .. } | ClientError::Untrusted { .. })) => UNREACHABLE,
        (Some(Failure::Interrupted), _) => INTERRUPTED,
        (_, Some(error)) => match error.status() {
            Some(401) => NOT_LOGGED_IN,
            Some(403) => FORBIDDEN,
            Some(404) => NOT_FOUND,
            _ => FAILED,
        },
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn kinds_survive_context() {
        let refused = |status| ClientError::Api { status, message: "no".to_owned() };
        for (answer, expected) in [(400, 1), (401, 4), (403, 5), (404, 6), (500, 1)] {
            let wrapped = Err::<(), _>(refused(answer)).context("can't do it").expect_err("is one");
            assert_eq!(status(&wrapped), expected, "{answer}");
        }
        let usage = Err::<(), _>(Failure::Usage("x".into())).context("y").expect_err("is one");
        assert_eq!(status(&usage), 2);
        assert_eq!(status(&anyhow::anyhow!("disk full")), 1);
    }
}
