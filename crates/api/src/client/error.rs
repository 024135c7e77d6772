//! What can go wrong between a client and a master.

use std::error::Error as _;

use serde::Deserialize;

use super::address::{Address, InvalidAddress};
use super::guard::Stranger;
use super::trust::{Refused, Shown};

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address can't be one.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Who answers there isn't known to be the master: nothing was said to it.
    #[error("{}", distrust(address, shown))]
    Untrusted {
        /// Where the master should be.
        address: Address,
        /// What it showed, and what is wrong with that.
        shown: Box<Shown>,
    },
    /// Another than the master is at its address on this machine: nothing was said to it.
    #[error("nothing was sent to {address}: {reason}")]
    Stranger {
        /// Where the master should be.
        address: Address,
        /// Who is there.
        reason: String,
    },
    /// There was no answer, or it broke off.
    #[error("can't reach a Muster master at {address}: {reason}")]
    Unreachable {
        /// Where the master should be.
        address: Address,
        /// What happened.
        reason: String,
    },
    /// The master refused.
    #[error("{message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// One sentence for people.
        message: String,
    },
    /// The answer isn't what the API says.
    #[error("the answer to {path} is not what a Muster master gives: {reason}")]
    Unexpected {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Not logged in, or not any more.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        self.status() == Some(401)
    }

    /// The token is good, but another account's than was thought.
    #[must_use]
    pub fn is_other_account(&self) -> bool {
        self.status() == Some(412)
    }

    /// A later try may go through: the master is away, starting, or behind a proxy that says so.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || matches!(self.status(), Some(502..=504))
    }

    pub(super) fn unusable(address: &Address, reason: &impl ToString) -> Self {
        Self::Unreachable { address: address.clone(), reason: reason.to_string() }
    }

    pub(super) fn unreachable(address: &Address, error: &reqwest::Error) -> Self {
        // The outer errors only say that sending failed; the innermost says why.
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason = inner.to_string();
            if inner.is::<Stranger>() {
                return Self::Stranger { address: address.clone(), reason };
            }
            source = inner.source();
        }
        if reason.contains("InvalidContentType") {
            // rustls' words for an answer that is no TLS.
            "no https is spoken there: name it with http://".clone_into(&mut reason);
        }
        if error.is_timeout() {
            "no answer in time".clone_into(&mut reason);
        }
        Self::Unreachable { address: address.clone(), reason }
    }

    /// What a list doesn't hold isn't there: said as the master says it.
    pub(super) fn not_found(message: String) -> Self {
        Self::Api { status: 404, message }
    }

    pub(super) fn unexpected(path: &str, reason: impl ToString) -> Self {
        Self::Unexpected { path: path.to_owned(), reason: reason.to_string() }
    }

    /// Reads both shapes of error bodies (contract "identity", section 1.4); any other text is shown as it is.
    pub(super) fn from_answer(status: u16, standard: Option<&str>, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Detail {
            error: Option<String>,
            message: Option<String>,
        }
        #[derive(Deserialize)]
        struct Answer {
            error: Option<Detail>,
            message: Option<String>,
        }
        let text = match serde_json::from_slice::<Answer>(body) {
            Ok(Answer { message: Some(message), .. }) => message,
            Ok(Answer { error: Some(detail), .. }) => detail.error.or(detail.message).unwrap_or_default(),
            // A page of a proxy in between is no message.
            _ => String::from_utf8_lossy(body).lines().next().unwrap_or_default().trim().to_owned(),
        };
        let message = match text {
            text if text.is_empty() || text.starts_with('<') => {
                format!("what answers there is no Muster master: {status} {}", standard.unwrap_or_default())
                    .trim()
                    .to_owned()
            }
            text => text,
        };
        Self::Api { status, message }
    }
}

fn distrust(address: &Address, shown: &Shown) -> String {
    let found = shown.fingerprint();
    match &shown.refused {
        Some(Refused::Changed { expected }) => format!(
            "the master at {address} is not the one that was expected, or got another certificate: somebody may be in \
             between. Its authority's fingerprint is {found}, and should be {expected}"
        ),
        Some(Refused::Bad(reason)) => {
            format!("the certificate of the master at {address} can't be used: {reason}")
        }
        Some(Refused::Unknown) | None => format!(
            "the certificate of the master at {address} is not by an authority that is known here; that authority's \
             fingerprint is {found}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        ClientError::from_answer(418, Some("I'm a teapot"), body.as_bytes()).to_string()
    }

    #[test]
    fn every_shape_of_refusal_is_read() {
        assert_eq!(
            message(r#"{"error":{"code":5,"reason":"NotFound","error":"user not found"}}"#),
            "user not found"
        );
        assert_eq!(message(r#"{"message":"service not found: x"}"#), "service not found: x");
        assert_eq!(message("<html>"), "what answers there is no Muster master: 418 I'm a teapot");
        assert_eq!(message(""), "what answers there is no Muster master: 418 I'm a teapot");
        assert_eq!(message("too much\nof it"), "too much");
    }
}
