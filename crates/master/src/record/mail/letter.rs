//! What our letters say. Plain text; nothing that somebody could be led elsewhere with.

use domain::registration::Registration;
use domain::time::Timestamp;

/// A letter, whoever gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) body: String,
}

impl Letter {
    /// For administrators: somebody asks to be let in.
    pub(crate) fn somebody_asks(installation: &str, registration: &Registration) -> Self {
        let Registration { username, email, address, .. } = registration;
        Self {
            subject: format!("{installation}: {username} asks for an account"),
            body: format!(
                "{username} ({email}, from {address}) has registered at {installation} and waits to be let in.\n\n\
                 Let them in:     muster user activate {username}\n\
                 Turn them away:  muster user reject {username}\n"
            ),
        }
    }

    /// For who asked: they may come in.
    pub(crate) fn accepted(installation: &str, username: &str) -> Self {
        Self {
            subject: format!("{installation}: your account {username} is ready"),
            body: format!(
                "Your account {username} at {installation} was accepted. Log in with the password that you chose:\n\n\
                 \u{20}   muster user login {username}\n"
            ),
        }
    }

    /// For who asked: they may not.
    pub(crate) fn rejected(installation: &str, username: &str) -> Self {
        Self {
            subject: format!("{installation}: your registration was turned down"),
            body: format!(
                "An administrator of {installation} has turned down the account {username} that you asked for.\n"
            ),
        }
    }

    /// For who is invited. The code is in the text and in no address, so that it gets into no log.
    pub(crate) fn invited(installation: &str, code: &str, expires_at: Timestamp) -> Self {
        let until = expires_at.rfc3339();
        let day = until.get(..10).unwrap_or_default();
        Self {
            subject: format!("{installation}: you are invited"),
            body: format!(
                "You are invited to make an account at {installation}.\n\n\
                 Register with this code, good once and before {day}:\n\n\
                 \u{20}   {code}\n\n\
                 Either on the page /users/register of the server whose address you were given,\n\
                 or in a terminal: muster user register NAME --email ADDRESS --invitation\n"
            ),
        }
    }
}
