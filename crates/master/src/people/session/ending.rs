//! What happens when a session or a token ends: its next request is refused, and its open streams close (P6, R22, R25).

use std::sync::PoisonError;

use domain::authz::Via;
use domain::id::{TokenId, UserId};
use domain::user::{Password, User};
use tokio::sync::watch;

use super::{Caller, INVALID_CREDENTIALS, Revoked, Sessions};
use crate::Error;

impl Sessions {
    /// Must be called after an account or its sessions changed in the database, before the change is answered (R25), also
    /// when the commit failed: it can have happened all the same, and asking the database again does no harm.
    pub(crate) fn user_changed(&self, user: UserId) {
        self.forget(Revoked::User(user));
    }

    /// As [`Self::user_changed`], and its sessions are over: open streams close (P6).
    pub(crate) fn user_ended(&self, user: UserId) {
        self.revoke(Revoked::User(user));
    }

    /// Must be called after an access token was revoked in the database, before that is answered (R25).
    pub(crate) fn token_ended(&self, token: TokenId) {
        self.revoke(Revoked::Token(token));
    }

    pub(super) fn revoke(&self, what: Revoked) {
        self.forget(what);
    }

    pub(super) fn forget(&self, what: Revoked) {
        let mut epoch = self.inner.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch += 1;
        self.inner.cache.retain(|_, caller| !caller.is_hit_by(what));
        drop(epoch);
        // Who was remembered a moment ago was remembered as of before this.
        self.inner.store.raise_rights();
    }

    pub(super) fn epoch(&self) -> u64 {
        *self.inner.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation of rights. What goes on for longer than a moment asks again when it changes (R22, R25):
    /// [`Self::renewed`], and then the policy.
    #[must_use]
    pub fn rights(&self) -> watch::Receiver<u64> {
        self.inner.store.rights()
    }

    /// The caller as things are now: account and role are read again, and what proved it still has to be good.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when it isn't; the database's.
    pub async fn renewed(&self, caller: &Caller) -> Result<Caller, Error> {
        let over = || Error::Unauthenticated(INVALID_CREDENTIALS);
        let (now, as_of) = (self.inner.clock.now(), *self.rights().borrow());
        if caller.expires_at.is_some_and(|end| now >= end) {
            return Err(over());
        }
        let mut conn = self.inner.store.read().await?;
        let user = store::user::by_id(&mut conn, caller.actor.user).await?;
        let user = user.filter(User::is_active).ok_or_else(over)?;
        let good = match caller.actor.via {
            Via::Session(session) => store::session::exists(&mut conn, session).await?,
            Via::Token(token) | Via::ReadOnlyToken(token) => {
                store::token::by_id(&mut conn, token).await?.is_some_and(|token| token.is_live(now))
            }
            // Nobody comes in without a password any more once there is one (P2).
            Via::DefaultUser => user.password == Password::Blank,
        };
        if !good {
            return Err(over());
        }
        let renewed = Caller::new(user, caller.actor.via, caller.expires_at);
        Ok(Caller { as_of, ..renewed.from_address(caller.actor.address) })
    }
}
