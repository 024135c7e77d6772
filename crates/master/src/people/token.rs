//! Access tokens: making, listing, describing, revoking. What one is good for, at each request, is in `session`.

use std::sync::Arc;

use domain::audit::{Entry, Who};
use domain::authz::{ChangeToken, CreateToken, Permit, SeeTokens};
use domain::id::TokenId;
use domain::token::{Scope, Token, description, lifespan};
use serde_json::{Value, json};
pub use store::token::{Filter as TokenFilter, SortBy};
use store::{Begin, Store};

use crate::open::Target as _;
use crate::session::{ACCESS_TOKEN, Sessions};
use crate::system::{Clock, Entropy};
use crate::{Config, Error, secret};

/// Access tokens.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    config: Arc<Config>,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// What a new token is to be.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    /// As Go writes durations; `-1` is the longest, none the default.
    pub lifespan: Option<String>,
    /// What it is for.
    pub description: String,
    /// What it is good for.
    pub scope: Scope,
}

/// A fresh token.
#[derive(Debug)]
pub struct Issued {
    /// Nobody else knows it, and it can't be had again.
    pub secret: String,
    /// What is kept of it.
    pub token: Token,
}

impl Tokens {
    pub(crate) fn new(
        store: Store,
        config: Arc<Config>,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { store, config, sessions, clock, entropy }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// When lifespan or description aren't allowed, or the account isn't active.
    pub async fn create(&self, permit: Permit<CreateToken>, new: NewToken) -> Result<Issued, Error> {
        let days = &self.config.security.token;
        let span = new.lifespan.as_deref();
        let span = lifespan(span, days.default_lifespan_days, days.max_lifespan_days);
        let span = span.map_err(|e| Error::Invalid(e.to_string()))?;
        let description = description(&new.description).map_err(|e| Error::Invalid(e.to_string()))?;
        let prefix = ACCESS_TOKEN.trim_end_matches('_');
        let secret = secret::token(self.entropy.as_ref(), prefix);
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        // Deactivation revokes all tokens: none may come after it.
        let user = store::user::by_id(&mut tx, permit.target().id).await?;
        let user = user.filter(domain::user::User::is_active);
        let user = user.ok_or_else(|| Error::Precondition("user is not active".to_owned()))?;
        let has = store::token::count_live(&mut tx, user.id, now).await?;
        let limit = self.config.limits.tokens;
        if has >= i64::from(limit) {
            return Err(Error::Precondition(format!(
                "the account has {has} access tokens, and {limit} is the limit: revoke some that aren't needed"
            )));
        }
        let token = Token {
            id: TokenId(0),
            user: user.id,
            username: user.username,
            description,
            scope: new.scope,
            created_at: now,
            expires_at: now.plus(span),
            revoked_at: None,
            last_used_at: None,
        };
        let digest = secret::digest(&secret);
        let token = store::token::insert(&mut tx, &token, &digest, permit.actor()).await?;
        let entry = Entry::done(permit.by(), "token.create", target(&token)).made(facts(&token));
        tx.commit(&entry, now).await?;
        Ok(Issued { secret, token })
    }

    /// A page of the tokens that match; whose, the permit says. `page` turns their number into offset and limit.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list<P>(
        &self,
        permit: Permit<SeeTokens>,
        filter: TokenFilter,
        show_inactive: bool,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<Token>, P), Error> {
        // Without it the times of last use are some seconds old.
        if let Err(error) = self.sessions.write_uses().await {
            tracing::warn!(%error, "when tokens were last used could not be written down");
        }
        let live_at = (!show_inactive).then(|| self.clock.now());
        let filter = TokenFilter { user: permit.into_target(), live_at, ..filter };
        let mut conn = self.store.read().await?;
        let total = store::token::count(&mut conn, &filter).await?;
        let (page, offset, limit) = page(total)?;
        let tokens = store::token::list(&mut conn, &filter, Begin::At(offset), limit).await?;
        Ok((tokens, page))
    }

    /// Describes a token anew, or revokes it: that holds at its next request, and closes what it has open (R22, R25).
    ///
    /// # Errors
    /// When it has ended already, or the description isn't allowed.
    pub async fn change(
        &self,
        permit: Permit<ChangeToken>,
        new_description: Option<String>,
        revoke: bool,
    ) -> Result<Token, Error> {
        let id = permit.target().id;
        let now = self.clock.now();
        let mut tx = self.store.write_urgent().await?;
        let before = store::token::by_id(&mut tx, id).await?;
        let before = before.ok_or_else(|| Error::NotFound(permit.target().missing()))?;
        if !before.is_live(now) {
            return Err(Error::Precondition(format!("unable to update inactive token with ID {id}")));
        }
        let mut after = before.clone();
        if let Some(text) = new_description {
            after.description = description(&text).map_err(|e| Error::Invalid(e.to_string()))?;
        }
        if revoke {
            after.revoked_at = Some(now);
        }
        if after == before {
            return Ok(before);
        }
        store::token::update(&mut tx, &after).await?;
        let action = if revoke { "token.revoke" } else { "token.update" };
        let entry = Entry::done(permit.by(), action, target(&before));
        let committed = tx.commit(&entry.changed(facts(&before), facts(&after)), now).await;
        if revoke {
            self.sessions.token_ended(id);
        }
        committed?;
        Ok(after)
    }
}

fn target(token: &Token) -> Who {
    Who::named("token", &token.id, &token.description)
}

fn facts(token: &Token) -> Value {
    json!({
        "user": token.user,
        "username": token.username,
        "description": token.description,
        "scope": token.scope.as_str(),
        "expiresAt": token.expires_at.rfc3339(),
        "revoked": token.revoked_at.is_some(),
    })
}
