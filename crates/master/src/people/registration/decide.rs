//! Letting in and turning away (X5). Deciding the same again changes nothing and tells nobody.

use domain::audit::Entry;
use domain::authz::{DecideRegistrations, Permit};
use domain::id::UserId;
use domain::registration::{Registration, State};
use domain::time::Timestamp;
use domain::user::{Status, User};
use store::Tx;

use super::Registrations;
use crate::mail::{Letter, Mails};
use crate::{Error, audit};

fn not_found() -> Error {
    Error::NotFound("registration not found".to_owned())
}

impl Registrations {
    /// Lets the latest who registered under this name in.
    ///
    /// # Errors
    /// When there is none, or it was turned away.
    pub async fn accept(&self, permit: Permit<DecideRegistrations>, username: &str) -> Result<(), Error> {
        let parts = &*self.parts;
        let mut tx = parts.store.write().await?;
        let registration = store::registration::latest_of_name(&mut tx, username).await?;
        let registration = registration.ok_or_else(not_found)?;
        match registration.state {
            State::Pending => {}
            State::Accepted => return Ok(()),
            State::Rejected => {
                let text = format!("{username} was rejected: they have to register again");
                return Err(Error::Precondition(text));
            }
        }
        let before = waiting(&mut tx, &registration).await?;
        let now = parts.clock.now();
        let after = User { status: Status::Active, modified_at: now, ..before.clone() };
        store::user::update(&mut tx, &after).await?;
        accepted(&mut tx, &parts.mails, &before, permit.actor(), now).await?;
        let entry = Entry::done(permit.by(), "registration.accept", audit::account(&before));
        let entry = entry.changed(audit::account_facts(&before), audit::account_facts(&after));
        let committed = tx.commit(&entry, now).await;
        parts.sessions.user_changed(after.id);
        committed?;
        parts.mails.wake();
        Ok(())
    }

    /// Turns the latest who registered under this name away. The account goes, the name is free again.
    ///
    /// # Errors
    /// When there is none, or it was let in.
    pub async fn reject(&self, permit: Permit<DecideRegistrations>, username: &str) -> Result<(), Error> {
        let parts = &*self.parts;
        let mut tx = parts.store.write().await?;
        let registration = store::registration::latest_of_name(&mut tx, username).await?;
        let registration = registration.ok_or_else(not_found)?;
        match registration.state {
            State::Pending => {}
            State::Rejected => return Ok(()),
            State::Accepted => {
                let text = format!("{username} was let in already: deactivate or delete the account");
                return Err(Error::Precondition(text));
            }
        }
        let user = waiting(&mut tx, &registration).await?;
        let now = parts.clock.now();
        store::belongings::remove_pending(&mut tx, user.id).await?;
        store::registration::decide(&mut tx, registration.id, State::Rejected, permit.actor(), now).await?;
        let letter = Letter::rejected(parts.mails.installation(), username);
        parts.mails.put(&mut tx, &registration.email, &letter, now).await?;
        let entry = Entry::done(permit.by(), "registration.reject", audit::account(&user));
        let committed = tx.commit(&entry.removed(audit::account_facts(&user)), now).await;
        parts.sessions.user_ended(user.id);
        committed?;
        parts.mails.wake();
        Ok(())
    }
}

/// The account of a registration that nobody has decided.
async fn waiting(tx: &mut Tx, registration: &Registration) -> Result<User, Error> {
    let user = store::user::by_id(tx, registration.user).await?;
    user.filter(|user| user.status == Status::Pending).ok_or_else(not_found)
}

/// A waiting account becomes active in this transaction: notes the decision and tells its person. Wake the mails after
/// the commit.
pub(crate) async fn accepted(
    tx: &mut Tx,
    mails: &Mails,
    user: &User,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<(), Error> {
    let registration = store::registration::of_user(tx, user.id).await?;
    let Some(registration) = registration.filter(|r| r.state == State::Pending) else {
        return Ok(());
    };
    if let Some(email) = &user.email
        && store::user::email_in_use_by_other(tx, email, user.id).await?
    {
        let text =
            format!("another account has the e-mail address {email}: reject this one, or change the other's");
        return Err(Error::Conflict(text));
    }
    store::registration::decide(tx, registration.id, State::Accepted, by, now).await?;
    if let Some(email) = &user.email {
        mails.put(tx, email, &Letter::accepted(mails.installation(), &user.username), now).await?;
    }
    Ok(())
}
