//! Changing one's own password where one is logged in (R26): with the current one, and without losing one's place.

use domain::audit::{By, Entry};
use domain::authz::{ChangeUser, Permit, Via};
use domain::id::SessionId;
use domain::session::LIFETIME;
use domain::user::{Parts, Password, User};
use serde_json::{Value, json};

use super::{INVALID_CREDENTIALS, LoggedIn, Revoked, Sessions, Visitor};
use crate::password::{Lane, Presented};
use crate::{Error, audit, secret};

/// What is said when the current password isn't right.
pub const WRONG_PASSWORD: &str = "the current password is wrong";

impl Sessions {
    /// Gives the caller the password that is allowed and a fresh session in place of the caller's own; other sessions end when
    /// `end_others` says so. The current password is asked for, except of the default user without a login, whose own
    /// is blank (P2).
    ///
    /// # Errors
    /// When the current password is wrong, which counts as a failed login (R18), or the new one too weak.
    pub async fn change_own_password(
        &self,
        permit: &Permit<ChangeUser>,
        current: Presented,
        end_others: bool,
        visitor: Visitor,
    ) -> Result<LoggedIn, Error> {
        let inner = &*self.inner;
        let nobody = || Error::Forbidden("only accounts have passwords".to_owned());
        let actor =
            permit.by().as_actor().filter(|actor| actor.user == permit.target().0.id).ok_or_else(nobody)?;
        let (user, patch) = permit.target();
        let new =
            patch.password.as_ref().filter(|sent| !sent.is_hashed && patch.parts(user) == Parts::PASSWORD);
        let new = &new.ok_or_else(|| Error::Invalid("give a password, and nothing else".to_owned()))?.text;
        if user.remote {
            return Err(Error::Invalid("Cannot set password for remote users".to_owned()));
        }
        if user.service {
            return Err(Error::Invalid("a service account has no password".to_owned()));
        }
        domain::password::check_new(new).map_err(|weak| Error::Invalid(weak.to_string()))?;
        if actor.via != Via::DefaultUser {
            self.prove_current(permit.by(), actor.session(), user, current, &visitor).await?;
        }
        let password = Presented::new(Some(new.clone()), false);
        let password = inner.hasher.store(password, Lane::of(permit.by()), inner.entropy.as_ref()).await?;
        let now = inner.clock.now();
        let mut tx = inner.store.write_urgent().await?;
        // The account may have changed while the passwords were being hashed (R25).
        let before = store::user::by_id(&mut tx, user.id).await?;
        let before = before.filter(|now| now.is_active() && now.password == user.password);
        let before = before.ok_or(Error::Unauthenticated(INVALID_CREDENTIALS))?;
        let after = User { password, modified_at: now, last_login_at: Some(now), ..before.clone() };
        store::user::update(&mut tx, &after).await?;
        store::user::set_last_login(&mut tx, after.id, now).await?;
        match actor.session() {
            _ if end_others => store::session::delete_of_user(&mut tx, after.id).await?,
            Some(own) => store::session::delete(&mut tx, own).await?,
            None => {}
        }
        let token = secret::token(inner.entropy.as_ref(), "mst");
        let digest = secret::digest(&token);
        let session = store::session::insert(&mut tx, after.id, &digest, now, now.plus(LIFETIME)).await?;
        let entry = Entry::done(permit.by(), "user.update", audit::account(&before)).protects();
        let mut facts = audit::account_facts(&after);
        facts["passwordChanged"] = Value::Bool(true);
        facts["otherSessions"] = json!(if end_others { "ended" } else { "kept" });
        let committed = tx.commit(&entry.changed(audit::account_facts(&before), facts), now).await;
        match actor.session() {
            _ if end_others => self.revoke(Revoked::User(after.id)),
            Some(own) => self.revoke(Revoked::Session(own)),
            None => {}
        }
        self.forget(Revoked::User(after.id));
        committed?;
        inner.initial_password.over(after.id).await;
        Ok(LoggedIn { token, session, user: after, device: None })
    }

    async fn prove_current(
        &self,
        by: &By,
        session: Option<SessionId>,
        user: &User,
        current: Presented,
        visitor: &Visitor,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        let stored = Some(user.password.clone());
        let wrong = || {
            let target = audit::account(user);
            inner.audit.refused(by, "user.update", target, WRONG_PASSWORD.to_owned());
            Error::Invalid(WRONG_PASSWORD.to_owned())
        };
        if current.is_blank() {
            // As with a login: one guess among all passwords, the same each time, isn't counted.
            return if user.password == Password::Blank { Ok(()) } else { Err(wrong()) };
        }
        let attempt = inner.throttle.begin(&user.username, &current, visitor, session).await?;
        if inner.hasher.check(stored, current, attempt.lane()).await? {
            return inner.throttle.settle(attempt, inner.entropy.as_ref()).await;
        }
        inner.throttle.failed(attempt).await?;
        Err(wrong())
    }
}
