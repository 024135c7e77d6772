//! Starting a session: what is tried, in which order, and what a refusal means.

use anyhow::{Result, bail};
use api::auth::LoginResponse;
use api::client::{Client, ClientError};
use api::user::User;

use super::password;
use super::store::Store;
use crate::failure::Failure;
use crate::output;

/// What the master says to a wrong name or password; anything else it says is worth showing.
const PLAIN_REFUSAL: &str = "invalid credentials";
/// What it says to the right password of a deactivated account.
const INACTIVE: &str = "user is not active";

/// Where the password comes from.
#[derive(Debug, Clone)]
pub(crate) enum Means {
    /// A blank one and nothing else: the default user, who is never asked for anything (P2).
    Blank,
    /// A blank one, then this one if there is one, then the person at the terminal.
    Ask(Option<String>),
    /// This password.
    Given(String),
}

/// Logs `user` in. What tells this program from others behind its address is shown, and kept in `store` (A8).
pub(crate) async fn sign_in(
    client: &Client,
    store: &Store,
    user: &str,
    means: &Means,
) -> Result<LoginResponse> {
    // A blank password is tried first, so that nobody who has none is asked for it.
    let (given, blank_refusal) = match means {
        Means::Given(password) => (Some(password.clone()), None),
        Means::Blank | Means::Ask(_) => match attempt(client, user, "", None).await? {
            Ok(login) => return Ok(login),
            Err(refusal) => match means {
                Means::Ask(Some(password)) => (Some(password.clone()), Some(refusal)),
                Means::Ask(None) if password::can_ask() => {
                    // Before it is typed.
                    warn_of_plain_text(client);
                    (Some(password::ask(user)?), Some(refusal))
                }
                _ => (None, Some(refusal)),
            },
        },
    };
    let Some(given) = given else {
        bail!(not_logged_in(client, user, means, blank_refusal.as_deref()));
    };
    if !given.is_empty() && !matches!(means, Means::Ask(None)) {
        warn_of_plain_text(client);
    }
    let device = store.read()?.devices.remove(user).unwrap_or_default();
    match attempt(client, user, &given, Some(device)).await? {
        Ok(login) => {
            if let Some(device) = login.device.clone() {
                // Without a place to keep it, the next login is a stranger's.
                let _ = store.update(|kept| drop(kept.devices.insert(login.user.username.clone(), device)));
            }
            Ok(login)
        }
        Err(refusal) => bail!(Failure::NotLoggedIn(wrong(&refusal))),
    }
}

/// One login; the inner error is the master's refusal of name or password.
async fn attempt(
    client: &Client,
    user: &str,
    plain: &str,
    device: Option<String>,
) -> Result<Result<LoginResponse, String>> {
    match client.login(user, &password::hashed(plain), device).await {
        Ok(login) => {
            urge_password(&login.user, login.blank_password);
            Ok(Ok(login))
        }
        Err(ClientError::Api { status: 403, message }) if message == INACTIVE => {
            bail!(Failure::Forbidden(format!("{user} can't come in: {message}")))
        }
        Err(ClientError::Api { status: 401 | 403, message }) => Ok(Err(message)),
        Err(other) => Err(other.into()),
    }
}

fn wrong(refusal: &str) -> String {
    if refusal == PLAIN_REFUSAL {
        "wrong user name or password, or the account still waits for an administrator".to_owned()
    } else {
        refusal.to_owned()
    }
}

fn not_logged_in(client: &Client, user: &str, means: &Means, refusal: Option<&str>) -> Failure {
    let address = client.address();
    let mut text = match means {
        Means::Blank => format!(
            "you are not logged in at {address}, and can't act as {user} without a password: \
             log in with `muster user login NAME`"
        ),
        _ => format!(
            "{user} is not logged in at {address}: log in with `muster user login {user}`, \
             with --password-stdin where there is no terminal"
        ),
    };
    if let Some(refusal) = refusal.filter(|&refusal| refusal != PLAIN_REFUSAL) {
        text.push_str(&format!(". The master says: {refusal}"));
    }
    Failure::NotLoggedIn(text)
}

/// Tells an administrator without a password to set one (P4).
pub(crate) fn urge_password(user: &User, blank: bool) {
    if user.admin && blank {
        let name = &user.username;
        output::note(&format!(
            "The password of {name} is blank. Set one with: muster -u {name} user change-password"
        ));
    }
}

/// Says what a plain connection means for a password (D9).
pub(crate) fn warn_of_plain_text(client: &Client) {
    let address = client.address();
    if !address.is_https() && !address.is_loopback() {
        output::note(&format!(
            "The connection to {address} is not encrypted: others on the network can read the password."
        ));
    }
}
