//! Names and addresses that are one's alone, and taken by what the asker doesn't see: a private workspace, a template or
//! a project's key in one, somebody's e-mail address. That it is taken has to be said (Determined's clients find things
//! by name and want one), so who asks often has to wait longer each time, as at registration (A14, W5).

use domain::audit::By;
use domain::throttle::Scope;
use domain::time::Timestamp;
use store::login_failure as failures;
use store::{Conn, Store, Tx};

use crate::Error;

/// Whoever it is; administrators and Muster itself see everything.
fn subject(by: &By) -> Option<String> {
    let actor = by.as_actor()?;
    (!actor.admin).then(|| format!("account {}", actor.user))
}

/// Before it is looked at whether something is taken.
///
/// # Errors
/// When the account has to wait.
pub(crate) async fn may_ask(conn: &mut Conn, by: &By, now: Timestamp) -> Result<(), Error> {
    let Some(subject) = subject(by) else { return Ok(()) };
    let found = failures::get(conn, Scope::Names, &subject).await?;
    match found.and_then(|found| found.wait(Scope::Names, now)) {
        Some(wait) => {
            let what = "you have found too many names and addresses that are taken";
            Err(Error::TooMany { what, seconds: wait.as_secs() + 1 })
        }
        None => Ok(()),
    }
}

/// What is answered when it is taken by something that the account doesn't see: counted; nothing of `tx` is kept.
pub(crate) async fn unseen(store: &Store, tx: Tx, by: &By, now: Timestamp, text: String) -> Error {
    drop(tx);
    match count(store, by, now).await {
        Ok(()) => Error::Conflict(text),
        Err(error) => error,
    }
}

/// Counts it where it isn't refused: the change goes on with another name, which says as much.
///
/// # Errors
/// When the database can't be reached.
pub(crate) async fn told(tx: &mut Tx, by: &By, now: Timestamp) -> Result<(), Error> {
    if let Some(subject) = subject(by) {
        failures::add(tx, Scope::Names, &subject, now).await?;
    }
    Ok(())
}

async fn count(store: &Store, by: &By, now: Timestamp) -> Result<(), Error> {
    if subject(by).is_none() {
        return Ok(());
    }
    let mut tx = store.write().await?;
    told(&mut tx, by, now).await?;
    tx.commit_unaudited("the refusal itself is noted").await?;
    Ok(())
}
