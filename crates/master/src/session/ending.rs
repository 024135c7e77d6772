//! What happens when a session or a token ends: its next request is refused, and its open streams close (P6, R22, R25).

use std::sync::PoisonError;
use std::time::Duration;

use domain::authz::Via;
use domain::id::{TokenId, UserId};
use tokio::sync::broadcast;

use super::{Caller, Revoked, Sessions};

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
        // Nobody listening is fine.
        let _ = self.inner.revoked.send(what);
    }

    pub(super) fn forget(&self, what: Revoked) {
        let mut epoch = self.inner.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch += 1;
        self.inner.cache.retain(|_, caller| !caller.is_hit_by(what));
    }

    pub(super) fn epoch(&self) -> u64 {
        *self.inner.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when `caller` may no longer see anything: open streams end then (P6, R22).
    pub fn revocation(&self, caller: &Caller) -> impl Future<Output = ()> + Send + use<> {
        let mut revoked = self.inner.revoked.subscribe();
        let sessions = self.clone();
        let caller = caller.clone();
        async move {
            // It may have ended between the request's own look-up and the subscription.
            if !sessions.is_still_good(&caller).await {
                return;
            }
            loop {
                // Looks again every minute, for the end of the session's thirty days and for whatever was missed.
                let news = tokio::time::timeout(Duration::from_secs(60), revoked.recv()).await;
                match news {
                    Ok(Ok(what)) if caller.is_hit_by(what) => {
                        // A new password ends sessions, not access tokens.
                        let may_go_on = caller.actor.token().is_some() && matches!(what, Revoked::User(_));
                        if !(may_go_on && sessions.is_still_good(&caller).await) {
                            return;
                        }
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(broadcast::error::RecvError::Closed)) => return,
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => {
                        if !sessions.is_still_good(&caller).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn is_still_good(&self, caller: &Caller) -> bool {
        let now = self.inner.clock.now();
        if caller.expires_at.is_some_and(|end| now >= end) {
            return false;
        }
        let Ok(mut conn) = self.inner.store.read().await else {
            return true;
        };
        let user = store::user::by_id(&mut conn, caller.actor.user).await;
        let active = user.map(|user| user.is_some_and(|user| user.is_active()));
        let open = match caller.actor.via {
            Via::Session(session) => store::session::exists(&mut conn, session).await,
            Via::Token(token) | Via::ReadOnlyToken(token) => {
                let token = store::token::by_id(&mut conn, token).await;
                token.map(|token| token.is_some_and(|token| token.is_live(now)))
            }
            Via::DefaultUser => Ok(true),
        };
        // A database that can't be reached ends nothing.
        active.unwrap_or(true) && open.unwrap_or(true)
    }
}
