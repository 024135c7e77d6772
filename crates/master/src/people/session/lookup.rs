//! Knowing who a token speaks for (R23, R25, R27), and noting that it was used.

use std::sync::PoisonError;

use domain::authz::Via;
use domain::id::UserId;
use domain::time::Timestamp;
use domain::token::{Scope, Token};
use domain::user::Password;

use super::{ACCESS_TOKEN, Caller, INVALID_CREDENTIALS, Origin, Sessions};
use crate::{Error, secret};

impl Sessions {
    /// Who a token speaks for. Every failed step is a refusal (R27).
    ///
    /// # Errors
    /// When it isn't good, or its account isn't active (P17).
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
        let inner = &*self.inner;
        let digest = secret::digest(token);
        let invalid = Error::Unauthenticated(INVALID_CREDENTIALS);
        let now = inner.clock.now();
        // Read first: what changes from here on is asked about again by whatever goes on.
        let as_of = *self.rights().borrow();
        if let Some(caller) = inner.cache.get(&digest) {
            let caller = caller.looked_up(as_of);
            self.note_use(&caller, now);
            let fresh = caller.expires_at.is_some_and(|end| now < end);
            return if fresh { Ok(caller) } else { Err(invalid) };
        }
        let epoch = self.epoch();
        let caller = if token.starts_with(ACCESS_TOKEN) {
            self.by_access_token(&digest, now).await?
        } else {
            self.by_session(&digest, now).await?
        };
        let caller = caller.ok_or(invalid)?.looked_up(as_of);
        if !caller.user.is_active() {
            return Err(Error::Forbidden("user does not have permission".to_owned()));
        }
        self.note_use(&caller, now);
        let guard = inner.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if *guard == epoch {
            inner.cache.insert(digest, caller.clone());
        }
        drop(guard);
        Ok(caller)
    }

    /// Who is remembered although the database says something else of them, in words (B2).
    pub(crate) async fn disagreements(&self) -> Result<Vec<String>, Error> {
        let now = self.inner.clock.now();
        let mut found = Vec::new();
        for (digest, known) in self.inner.cache.iter() {
            let stored = match known.actor.token() {
                Some(_) => self.by_access_token(&digest, now).await,
                None => self.by_session(&digest, now).await,
            };
            let stored = match stored {
                Err(Error::Unauthenticated(_)) => None,
                other => other?,
            };
            let over = known.expires_at.is_some_and(|end| now >= end);
            let same = stored.is_some_and(|stored| {
                stored.user.is_active()
                    && stored.user.admin == known.user.admin
                    && stored.actor.via == known.actor.via
            });
            if !same && !over {
                found.push(format!("{:?} of {} is still let in", known.actor.via, known.user.username));
            }
        }
        Ok(found)
    }

    async fn by_session(&self, digest: &str, now: Timestamp) -> Result<Option<Caller>, Error> {
        let mut conn = self.inner.store.read().await?;
        let found = store::session::by_token_hash(&mut conn, digest).await?;
        let live = found.filter(|(session, _)| session.is_live(now));
        Ok(live.map(|(session, user)| Caller::new(user, Via::Session(session.id), Some(session.expires_at))))
    }

    async fn by_access_token(&self, digest: &str, now: Timestamp) -> Result<Option<Caller>, Error> {
        let mut conn = self.inner.store.read().await?;
        let found = store::token::by_token_hash(&mut conn, digest).await?;
        Ok(match found {
            Some((token, _)) if token.revoked_at.is_some() => {
                return Err(Error::Unauthenticated("user access token revoked"));
            }
            Some((token, user)) if token.is_live(now) => {
                let Token { id, scope, expires_at, .. } = token;
                let via = if scope == Scope::Full { Via::Token(id) } else { Via::ReadOnlyToken(id) };
                Some(Caller::new(user, via, Some(expires_at)))
            }
            _ => None,
        })
    }

    /// Remembers that an access token was used; [`Self::write_uses`] writes it down.
    fn note_use(&self, caller: &Caller, now: Timestamp) {
        if let Some(token) = caller.actor.token() {
            self.inner.used.lock().unwrap_or_else(PoisonError::into_inner).insert(token, now);
        }
    }

    /// Writes down when access tokens were last used.
    ///
    /// # Errors
    /// When the database can't be reached; it is tried again later.
    pub(crate) async fn write_uses(&self) -> Result<(), Error> {
        let lock = || self.inner.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used: Vec<_> = lock().iter().map(|(token, at)| (*token, *at)).collect();
        if used.is_empty() {
            return Ok(());
        }
        let mut tx = self.inner.store.write_urgent().await?;
        for (token, at) in &used {
            store::token::set_last_used(&mut tx, *token, *at).await?;
        }
        tx.commit_unaudited("looking is no change").await?;
        lock().retain(|token, at| !used.contains(&(*token, *at)));
        Ok(())
    }

    /// The default user, for who may come in as that account without a login (P2): where blank passwords are good, as
    /// long as the account is active and its password blank.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn default_caller(
        &self,
        default_user: UserId,
        origin: Origin,
    ) -> Result<Option<Caller>, Error> {
        if self.allow_blank(origin).is_err() {
            return Ok(None);
        }
        let as_of = *self.rights().borrow();
        let mut conn = self.inner.store.read().await?;
        let user = store::user::by_id(&mut conn, default_user).await?;
        let user = user.filter(|user| user.is_active() && user.password == Password::Blank);
        Ok(user.map(|user| Caller::new(user, Via::DefaultUser, None).looked_up(as_of)))
    }
}
